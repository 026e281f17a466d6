//! The tables of `docs/from-sd-scripts.md`, made from what scripts are read by.

use super::{
    Verdict,
    defaults::Defaults,
    flags::{self, Fate, Flag, PROGRAMS, Takes},
};

/// What becomes of each flag and key, as tables of Markdown.
#[must_use]
pub fn page() -> String {
    let defaults = Defaults::new();
    let mut page = String::new();
    for program in PROGRAMS.iter().rev().filter(|program| !program.caches()) {
        page += &format!("## `{}`\n\nIt {}.\n\n", program.file, program.does);
        if program.file == flags::TRAIN.file {
            page += "`cache_latents.py` and `cache_text_encoder_outputs.py` take the same flags, and those at the end of this page.\n\n";
        }
        page += &table(&program.flags(), program.places, &defaults);
    }
    page += "## The data configuration\n\nKeys of `[general]`, `[[datasets]]` and `[[datasets.subsets]]`, in TOML or JSON.\n\n";
    page += &keys(&flags::dataset_keys(), &defaults);
    page += "## `accelerate launch`\n\nFlags before the name of the program.\n\n";
    page += &table(flags::ACCELERATE_LAUNCH, &[], &defaults);
    page += "## The configuration of accelerate\n\nWhat `accelerate config` writes.\n\n";
    page += &keys(flags::ACCELERATE_CONFIG, &defaults);
    page += "## What only `cache_latents.py` and `cache_text_encoder_outputs.py` take\n\n";
    page += &table(flags::CACHES, &[], &defaults);
    page.trim_end().to_owned() + "\n"
}

const HEAD: &str = "| default there | here | |\n|---|---|---|---|\n";

fn table(flags: &[Flag], places: &[&str], defaults: &Defaults) -> String {
    let row = |flag: &Flag| {
        let dashes = if places.contains(&flag.name) { "" } else { "--" };
        row(&format!("{dashes}{}", flag.name), flag, defaults)
    };
    format!("| flag {HEAD}{}\n", flags.iter().map(row).collect::<String>())
}

fn keys(keys: &[Flag], defaults: &Defaults) -> String {
    let rows: String = keys.iter().map(|key| row(key.name, key, defaults)).collect();
    format!("| key {HEAD}{rows}\n")
}

fn row(name: &str, flag: &Flag, defaults: &Defaults) -> String {
    let default = match (flag.takes, flag.default) {
        (Takes::Switch, _) => "off".to_owned(),
        (_, "") => "–".to_owned(),
        (_, text) => format!("`{text}`"),
    };
    let (here, words) = match flag.fate {
        Fate::Key(path) => {
            let words = match defaults.other(flag, path) {
                Some(_) => "another default here, so that it is written out",
                None => "",
            };
            (format!("`{}`", place(path)), words.to_owned())
        }
        Fate::Rule("", how) => ("read".to_owned(), how.to_owned()),
        Fate::Rule(path, how) => (format!("`{}`", place(path)), how.to_owned()),
        fate => match fate.known(flag.name) {
            Some((verdict, because, instead)) => {
                let here = match verdict {
                    Verdict::NoEffect => "no effect there",
                    Verdict::AlwaysSo => "always so",
                    _ => "not supported",
                };
                let instead = if instead.is_empty() { instead } else { format!("; {instead}") };
                (here.to_owned(), because + &instead)
            }
            None => ("unknown".to_owned(), String::new()),
        },
    };
    format!("| `{name}` | {default} | {here} | {} |\n", words.replace('|', "\\|"))
}

/// `learning_rate` in `[stages.finetune]` is told as one path.
fn place(path: &str) -> String {
    match path.strip_prefix("dataset.") {
        Some(key) => format!("[[dataset]] {key}"),
        None if path.starts_with('[') => path.to_owned(),
        None => match path.rsplit_once('.') {
            Some((table, key)) => format!("[{table}] {key}"),
            None => path.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Flag> {
        let programs = PROGRAMS.iter().flat_map(|program| program.flags());
        let more =
            [flags::ACCELERATE_LAUNCH, flags::ACCELERATE_CONFIG].into_iter().flatten().copied();
        programs.chain(flags::dataset_keys()).chain(more).collect()
    }

    #[test]
    fn every_key_that_a_flag_goes_to_exists() {
        let defaults = Defaults::new();
        for flag in all() {
            let (Fate::Key(path) | Fate::Rule(path, _)) = flag.fate else { continue };
            let plain = path.is_empty() || path.starts_with('[');
            assert!(plain || defaults.has(path), "{} goes to {path}", flag.name);
        }
    }

    #[test]
    fn every_flag_of_which_the_manifest_speaks_is_known_to_it() {
        for flag in all().into_iter().filter(|flag| matches!(flag.fate, Fate::Foreign)) {
            assert!(flag.fate.known(flag.name).is_some(), "{}", flag.name);
        }
    }

    #[test]
    fn no_program_has_a_flag_twice() {
        for program in PROGRAMS {
            let mut names: Vec<_> = program.flags().iter().map(|flag| flag.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", program.file);
        }
    }
}
