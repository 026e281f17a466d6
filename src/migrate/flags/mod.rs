//! The flags of the original's programs and the keys of its configurations, and what becomes of each: the one
//! table from which scripts are read and `docs/from-sd-scripts.md` is made.
//!
//! Facts about sd-scripts, main branch of February 2026, and the version of November 2024 that derived
//! repositories hold.

mod accelerate;
mod captioning;
mod data;
mod training;

pub(super) use accelerate::{CONFIG as ACCELERATE_CONFIG, LAUNCH as ACCELERATE_LAUNCH};
pub(super) use data::{Level, dataset_keys, level};
pub(super) use training::CACHES;

use super::MigrateError;
use crate::manifest::{Foreign, Standing, foreign};

/// A flag of a program, or a key of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    /// Its default there, as one would write it; empty where there is none.
    pub(super) default: &'static str,
    pub(super) fate: Fate,
}

/// What stands behind a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Switch,
    /// A number.
    Number,
    /// A text or a path.
    Text,
    /// A path, from the folder in which the script runs.
    Path,
    /// Any number of words.
    Words,
    /// A side, or width and height with a comma.
    Size,
}

/// What becomes of a flag here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Its value stands at this key.
    Key(&'static str),
    /// Worked out: the keys, and how.
    Rule(&'static str, &'static str),
    /// As the manifest answers a key of this name.
    Foreign,
    /// The original does nothing with it: why.
    NoEffect(&'static str),
    /// What it asks for is always so: how.
    Always(&'static str),
    /// There is nothing for it: why, and what to do.
    Missing(&'static str, &'static str),
}

pub(super) const fn flag(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    fate: Fate,
) -> Flag {
    Flag { name, takes, default, fate }
}

pub(super) const fn switch(name: &'static str, fate: Fate) -> Flag {
    Flag { name, takes: Takes::Switch, default: "", fate }
}

/// A program of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// File name.
    pub(super) file: &'static str,
    /// What it does, for the page.
    pub(super) does: &'static str,
    /// What it is given without a flag, in this order.
    pub(super) places: &'static [&'static str],
}

pub(super) const TRAIN: Program = Program {
    file: "flux_train.py",
    does: "trains; here the stages `merge`, `cache` and `finetune`",
    places: &[],
};
pub(super) const CAPTION: Program = Program {
    file: "make_captions.py",
    does: "captions by BLIP; here the stage `label`",
    places: &["train_data_dir"],
};
pub(super) const TAG: Program = Program {
    file: "tag_images_by_wd14_tagger.py",
    does: "tags; here the stage `tag`",
    places: &["train_data_dir"],
};
pub(super) const MERGE_CAPTIONS: Program = Program {
    file: "merge_captions_to_metadata.py",
    does: "puts captions into the metadata file; here the stage `merge`",
    places: &["train_data_dir", "out_json"],
};
pub(super) const MERGE_TAGS: Program = Program {
    file: "merge_dd_tags_to_metadata.py",
    does: "puts tags into the metadata file; here the stage `merge`",
    places: &["train_data_dir", "out_json"],
};
pub(super) const MERGE_ALL: Program = Program {
    file: "merge_all_to_metadata.py",
    does: "puts both into it (it was never released; command lines call it all the same); here the stage `merge`",
    places: &["train_data_dir", "out_json"],
};
pub(super) const CLEAN: Program = Program {
    file: "clean_captions_and_tags.py",
    does: "cleans captions and tags of drawings; here keys of the stage `merge`",
    places: &["in_json", "out_json"],
};
pub(super) const BUCKETS: Program = Program {
    file: "prepare_buckets_latents.py",
    does: "prepares pictures for Stable Diffusion; FLUX.1 does not read what it writes",
    places: &["train_data_dir", "in_json", "out_json", "model_name_or_path"],
};
pub(super) const LATENTS: Program = Program {
    file: "cache_latents.py",
    does: "encodes pictures beforehand; here the stage `cache`",
    places: &[],
};
pub(super) const TEXTS: Program = Program {
    file: "cache_text_encoder_outputs.py",
    does: "encodes captions beforehand; here the stage `cache`",
    places: &[],
};

/// All programs whose command lines are taken over, in the order in which a project uses them.
pub(super) const PROGRAMS: [Program; 10] =
    [CAPTION, TAG, MERGE_CAPTIONS, MERGE_TAGS, MERGE_ALL, CLEAN, BUCKETS, LATENTS, TEXTS, TRAIN];

impl Program {
    /// The program that this word of a command starts.
    pub(super) fn of(word: &str) -> Option<Self> {
        let file = word.rsplit(['/', '\\']).next().unwrap_or(word);
        // A derived repository keeps a second copy under another name.
        let file = if file == "flux_train_1.py" { "flux_train.py" } else { file };
        PROGRAMS.into_iter().find(|program| program.file == file)
    }

    /// Its flags.
    pub(super) fn flags(self) -> Vec<Flag> {
        let groups: &[&[Flag]] = match self {
            CAPTION => &[captioning::CAPTION],
            TAG => &[captioning::TAG],
            MERGE_CAPTIONS | MERGE_TAGS | MERGE_ALL => &[captioning::MERGE],
            CLEAN => &[captioning::CLEAN],
            BUCKETS => &[captioning::BUCKETS],
            TRAIN => &[training::MODELS, data::FLAGS, training::TRAINING],
            _ => &[training::MODELS, data::FLAGS, training::CACHES, training::TRAINING],
        };
        groups.concat()
    }

    /// Whether it only encodes, so that what belongs to a training is nothing to it.
    pub(super) fn caches(self) -> bool {
        self == LATENTS || self == TEXTS
    }
}

/// Flags of the original that say something about a training and nothing about what is encoded.
pub(super) fn is_of_training(name: &str) -> bool {
    training::TRAINING.iter().any(|flag| flag.name == name)
}

/// What the manifest says of a key of this name.
pub(super) fn standing(name: &str) -> Option<Foreign> {
    foreign(name)
}

impl Fate {
    /// What is known without any value: verdict, reason, what to do.
    pub(super) fn known(self, name: &str) -> Option<(super::Verdict, String, String)> {
        use super::Verdict as V;
        let (verdict, because, instead) = match self {
            Self::NoEffect(because) => (V::NoEffect, because, ""),
            Self::Always(because) => (V::AlwaysSo, because, ""),
            Self::Missing(because, instead) => (V::NotSupported, because, instead),
            Self::Foreign => {
                let known = standing(name)?;
                let verdict = match known.standing {
                    Standing::Unread => V::NoEffect,
                    Standing::Always => V::AlwaysSo,
                    Standing::Missing => V::NotSupported,
                };
                (verdict, known.why, known.instead)
            }
            Self::Key(_) | Self::Rule(..) => return None,
        };
        Some((verdict, because.to_owned(), instead.to_owned()))
    }
}

/// What a script may start, for whoever named another file.
pub(super) fn nothing(script: &str, lora: bool) -> MigrateError {
    let help = if lora {
        "flux_train_network.py trains a LoRA, and fluxpipe trains the model itself: only flux_train.py is taken over"
            .to_owned()
    } else {
        let names = PROGRAMS.map(|program| program.file).join(", ");
        format!("name a shell script that starts one of {names}")
    };
    MigrateError::Nothing { script: script.to_owned(), help }
}
