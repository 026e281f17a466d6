//! How a picture was drawn, as its file says it.
//!
//! Two texts stand in a PNG: `parameters`, in the form that the webui family of programs writes and others
//! read, and `fluxpipe`, one JSON object with everything. Does not know how pictures are made.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use super::{Model, Prompt};
use crate::dataset::png_text;

/// Keyword of the text that other programs read.
const WEBUI: &str = "parameters";
/// Keyword of the JSON object.
const FLUXPIPE: &str = "fluxpipe";

/// How a picture was drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// What is to be seen.
    pub prompt: String,
    /// What is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// How often the transformer was asked.
    pub steps: usize,
    /// What the transformer was told; none where it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// Factor on what the prompt changes against the negative prompt.
    pub cfg: f64,
    /// Names the noise.
    pub seed: u64,
    /// The transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The transformer that drew the left half, where two are set side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Model>,
    /// Stage that drew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Epochs of the training behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<usize>,
    /// Steps of the training behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
}

impl Parameters {
    /// Those of a prompt; what the prompt does not know is left out.
    #[must_use]
    pub fn of(prompt: &Prompt, takes_guidance: bool) -> Self {
        let drawing = &prompt.drawing;
        Self {
            prompt: prompt.prompt.clone(),
            negative: prompt.negative().map(str::to_owned),
            width: drawing.width,
            height: drawing.height,
            steps: drawing.steps,
            guidance: takes_guidance.then_some(drawing.guidance),
            cfg: drawing.cfg,
            seed: drawing.seed,
            model: None,
            before: None,
            stage: None,
            epoch: None,
            step: None,
        }
    }

    /// Those in a PNG file that fluxpipe wrote.
    #[must_use]
    pub fn read(png: &[u8]) -> Option<Self> {
        let texts = png_text::texts(png).into_iter();
        let mut own = texts.filter(|(keyword, _)| keyword == FLUXPIPE);
        serde_json::from_str(&own.next()?.1).ok()
    }

    /// The text that webui writes: the prompt, the negative prompt, and a line of settings.
    #[must_use]
    pub fn webui(&self) -> String {
        let mut text = self.prompt.clone();
        if let Some(negative) = &self.negative {
            text += &format!("\nNegative prompt: {negative}");
        }
        text += &format!("\nSteps: {}, Sampler: Euler", self.steps);
        text += &format!(", CFG scale: {}", self.cfg);
        if let Some(guidance) = self.guidance {
            text += &format!(", Distilled CFG Scale: {guidance}");
        }
        text += &format!(", Seed: {}, Size: {}x{}", self.seed, self.width, self.height);
        if let Some(model) = &self.model {
            text += &format!(", Model: {}", quoted(&model.name));
        }
        text + concat!(", Version: fluxpipe ", env!("CARGO_PKG_VERSION"))
    }
}

/// As webui quotes a value that would end early.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n', '"']) {
        true => serde_json::Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

/// The picture as the bytes of a PNG file that says how it was drawn: the same for the same picture and
/// parameters.
#[must_use]
pub fn png(picture: &RgbImage, parameters: &Parameters) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .unwrap_or_else(|error| unreachable!("memory takes what a picture is: {error}"));
    let own = serde_json::to_string(parameters)
        .unwrap_or_else(|error| unreachable!("texts and numbers are JSON: {error}"));
    png_text::with_texts(&png.into_inner(), &[(WEBUI, &parameters.webui()), (FLUXPIPE, &own)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::sampling::Drawing;

    fn parameters() -> Parameters {
        let drawing = Drawing { cfg: 2.5, seed: 7, ..Drawing::usual(true) };
        let prompt = Prompt { prompt: "a cat".into(), negative: Some("a dog".into()), drawing };
        let model = Model { name: "cats, last".into(), digest: Some("ab12".into()) };
        Parameters { model: Some(model), epoch: Some(3), ..Parameters::of(&prompt, true) }
    }

    #[test]
    fn a_file_says_how_it_was_drawn() {
        let picture = RgbImage::from_fn(4, 2, |x, y| image::Rgb([x as u8, y as u8, 200]));
        let file = png(&picture, &parameters());
        assert_eq!(file, png(&picture, &parameters()));
        assert_eq!(Parameters::read(&file), Some(parameters()));
        assert_eq!(image::load_from_memory(&file).unwrap().into_rgb8(), picture);
        let texts = png_text::texts(&file);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            texts[0].1,
            format!(
                "a cat\nNegative prompt: a dog\nSteps: 20, Sampler: Euler, CFG scale: 2.5, Distilled CFG \
                 Scale: 3.5, Seed: 7, Size: 1024x1024, Model: \"cats, last\", Version: fluxpipe {version}"
            )
        );
    }

    #[test]
    fn what_is_not_so_is_not_said() {
        let prompt =
            Prompt { prompt: "a cat".into(), negative: None, drawing: Drawing::usual(false) };
        let schnell = Parameters::of(&prompt, false);
        let json = serde_json::to_string(&schnell).unwrap();
        assert_eq!(
            json,
            r#"{"prompt":"a cat","width":1024,"height":1024,"steps":4,"cfg":1.0,"seed":0}"#
        );
        assert!(!schnell.webui().contains("Distilled"));
    }
}
