//! Writing captions: greedy, by beam search or by sampling, for a batch of pictures at once.
//!
//! Each picture's text is chosen on its own; only the network's work is shared, and a picture whose
//! caption is finished drops out of it.

use burn::tensor::{Int, Tensor, TensorData};

use super::{
    Blip,
    beam::{BeamSearch, Choice},
    sample::Sampling,
    scores::{Limits, likeliest, widened},
};
use crate::{base::Digest, models::tokenizer::BertTokenizer};

/// With what every published captioner starts its texts.
pub const PROMPT: &str = "a picture of ";

/// How captions are written.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateSettings {
    /// Ids that every text starts with: see [`prompt_ids`].
    pub prompt: Vec<u32>,
    /// Texts that run side by side; with 1 the likeliest token is taken at each step.
    pub num_beams: usize,
    /// Draws each token instead: then there are no beams.
    pub sampling: Option<Sampling>,
    /// Makes tokens that the text has already, prompt included, less likely: their logits are divided
    /// by it where they are positive and multiplied where not (with beams the logarithms of their
    /// probabilities, which never are positive). 1 changes nothing. From Keskar and others, CTRL,
    /// 2019, section 4.1.
    pub repetition_penalty: f64,
    /// A text shorter than this, prompt included, may not end.
    pub min_length: usize,
    /// A text of this length, prompt included, ends. No text grows beyond the decoder's positions.
    pub max_length: usize,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self {
            prompt: prompt_ids(PROMPT),
            num_beams: 1,
            sampling: None,
            repetition_penalty: 1.0,
            min_length: 5,
            max_length: 75,
        }
    }
}

/// The ids with which a caption that begins with `text` is begun: the decoder's mark, then the text.
#[must_use]
pub fn prompt_ids(text: &str) -> Vec<u32> {
    let mut ids = BertTokenizer::encode(text);
    ids[0] = BertTokenizer::DECODE;
    ids.pop();
    ids
}

/// The caption that the generated `ids` spell, without the prompt.
#[must_use]
pub fn caption_text(ids: &[u32], prompt: &[u32]) -> String {
    let text = BertTokenizer::decode(ids.strip_prefix(prompt).unwrap_or(ids));
    // Behind the prompt a piece may come that wants to continue the prompt's last word.
    text.strip_prefix("##").map_or(text.clone(), str::to_owned)
}

impl Blip {
    /// Writes a text for each of the normalised pictures `[B, 3, S, S]`: the prompt, what was
    /// generated, and `[SEP]` unless the greatest length came first. No padding. Draws are named by the
    /// pictures' values: a text does not depend on what else is in the batch.
    #[must_use]
    pub fn caption(&self, pictures: Tensor<4>, settings: &GenerateSettings) -> Vec<Vec<u32>> {
        let count = pictures.dims()[0];
        let max_length = settings.max_length.min(self.text_decoder.positions());
        let prompt = &settings.prompt;
        if prompt.is_empty() || prompt.len() >= max_length || count == 0 {
            return vec![prompt.clone(); count];
        }
        let settings = GenerateSettings { max_length, ..settings.clone() };
        let mut searches = match settings.sampling {
            Some(sampling) => contents(&pictures)
                .into_iter()
                .map(|content| Search::single(&settings, Some((sampling, content))))
                .collect(),
            None => vec![Search::new(&settings); count],
        };
        let mut state = self.text_decoder.begin(&self.vision(pictures));
        let mut open = (0..count).collect::<Vec<_>>();
        let mut ids = vec![prompt.as_slice(); count].concat();
        let mut rows = count;
        loop {
            let logits = self.next_logits(&ids, rows, &mut state);
            let per_picture = logits.len() / open.len();
            let (mut kept_rows, mut kept_pictures) = (Vec::new(), Vec::new());
            ids.clear();
            for (place, logits) in logits.chunks(per_picture).enumerate() {
                let choices = searches[open[place]].step(logits);
                if !choices.is_empty() {
                    kept_pictures.push(place);
                }
                let first_row = place * (rows / open.len());
                kept_rows.extend(choices.iter().map(|choice| first_row + choice.parent));
                ids.extend(choices.iter().map(|choice| choice.token));
            }
            if kept_pictures.is_empty() {
                return searches.into_iter().map(Search::best).collect();
            }
            state.keep(&kept_rows, &kept_pictures);
            open = kept_pictures.iter().map(|&place| open[place]).collect();
            rows = kept_rows.len();
        }
    }

