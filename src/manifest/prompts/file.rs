//! Files of prompts: `.txt` with a line per prompt, and the `.toml` and `.json` forms of sd-scripts.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{PromptLine, line::rounded};

/// What is wrong with a file of prompts, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// `line 3` or `prompt 2`; nothing where it is the file as a whole.
    pub place: Option<String>,
    /// What it is.
    pub reason: String,
}

impl Broken {
    fn whole(reason: impl Into<String>) -> Self {
        Self { place: None, reason: reason.into() }
    }
}

/// The prompts of a file with this text; its ending says in which form it is.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path, text: &str) -> Result<Vec<PromptLine>, Vec<Broken>> {
    let text = text.trim_start_matches('\u{feff}');
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let read: Vec<_> = match ending.to_str() {
        Some("toml") => tables(toml(text).map_err(|broken| vec![broken])?),
        Some("json") => tables(json(text).map_err(|broken| vec![broken])?),
        _ => lines(text),
    };
    if read.is_empty() {
        return Err(vec![Broken::whole("there is no prompt in it")]);
    }
    let (good, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    match bad.is_empty() {
        true => Ok(good.into_iter().flatten().collect()),
        false => Err(bad.into_iter().filter_map(Result::err).collect()),
    }
}

fn lines(text: &str) -> Vec<Result<PromptLine, Broken>> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = |(number, line): (usize, &str)| {
        let place = Some(format!("line {number}"));
        line.parse().map_err(|reason| Broken { place, reason })
    };
    lines.map(read).collect()
}

/// `[prompt]` with what all have, and a `[[prompt.subset]]` for each.
fn toml(text: &str) -> Result<Vec<Json>, Broken> {
    let root: Json = ::toml::from_str(text)
        .map_err(|error| Broken::whole(format!("it is not TOML: {}", error.message())))?;
    let form = || {
        Broken::whole(
            "it has no `[[prompt.subset]]`: each prompt is a table of that name, and what all have \
                       stands in `[prompt]`",
        )
    };
    let mut all = root["prompt"].as_object().cloned().ok_or_else(form)?;
    let Some(Json::Array(subsets)) = all.remove("subset") else { return Err(form()) };
    let merged = subsets.into_iter().map(|subset| {
        let own = subset.as_object().cloned().unwrap_or_default();
        Json::Object(all.clone().into_iter().chain(own).collect())
    });
    Ok(merged.collect())
}

/// A list of prompts: each a line, or a table.
fn json(text: &str) -> Result<Vec<Json>, Broken> {
    let root = serde_json::from_str(text)
        .map_err(|error| Broken::whole(format!("it is not JSON: {error}")))?;
    match root {
        Json::Array(prompts) => Ok(prompts),
        _ => Err(Broken::whole("it is not a list: write [{\"prompt\": \"…\"}, …]")),
    }
}

fn tables(prompts: Vec<Json>) -> Vec<Result<PromptLine, Broken>> {
    let prompts = prompts.into_iter().enumerate().map(|(index, prompt)| {
        let read = match &prompt {
            Json::String(line) => line.parse(),
            Json::Object(table) => of_table(table),
            _ => Err("it is neither a text nor a table".to_owned()),
        };
        read.map_err(|reason| Broken { place: Some(format!("prompt {}", index + 1)), reason })
    });
    prompts.collect()
}

/// A prompt under the names that sd-scripts gives its parts.
fn of_table(table: &Map<String, Json>) -> Result<PromptLine, String> {
    let mut prompt = PromptLine::default();
    for (key, value) in table {
        let text = || value.as_str().map(str::to_owned);
        let count = || value.as_u64().and_then(|count| u32::try_from(count).ok());
        let factor = || value.as_f64().filter(|factor| *factor >= 0.0);
        let fits = match key.as_str() {
            "prompt" => text().map(|text| prompt.prompt = text.trim().to_owned()),
            "negative_prompt" => text().map(|text| prompt.negative = Some(text)),
            "width" => count().and_then(rounded).map(|side| prompt.width = Some(side)),
            "height" => count().and_then(rounded).map(|side| prompt.height = Some(side)),
            "sample_steps" => {
                let steps = count().filter(|steps| (1..=1000).contains(steps));
                steps.map(|steps| prompt.steps = Some(steps))
            }
            "guidance_scale" => factor().map(|factor| prompt.guidance = Some(factor)),
            "scale" => factor().map(|factor| prompt.cfg = Some(factor)),
            "seed" => value.as_u64().map(|seed| prompt.seed = Some(seed)),
            _ => {
                return Err(format!(
                    "there is no `{key}`: there are prompt, negative_prompt, width, height, sample_steps, \
                     guidance_scale, scale (cfg) and seed"
                ));
            }
        };
        fits.ok_or_else(|| format!("`{key}` cannot be {value}"))?;
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Result<Vec<PromptLine>, Vec<Broken>> {
        read(Path::new(name), text)
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let text = "\u{feff}# cups\n\na red cup --w 64 --h 48 --s 4 --d 7 --l 2 --n rain\na blue cup --w 64\n";
        let toml = "[prompt]\nwidth = 64\n[[prompt.subset]]\nprompt = 'a red cup'\nheight = 48\n\
                    sample_steps = 4\nseed = 7\nscale = 2.0\nnegative_prompt = 'rain'\n\
                    [[prompt.subset]]\nprompt = 'a blue cup'";
        let json = r#"[{"prompt": "a red cup", "width": 64, "height": 48, "sample_steps": 4, "seed": 7,
                       "scale": 2, "negative_prompt": "rain"}, "a blue cup --w 64"]"#;
        let lines = of("cups.txt", text).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].seed, lines[1].prompt.as_str()), (Some(7), "a blue cup"));
        assert_eq!(of("cups.toml", toml).unwrap(), lines);
        assert_eq!(of("cups.JSON", json).unwrap(), lines);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let broken = of("cups.txt", "a --w x\n# fine\nb\nc --q 1").unwrap_err();
        let places: Vec<_> = broken.iter().map(|one| one.place.as_deref().unwrap()).collect();
        assert_eq!(places, ["line 1", "line 4"]);
        let told = |name, text| of(name, text).unwrap_err()[0].reason.clone();
        assert_eq!(told("a.txt", "# nothing\n"), "there is no prompt in it");
        assert!(told("a.toml", "x = 1").starts_with("it has no `[[prompt.subset]]`"));
        assert!(told("a.toml", "x =").starts_with("it is not TOML"));
        assert!(told("a.json", "{}").starts_with("it is not a list"));
        assert_eq!(told("a.json", "[7]"), "it is neither a text nor a table");
        assert_eq!(told("a.json", r#"[{"width": 3}]"#), "`width` cannot be 3");
        assert!(told("a.json", r#"[{"sampler": 3}]"#).starts_with("there is no `sampler`"));
    }
}
