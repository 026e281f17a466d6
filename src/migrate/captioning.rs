//! `[stages.label]`, `[stages.tag]` and `[stages.merge]`: the programs that make captions and tags.

use std::path::{Path, PathBuf};

use super::{
    Verdict,
    argv::{Given, Settings},
    defaults::Defaults,
    draft::{Draft, Line},
    finding::Findings,
    flags::{self, Fate, Program, Takes},
    literal::{self, quoted},
    paths::Paths,
    texts,
};

/// A command of the script that makes captions, tags or a metadata file.
pub(super) struct Made {
    pub(super) program: Program,
    /// As the script names it: `finetune/make_captions.py`.
    pub(super) called: String,
    pub(super) settings: Settings,
    /// Where its paths start.
    pub(super) folder: PathBuf,
}

impl Made {
    /// The table that its flags go to.
    fn table(&self) -> &'static str {
        match self.program {
            flags::CAPTION => "stages.label",
            flags::TAG => "stages.tag",
            _ => "stages.merge",
        }
    }
}

/// What the datasets say to a folder of pictures that a program reads.
pub(super) struct Folders<'a> {
    pub(super) paths: &'a Paths,
    /// Folders of the datasets, from the root on.
    pub(super) known: Vec<PathBuf>,
    /// Whether there is a training, whose folders count.
    pub(super) trained: bool,
}

/// Writes the table of one program. A second command of one program has the first's table.
pub(super) fn write(
    made: &Made,
    first: bool,
    folders: &mut Folders<'_>,
    defaults: &Defaults,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let comment = match made.program {
        flags::CAPTION => {
            "Captions by BLIP. Captions that are there already are kept; the original writes over them, as existing = \"overwrite\" does."
        }
        flags::TAG => {
            "Tags. Tags that are there already are kept; the original writes over them, as existing = \"overwrite\" does."
        }
        _ => "Captions and tags become the text that is trained on.",
    };
    draft.table(made.table(), &[comment]);
    pictures(made, folders, draft, findings);
    for flag in made.program.flags() {
        let Some(given) = made.settings.get(flag.name) else {
            if let (Fate::Key(path), true) = (flag.fate, first)
                && let Some(value) = defaults.other(&flag, path)
            {
                let words = format!("--{}", flag.name);
                draft.set(
                    path,
                    Line::default(value, made.program.file, &words, "the original's default"),
                );
            }
            continue;
        };
        if !first
            && matches!(flag.fate, Fate::Key(_) | Fate::Rule(..))
            && !["train_data_dir", "recursive", "in_json", "out_json"].contains(&flag.name)
        {
            let because = "one stage does the work of all commands of this program, by the settings of the first";
            findings.say(
                given.id,
                Verdict::NotSupported,
                because,
                "give it a manifest of its own where it is to differ",
            );
            continue;
        }
        match flag.fate {
            Fate::Key(path) => key(path, flag.takes, given, made, folders.paths, draft, findings),
            Fate::Rule(..) => rule(flag.name, given, made, folders, draft, findings),
            fate => {
                if let Some((verdict, because, instead)) = fate.known(flag.name) {
                    findings.say(given.id, verdict, &because, &instead);
                }
            }
        }
    }
    if first {
        networks(made, folders.paths, draft, findings);
    }
}

fn key(
    path: &str,
    takes: Takes,
    given: &Given,
    made: &Made,
    paths: &Paths,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let text = given.text();
    let value = match takes {
        Takes::Path => Ok(quoted(&paths.written(&made.folder, &text))),
        _ => literal::of_text(takes, &text),
    };
    if text.is_empty() && takes == Takes::Text {
        findings.say(given.id, Verdict::NoEffect, "it is empty", "");
        return;
    }
    match value {
        Ok(value) => {
            draft.set(path, Line::of(value, given.id).comment(format!("--{}", given.flag.name)))
        }
        Err(reason) => findings.say(given.id, Verdict::NotSupported, &reason, "correct it"),
    }
}

fn rule(
    name: &str,
    given: &Given,
    made: &Made,
    folders: &mut Folders<'_>,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let table = made.table();
    match name {
        "caption_extention" => {
            let line = Line::of(quoted(&given.text()), given.id).comment("--caption_extention");
            draft.set(&format!("{table}.caption_extension"), line);
            if let Some(other) = made.settings.get("caption_extension") {
                findings.say(
                    other.id,
                    Verdict::NoEffect,
                    "--caption_extention counts before it",
                    "",
                );
            }
        }
        "append_tags" => draft
            .set("stages.tag.existing", Line::of("\"append\"", given.id).comment("--append_tags")),
        "recursive" if folders.trained => {
            let because = "flux_train.py never looks into folders below, so what is made there is not trained on";
            findings.say(
                given.id,
                Verdict::NoEffect,
                because,
                "say recursive = true in [[dataset]] to train it too",
            );
        }
        "recursive" => {
            for index in 0..folders.known.len() {
                let path = format!("dataset.{index}.recursive");
                if draft.get(&path).is_some() {
                    draft.attach(&path, given.id);
                } else {
                    draft.set(&path, Line::of("true", given.id).comment("--recursive"));
                }
            }
        }
        "out_json" => {
            let file = texts::name(&given.text());
            draft.set(
                "stages.merge.out_json",
                Line::of(quoted(&file), given.id).comment("its name: it lies in the output folder"),
            );
        }
        // What cleans a metadata file is told where it is known who reads that file.
        _ => {}
    }
}

