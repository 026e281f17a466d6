//! One line: `a red cup --w 512 --h 768 --d 7 --s 20 --g 3.5 --l 1 --n rain`.

use std::str::FromStr;

use super::PromptLine;

/// Sides are multiples of this.
const SIDE: u32 = 16;

/// Options of sd-scripts that there is nothing for here: `(option, why)`.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ss", "FLUX.1 is drawn by Euler steps alone"),
    ("cn", "no ControlNet is read"),
    ("ctr", "no ControlNet is read"),
    ("am", "no LoRA is read"),
    ("rcfg", "guidance is not scaled anew"),
    ("fs", "the shift follows from the size of the picture"),
];

impl FromStr for PromptLine {
    type Err = String;

    /// Options stand behind the prompt, each after a blank and two dashes.
    fn from_str(line: &str) -> Result<Self, String> {
        let mut parts = options(line.trim());
        let prompt = parts.next().map_or("", |(_, text)| text).trim().to_owned();
        let mut parsed = Self { prompt, ..Self::default() };
        for (name, value) in parts {
            parsed.set(name, value.trim())?;
        }
        Ok(parsed)
    }
}

impl PromptLine {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "w" => self.width = Some(side(name, value)?),
            "h" => self.height = Some(side(name, value)?),
            "d" => self.seed = Some(number(name, value, "a seed, such as 42")?),
            "s" => {
                let steps: u32 = number(name, value, "a number of steps")?;
                if !(1..=1000).contains(&steps) {
                    return Err(format!("`--s {value}` is not from 1 to 1000 steps"));
                }
                self.steps = Some(steps);
            }
            "g" => self.guidance = Some(factor(name, value)?),
            "l" => self.cfg = Some(factor(name, value)?),
            "n" => self.negative = Some(value.to_owned()),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    match ELSEWHERE.iter().find(|(known, _)| *known == name) {
        Some((_, why)) => format!("`--{name}` has no effect: {why}"),
        None => format!(
            "there is no option `--{name}`: there are --w, --h, --d (seed), --s (steps), --g (guidance), \
             --l (cfg) and --n (negative prompt)"
        ),
    }
}

/// The prompt under an empty name, then each option with its value.
fn options(line: &str) -> impl Iterator<Item = (&str, &str)> {
    // A line may begin with an option, but then has no prompt.
    let starts = line.match_indices("--").filter(move |(at, _)| {
        let before = line[..*at].chars().next_back();
        let name = name(&line[at + 2..]);
        before.is_none_or(char::is_whitespace) && !name.is_empty()
    });
    let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([line.len()]).collect::<Vec<_>>();
    let prompt = ("", &line[..starts.first().copied().unwrap_or(line.len())]);
    let options = starts.into_iter().zip(ends).map(move |(start, end)| {
        let name = name(&line[start + 2..end]);
        (name, &line[start + 2 + name.len()..end])
    });
    std::iter::once(prompt).chain(options)
}

/// The letters at the front, if a blank or the end follows.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if rest.chars().next().is_none_or(char::is_whitespace) { name } else { "" }
}

fn number<T: FromStr>(name: &str, value: &str, what: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`--{name} {value}` is not {what}"))
}

fn factor(name: &str, value: &str) -> Result<f64, String> {
    let factor: f64 = number(name, value, "a number")?;
    match factor.is_finite() && factor >= 0.0 {
        true => Ok(factor),
        false => Err(format!("`--{name} {value}` is not a number from 0")),
    }
}

/// A side in pixels, rounded down to a multiple of 16 as sd-scripts does.
fn side(name: &str, value: &str) -> Result<u32, String> {
    let side: u32 = number(name, value, "a number of pixels")?;
    rounded(side).ok_or_else(|| format!("`--{name} {value}` is not from 16 to 8192 pixels"))
}

/// Rounded down to a multiple of 16, if it is a side at all.
pub(super) fn rounded(side: u32) -> Option<u32> {
    (SIDE..=8192).contains(&side).then_some(side / SIDE * SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> PromptLine {
        line.parse().unwrap()
    }

    #[test]
    fn options_stand_behind_the_prompt() {
        let all =
            parsed("a red cup, w 5  --w 520 --h 768 --d 7 --s 4 --g 2.5 --l 3 --n rain -- fog");
        let expected = PromptLine {
            prompt: "a red cup, w 5".to_owned(),
            width: Some(512),
            height: Some(768),
            seed: Some(7),
            steps: Some(4),
            guidance: Some(2.5),
            cfg: Some(3.0),
            negative: Some("rain -- fog".to_owned()),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn dashes_of_a_prompt_are_no_options() {
        for prompt in ["black--white", "a cup -- red", "a cup --", "one---two", "--2 cups"] {
            assert_eq!(parsed(prompt).prompt, prompt);
        }
        assert_eq!(parsed("--w 64").prompt, "");
        assert_eq!(parsed("ü --n ö").negative.as_deref(), Some("ö"));
    }

    #[test]
    fn an_option_that_says_nothing_is_told() {
        for (line, told) in [
            ("a --w wide", "`--w wide` is not a number of pixels"),
            ("a --w 8", "`--w 8` is not from 16 to 8192 pixels"),
            ("a --s 0", "`--s 0` is not from 1 to 1000 steps"),
            ("a --l -2", "`--l -2` is not a number from 0"),
            ("a --g nan", "`--g nan` is not a number from 0"),
            ("a --d x", "`--d x` is not a seed, such as 42"),
            ("a --ss euler_a", "`--ss` has no effect: FLUX.1 is drawn by Euler steps alone"),
        ] {
            assert_eq!(line.parse::<PromptLine>().unwrap_err(), told);
        }
        assert!(
            "a --v 5".parse::<PromptLine>().unwrap_err().starts_with("there is no option `--v`")
        );
    }
}