    /// Appends `ids`, equally many to each of the `rows` texts, and gives the logits of what comes
    /// next, one text after the other.
    fn next_logits(&self, ids: &[u32], rows: usize, state: &mut super::TextState) -> Vec<f32> {
        let length = ids.len() / rows;
        let ids = ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
        let device = self.text_decoder.bias.device();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, length]), &device);
        let x = self.text_decoder.forward(ids, state).narrow(1, length - 1, 1).squeeze_dim(1);
        let logits = self.text_decoder.logits(x).into_data_as::<f32>();
        logits.try_to_vec().expect("invariant: just read as f32")
    }
}

/// Digests of the pictures `[B, 3, S, S]`, by which draws are named.
fn contents(pictures: &Tensor<4>) -> Vec<Digest> {
    let values: Vec<f32> =
        pictures.clone().into_data_as::<f32>().try_to_vec().expect("invariant: just read as f32");
    let digest = |values: &[f32]| {
        Digest::of(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    };
    values.chunks(values.len() / pictures.dims()[0]).map(digest).collect()
}

/// The search for the text of one picture.
#[derive(Clone)]
enum Search {
    /// One text; each token is the likeliest, or is drawn.
    Single {
        ids: Vec<u32>,
        limits: Limits,
        draws: Option<(Sampling, Digest)>,
    },
    Beam(BeamSearch),
}

impl Search {
    fn new(settings: &GenerateSettings) -> Self {
        if settings.num_beams < 2 {
            return Self::single(settings, None);
        }
        Self::Beam(BeamSearch::new(&settings.prompt, settings.num_beams, limits(settings)))
    }

    fn single(settings: &GenerateSettings, draws: Option<(Sampling, Digest)>) -> Self {
        Self::Single { ids: settings.prompt.clone(), limits: limits(settings), draws }
    }

    /// See [`BeamSearch::step`].
    fn step(&mut self, logits: &[f32]) -> Vec<Choice> {
        match self {
            Self::Beam(search) => search.step(logits),
            Self::Single { ids, limits, draws } => {
                let mut scores = widened(logits);
                limits.apply(&mut scores, ids);
                let token = match draws {
                    Some((sampling, content)) => sampling.draw(&scores, content, ids.len()),
                    None => likeliest(&scores),
                };
                ids.push(token);
                if limits.end(ids) {
                    return Vec::new();
                }
                vec![Choice { parent: 0, token }]
            }
        }
    }

    fn best(self) -> Vec<u32> {
        match self {
            Self::Beam(search) => search.best(),
            Self::Single { ids, .. } => ids,
        }
    }
}

fn limits(settings: &GenerateSettings) -> Limits {
    let &GenerateSettings { repetition_penalty, min_length, max_length, .. } = settings;
    Limits { repetition_penalty, min_length, max_length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_removed_by_its_ids() {
        let prompt = prompt_ids(PROMPT);
        assert_eq!(prompt, [30522, 1037, 3861, 1997]);
        let end = BertTokenizer::END;
        let text = |ids: &[u32]| caption_text(&[&prompt, ids, &[end, 0]].concat(), &prompt);
        assert_eq!(text(&[1037, 4937, 1010, 6680]), "a cat, asleep");
        assert_eq!(text(&[]), "");
        // 19339 is `##child`.
        assert_eq!(text(&[19339, 4937]), "child cat");
    }
}