/// The folder that a program reads: one of the datasets, or one more where nothing is trained.
fn pictures(made: &Made, folders: &mut Folders<'_>, draft: &mut Draft, findings: &mut Findings) {
    let Some(given) = made.settings.get("train_data_dir") else { return };
    let full = folders.paths.full(&made.folder, &given.text());
    match folders.known.iter().position(|known| *known == full) {
        Some(index) => draft.attach(&format!("dataset.{index}.image_dir"), given.id),
        None if folders.trained => {
            let because = "the training does not read this folder, and stages read the pictures of every [[dataset]]";
            findings.say(
                given.id,
                Verdict::NotSupported,
                because,
                "add a [[dataset]] for it if it is to be trained",
            );
        }
        None => {
            let table = format!("dataset.{}", folders.known.len());
            draft.table(&table, &[]);
            let path = quoted(&folders.paths.written(&made.folder, &given.text()));
            draft.set(
                &format!("{table}.image_dir"),
                Line::of(path, given.id).comment("train_data_dir"),
            );
            let because = "nothing is trained, so it has no effect";
            draft.set(
                &format!("{table}.resolution"),
                Line::default("1024", made.program.file, "size of pictures", because),
            );
            folders.known.push(full);
        }
    }
}

/// The network of a program.
fn networks(made: &Made, paths: &Paths, draft: &mut Draft, findings: &mut Findings) {
    match made.program {
        flags::CAPTION => {
            let file = "models/model_large_caption.pth";
            match made.settings.get("caption_weights") {
                Some(given) if given.text().contains("://") => {
                    findings.remark(given.id, "nothing is downloaded: put the file there yourself");
                    let file = format!("models/{}", texts::name(&given.text()));
                    draft.set(
                        "models.blip",
                        Line::of(quoted(&file), given.id).comment("--caption_weights"),
                    );
                }
                Some(given) => {
                    let path = weights_of_captions(made, &given.text());
                    draft.set(
                        "models.blip",
                        Line::of(quoted(&paths.written(&made.folder, &path)), given.id)
                            .comment("--caption_weights"),
                    );
                }
                None => {
                    let because = "the original downloads it; put the file there yourself";
                    draft.set(
                        "models.blip",
                        Line::default(
                            quoted(file),
                            made.program.file,
                            "--caption_weights",
                            because,
                        )
                        .comment("put the file there: nothing is downloaded"),
                    );
                }
            }
        }
        flags::TAG => tagger(made, paths, draft, findings),
        _ => {}
    }
}

/// Unless it is started in it, the program goes into the folder `finetune` before it looks for its weights, and one
/// folder up where they are not there.
fn weights_of_captions(made: &Made, path: &str) -> String {
    let started_in =
        Path::new(&made.called).parent().is_none_or(|folder| folder.as_os_str().is_empty());
    match path.strip_prefix("../") {
        Some(rest) if !started_in => rest.to_owned(),
        _ => path.to_owned(),
    }
}

/// The folder in which the program keeps a tagger.
fn tagger(made: &Made, paths: &Paths, draft: &mut Draft, findings: &mut Findings) {
    let settings = &made.settings;
    let folder = settings.text("model_dir").unwrap_or_else(|| "wd14_tagger_model".to_owned());
    let repository = settings
        .text("repo_id")
        .unwrap_or_else(|| "SmilingWolf/wd-v1-4-convnext-tagger-v2".to_owned());
    let parts: Vec<&str> = repository.split('/').collect();
    let name = match parts[..] {
        [owner, name, ref inner @ ..] if !inner.is_empty() => {
            format!("{owner}_{name}/{}", inner.join("/"))
        }
        _ => repository.replace('/', "_"),
    };
    let path = quoted(
        &paths.written(&made.folder, &format!("{}/{name}", folder.trim_end_matches(['/', '\\']))),
    );
    let ids: Vec<_> =
        ["repo_id", "model_dir"].iter().filter_map(|flag| Some(settings.get(flag)?.id)).collect();
    let keras = "without --onnx the original runs a Keras model: the folder needs model.onnx and selected_tags.csv here";
    match ids.split_first() {
        Some((first, rest)) => {
            if !settings.has("onnx") {
                findings.remark(*first, keras);
            }
            let line = Line::of(path, *first).comment("--model_dir and --repo_id");
            draft.set("models.tagger", rest.iter().fold(line, |line, id| line.and(*id)));
        }
        None => {
            let because =
                "the original downloads it; put model.onnx and selected_tags.csv there yourself";
            draft.set(
                "models.tagger",
                Line::default(path, made.program.file, "--repo_id", because)
                    .comment("put model.onnx and selected_tags.csv there"),
            );
        }
    }
}

/// What cleans a metadata file: it has an effect where the training reads that file, or nothing is trained.
pub(super) fn clean(made: &Made, read: bool, draft: &mut Draft, findings: &mut Findings) {
    let flag = if made.program == flags::CLEAN { "in_json" } else { "clean_caption" };
    let Some(given) = made.settings.get(flag) else { return };
    if !read {
        let because = "the training does not read the metadata file";
        findings.say(
            given.id,
            Verdict::NoEffect,
            because,
            "say clean_captions and clean_tags in [stages.merge] to have its effect",
        );
        return;
    }
    for key in ["clean_captions", "clean_tags"] {
        draft.set(
            &format!("stages.merge.{key}"),
            Line::of("true", given.id).comment(made.program.file),
        );
    }
}
