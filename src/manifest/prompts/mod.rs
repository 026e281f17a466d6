//! Prompts with what is said of each: from the manifest, or from a file in one of the forms that sd-scripts
//! reads. Knows nothing of how a picture is drawn.

mod file;
mod line;

use std::path::Path;

pub use file::{Broken, read};

/// What `[stages.sample]` and `[stages.finetune.samples]` have in common.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `prompts`: texts with or without options.
    pub prompts: &'a [String],
    /// `prompts_file`, as the manifest has it.
    pub prompts_file: Option<&'a Path>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `None` where the network decides.
    pub steps: Option<u32>,
    /// Guidance that dev is told.
    pub guidance: f64,
    /// How far from the negative prompt; 1 is without.
    pub cfg: f64,
    /// What is not to be seen.
    pub negative: Option<&'a str>,
    /// Seed of each prompt's first picture.
    pub seed: u64,
    /// Pictures of each prompt.
    pub count: u32,
}

/// A prompt with what is said of it alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptLine {
    /// What is drawn.
    pub prompt: String,
    /// `--w`: pixels, a multiple of 16.
    pub width: Option<u32>,
    /// `--h`: pixels, a multiple of 16.
    pub height: Option<u32>,
    /// `--d`.
    pub seed: Option<u64>,
    /// `--s`, 1 to 1000.
    pub steps: Option<u32>,
    /// `--g`: guidance that dev is told.
    pub guidance: Option<f64>,
    /// `--l`: how far from the negative prompt.
    pub cfg: Option<f64>,
    /// `--n`: what is not to be seen.
    pub negative: Option<String>,
}

/// One picture to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Number of its prompt, from 1.
    pub number: usize,
    /// What is drawn.
    pub prompt: String,
    /// What is not to be seen; `None` where `cfg` is 1, which looks at none.
    pub negative: Option<String>,
    /// Pixels, a multiple of 16.
    pub width: u32,
    /// Pixels, a multiple of 16.
    pub height: u32,
    /// `None` where the network decides.
    pub steps: Option<u32>,
    /// Guidance that dev is told.
    pub guidance: f64,
    /// How far from the negative prompt; 1 is without.
    pub cfg: f64,
    /// Seed of its noise.
    pub seed: u64,
}

impl Asked<'_> {
    /// The pictures of these prompts: all of the first, then all of the second.
    #[must_use]
    pub fn pictures(&self, lines: &[PromptLine]) -> Vec<Wanted> {
        let all = lines.iter().enumerate().flat_map(|(index, line)| {
            let first = self.first(index + 1, line);
            (0..u64::from(self.count)).map(move |more| {
                let seed = first.seed.wrapping_add(more);
                Wanted { seed, ..first.clone() }
            })
        });
        all.collect()
    }

    fn first(&self, number: usize, line: &PromptLine) -> Wanted {
        let cfg = line.cfg.unwrap_or(self.cfg);
        let negative = line.negative.as_deref().or(self.negative);
        Wanted {
            number,
            prompt: line.prompt.clone(),
            // Where nothing is said, what is not to be seen is the empty text.
            negative: (cfg != 1.0).then(|| negative.unwrap_or_default().to_owned()),
            width: line.width.unwrap_or(self.width),
            height: line.height.unwrap_or(self.height),
            steps: line.steps.or(self.steps),
            guidance: line.guidance.unwrap_or(self.guidance),
            cfg,
            seed: line.seed.unwrap_or(self.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_says_counts_before_what_all_say() {
        let texts = ["a cat --w 64 --d 7".to_owned(), "a dog --l 3".to_owned()];
        let asked = Asked {
            prompts: &texts,
            prompts_file: None,
            width: 512,
            height: 256,
            steps: None,
            guidance: 3.5,
            cfg: 1.0,
            negative: Some("rain"),
            seed: 42,
            count: 2,
        };
        let lines: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let pictures = asked.pictures(&lines);
        let seeds: Vec<_> = pictures.iter().map(|one| (one.number, one.seed)).collect();
        assert_eq!(seeds, [(1, 7), (1, 8), (2, 42), (2, 43)]);
        let [cat, dog] = [&pictures[0], &pictures[2]];
        assert_eq!((cat.width, cat.height, cat.cfg, &cat.negative), (64, 256, 1.0, &None));
        assert_eq!((dog.width, dog.cfg, dog.negative.as_deref()), (512, 3.0, Some("rain")));
    }
}
