//! `fluxpipe demo measure DIR`: whether pictures show what they should, by the demo's tagger.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crate::{
    base::disk,
    cli::{CliError, Exit, Outcome, print},
    device, report,
    stages::{
        pictures::Parameters,
        seen::{self, Shown},
    },
};

/// Count the drawn pictures in which a tagger sees what was asked for
///
/// Looks at the pictures of a sample stage, and apart from them at those of the model before the
/// training. Asked for is what `--tag` names, or else every tag of the tagger whose words are in the
/// prompt of the picture.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe demo measure manifests/demo-output/samples/emblem --tag star
  fluxpipe demo measure manifests/demo-output/samples/known --at-least 12")]
pub struct Measure {
    /// A folder of pictures that fluxpipe drew
    dir: PathBuf,

    /// A folder with model.onnx and selected_tags.csv
    #[arg(long, value_name = "DIR", default_value = "assets/demo/models/tagger")]
    tagger: PathBuf,

    /// What should be seen in every picture
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// Fail if fewer pictures of the trained model show it
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: usize,

    /// Fail if more pictures of the model before show it
    #[arg(long, value_name = "N")]
    before_at_most: Option<usize>,
}

impl Measure {
    pub(super) fn run(self) -> Outcome {
        let unreadable = |source| CliError::Read { path: self.dir.clone(), source };
        let files = disk::list(&self.dir).map_err(unreadable)?;
        let mut pictures = files
            .map(|file| Ok(file?.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        pictures.retain(|path| ends_with(path, ".png") && !ends_with(path, "-compare.png"));
        pictures.sort();
        let (before, after) =
            pictures.into_iter().partition::<Vec<_>, _>(|path| ends_with(path, "-before.png"));
        let after = self.count(&after)?;
        let before = self.count(&before)?;
        print(&report::shown("after", &after))?;
        print(&report::shown("before", &before))?;
        let enough = right(&after) >= self.at_least;
        let few = self.before_at_most.is_none_or(|most| right(&before) <= most);
        Ok(if enough && few { Exit::Done } else { Exit::Failed })
    }

    /// What is seen in these pictures of what they should show.
    fn count(&self, pictures: &[PathBuf]) -> miette::Result<Vec<Shown>> {
        let device = device::cpu();
        let seen = seen::seen(&self.tagger, pictures, &device)?;
        let mut shown = Vec::with_capacity(pictures.len());
        for (path, tags) in pictures.iter().zip(seen.tags) {
            let asked = match &self.tag {
                Some(tag) => vec![tag.clone()],
                None => {
                    let read = disk::read(path);
                    let bytes =
                        read.map_err(|source| CliError::Read { path: path.clone(), source })?;
                    let prompt = Parameters::read(&bytes).map(|drawn| drawn.prompt);
                    named(&prompt.unwrap_or_default(), &seen.known)
                }
            };
            let missing = asked.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
            shown.push(Shown { picture: path.clone(), asked, missing });
        }
        Ok(shown)
    }
}

/// The tags of which all words are in the prompt, also as plurals.
fn named(prompt: &str, known: &[String]) -> Vec<String> {
    let words = prompt.split(|c: char| !c.is_alphanumeric()).collect::<HashSet<_>>();
    let has = |word: &str| {
        [word.to_owned(), format!("{word}s"), format!("{word}es")]
            .iter()
            .any(|form| words.contains(form.as_str()))
    };
    known.iter().filter(|tag| tag.split(' ').all(has)).cloned().collect()
}

fn ends_with(path: &Path, ending: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending))
}

fn right(shown: &[Shown]) -> usize {
    shown.iter().filter(|picture| picture.missing.is_empty()).count()
}
