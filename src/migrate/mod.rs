//! Floor 2: scripts and configurations of another trainer become a manifest, with a list of what became of each
//! flag. Text goes in and text comes out: nothing is run, written or printed here.
//!
//! `shell` and `argv` read command lines, `datasets` and `accelerate` configurations; `flags` is the table of what
//! becomes of each flag, from which the page `docs/from-sd-scripts.md` is made as well (`page`). `training`,
//! `pictures`, `texts` and `captioning` work out what is no plain key, and write into the `draft`. What has no effect
//! beside other values, and what cannot be, the reader of manifests says ([`crate::manifest`]): the draft asks it.
//!
//! Knows the names of manifests and flags; neither stages nor networks nor pictures.

mod accelerate;
mod argv;
mod captioning;
mod datasets;
mod defaults;
mod draft;
mod error;
mod finding;
mod flags;
mod literal;
mod page;
mod paths;
mod pictures;
mod shell;
mod texts;
mod training;
mod wrap;

use std::path::{Path, PathBuf};

pub use error::MigrateError;
pub use finding::{Finding, Imported, Verdict};
pub use page::page;
pub use wrap::wrapped;

use accelerate::Launch;
use argv::Settings;
use captioning::{Folders, Made};
use datasets::Subset;
use defaults::Defaults;
use draft::{Draft, Line};
use finding::Findings;
use flags::Program;
use literal::quoted;
use paths::Paths;
use shell::{Command, Script};
use training::Training;

/// A file that was read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, as the user gave it.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// What is taken over, and where to.
pub struct Asked<'a> {
    /// The shell script.
    pub script: Source<'a>,
    /// The data configuration; where it is not given, the one that the script names.
    pub dataset: Option<Source<'a>>,
    /// What `accelerate config` wrote.
    pub accelerate: Option<Source<'a>>,
    /// The folder in which the script runs, from the root on.
    pub base: &'a Path,
    /// The manifest that will be written, from the root on.
    pub manifest: &'a Path,
    /// What lies around the script.
    pub look: &'a dyn Surroundings,
}

/// What may be looked at beside the files that the user names.
pub trait Surroundings {
    /// The text of a configuration that the script names.
    ///
    /// # Errors
    /// It is there and cannot be read. `None` where it is not there.
    fn text(&self, path: &Path) -> Result<Option<String>, MigrateError>;
    /// Names of the folders in a folder, sorted; empty where it is not there.
    fn folders(&self, path: &Path) -> Vec<String>;
    /// How many pictures lie in a folder; `None` where it is not there.
    fn pictures(&self, path: &Path) -> Option<usize>;
}

/// The text of a manifest for what the script does, and what became of each flag.
///
/// # Errors
/// A text cannot be read at all, or the script starts nothing that is known.
pub fn import(asked: &Asked<'_>) -> Result<(String, Imported), MigrateError> {
    let script = shell::read(asked.script.name, asked.script.text)?;
    let mut importer = Importer {
        asked,
        paths: Paths {
            base: paths::plain(asked.base),
            manifest: asked.manifest.parent().map(paths::plain).unwrap_or_default(),
        },
        defaults: Defaults::new(),
        findings: Findings::default(),
        draft: Draft::default(),
        read: vec![asked.script.name.to_owned()],
    };
    importer.run(script)
}

struct Importer<'a> {
    asked: &'a Asked<'a>,
    paths: Paths,
    defaults: Defaults,
    findings: Findings,
    draft: Draft,
    /// Names of the files that were read.
    read: Vec<String>,
}

/// The commands of a script that are taken over.
#[derive(Default)]
struct Commands {
    made: Vec<Made>,
    /// `flux_train.py` and the folder in which it runs.
    train: Option<(Settings, PathBuf)>,
    launch: Launch,
    /// Whether accelerate starts it.
    accelerated: bool,
}

impl Commands {
    /// What the folders of pictures need to know.
    fn context<'a>(
        &'a self,
        paths: &'a Paths,
        look: &'a dyn Surroundings,
    ) -> pictures::Context<'a> {
        let (settings, folder) = self
            .train
            .as_ref()
            .map_or((None, Path::new("")), |(settings, folder)| (Some(settings), folder.as_path()));
        let flags = ["cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"];
        let cached = settings.is_some_and(|settings| flags.iter().any(|flag| settings.has(flag)));
        pictures::Context { paths, folder, look, cached }
    }
}

impl Importer<'_> {
    fn run(&mut self, script: Script) -> Result<(String, Imported), MigrateError> {
        let name = self.asked.script.name;
        for note in &script.notes {
            let flag = note.word.clone().unwrap_or_else(|| "line".to_owned());
            self.findings.note(name, &flag, Some(note.line), note.text);
        }
        let mut commands = self.commands(script)?;
        if let Some((settings, folder)) = &mut commands.train {
            self.config_file(settings, folder)?;
        }
        if let Some(source) = self.accelerate(&commands)? {
            self.read.push(source.0.clone());
            commands.launch.read(&source.0, &source.1, commands.accelerated, &mut self.findings)?;
        }
        self.head(&commands);
        let subsets = self.pictures(&commands)?;
        self.write(&commands, &subsets);
        self.finish()
    }

    /// Finds the programs, and reads their flags.
    fn commands(&mut self, script: Script) -> Result<Commands, MigrateError> {
        let name = self.asked.script.name;
        let mut commands = Commands::default();
        let mut lora = false;
        for command in script.commands {
            let Some(at) = command.words.iter().position(|word| shell::is_script(&word.text))
            else {
                continue;
            };
            let called = command.words[at].text.clone();
            let line = command.words[at].line;
            let Some(program) = Program::of(&called) else {
                lora |= called.ends_with("flux_train_network.py");
                let id = self.findings.add(name, &called, None, Some(line));
                let because = "this program is not one of those that are taken over";
                self.findings.say(id, Verdict::NotSupported, because, "");
                continue;
            };
            let settings =
                argv::parse(program, program.file, &command.words[at + 1..], &mut self.findings);
            self.command(program, called, settings, command, at, &mut commands);
        }
        if commands.made.is_empty() && commands.train.is_none() {
            return Err(flags::nothing(name, lora));
        }
        Ok(commands)
    }

    fn command(
        &mut self,
        program: Program,
        called: String,
        settings: Settings,
        command: Command,
        at: usize,
        commands: &mut Commands,
    ) {
        let trains = program == flags::TRAIN || program.caches();
        if !trains {
            commands.made.push(Made { program, called, settings, folder: command.folder });
            return;
        }
        let accelerated =
            command.words[..at].iter().position(|word| word.text.ends_with("accelerate"));
        if program == flags::TRAIN {
            commands.accelerated |= accelerated.is_some();
            if let Some(launcher) = accelerated {
                commands.launch.flags(&command.words[launcher + 1..at], &mut self.findings);
            }
            commands.launch.environment(self.asked.script.name, &command, &mut self.findings);
        } else {
            for given in settings.iter().filter(|given| flags::is_of_training(given.flag.name)) {
                self.findings.say(given.id, Verdict::NoEffect, "this program trains nothing", "");
            }
        }
        match &mut commands.train {
            None => commands.train = Some((settings, command.folder)),
            // What is encoded beforehand is encoded as the training wants it.
            Some((own, folder)) if program == flags::TRAIN => {
                let before = std::mem::replace(own, settings);
                *folder = command.folder;
                own.fill(
                    before,
                    &mut self.findings,
                    "flux_train.py says it too, and what it says counts",
                );
            }
            Some((own, _)) => own.fill(
                settings,
                &mut self.findings,
                "another command of the script says it already",
            ),
        }
    }

    /// `--config_file`: keys of any table are flags; those of the command line count before them.
    fn config_file(&mut self, settings: &mut Settings, folder: &Path) -> Result<(), MigrateError> {
        let Some(given) = settings.get("config_file").cloned() else { return Ok(()) };
        let mut name = given.text();
        if !name.ends_with(".toml") {
            name += ".toml";
        }
        let Some(text) = self.asked.look.text(&self.paths.full(folder, &name))? else {
            let because = format!("{name} is not there");
            self.findings.say(
                given.id,
                Verdict::NotSupported,
                &because,
                "say with --base where the script runs, or put the flags on the command line",
            );
            return Ok(());
        };
        self.read.push(name.clone());
        let root: toml::Table =
            text.trim_start_matches('\u{feff}').parse().map_err(|error: toml::de::Error| {
                let before = error.span().and_then(|span| text.get(..span.start));
                MigrateError::Configuration {
                    file: name.clone(),
                    line: before.map(|before| before.matches('\n').count() + 1),
                    reason: format!("it is not TOML: {}", error.message()),
                    help: "correct it, or take --config_file out of the script",
                }
            })?;
        self.findings.say(given.id, Verdict::AlwaysSo, "its keys are listed by themselves", "");
        let inner = root.into_iter().flat_map(|(key, value)| match value {
            toml::Value::Table(inner) => inner.into_iter().collect(),
            value => vec![(key, value)],
        });
        let words: Vec<shell::Word> =
            inner.flat_map(|(key, value)| words_of(&key, &value)).collect();
        let more = argv::parse(flags::TRAIN, &name, &words, &mut self.findings);
        settings.fill(
            more,
            &mut self.findings,
            "the command line says it, and counts before the file",
        );
        Ok(())
    }

    /// Name and text of accelerate's configuration: as the user names it, else as the script does.
    fn accelerate(&self, commands: &Commands) -> Result<Option<(String, String)>, MigrateError> {
        let own =
            self.asked.accelerate.map(|source| (source.name.to_owned(), source.text.to_owned()));
        if own.is_some() {
            return Ok(own);
        }
        let Some((name, folder)) =
            commands.launch.config.as_ref().zip(commands.train.as_ref().map(|train| &train.1))
        else {
            return Ok(None);
        };
        let text = self.asked.look.text(&self.paths.full(folder, name))?;
        Ok(text.map(|text| (name.clone(), text)))
    }

    /// `[project]` and `[models]`.
    fn head(&mut self, commands: &Commands) {
        let settings = commands.train.as_ref().map(|train| &train.0);
        self.draft.table("project", &[]);
        let name = training::project_name(settings, self.asked.script.name);
        let line = match settings.and_then(|settings| settings.get("output_name")) {
            Some(given) => Line::of(quoted(&name), given.id).comment("--output_name"),
            None => Line::default(
                quoted(&name),
                self.asked.script.name,
                "name of the project",
                "as the script is called",
            ),
        };
        self.draft.set("project.name", line.fallback("\"project\""));
        commands.launch.device(&mut self.draft, &mut self.findings);
        self.draft.table("models", &[]);
    }

    /// The folders of pictures that are trained.
    fn pictures(&mut self, commands: &Commands) -> Result<Vec<Subset>, MigrateError> {
        let Some((settings, folder)) = &commands.train else { return Ok(Vec::new()) };
        let named = settings.get("dataset_config");
        let source = match (self.asked.dataset, named) {
            (Some(source), named) => {
                if let Some(given) = named {
                    let because =
                        format!("{} was read, each of its subsets is a [[dataset]]", source.name);
                    self.findings.say(given.id, Verdict::TakenOver, &because, "");
                }
                Some((source.name.to_owned(), source.text.to_owned()))
            }
            (None, Some(given)) => {
                let name = given.text();
                let text = self.asked.look.text(&self.paths.full(folder, &name))?;
                if text.is_some() {
                    self.findings.say(
                        given.id,
                        Verdict::TakenOver,
                        "each of its subsets is a [[dataset]]",
                        "",
                    );
                } else {
                    let because = format!("{name} is not there");
                    let instead =
                        "name it behind the script, or say with --base where the script runs";
                    self.findings.say(given.id, Verdict::NotSupported, &because, instead);
                }
                text.map(|text| (name, text))
            }
            (None, None) => None,
        };
        let context = commands.context(&self.paths, self.asked.look);
        let mut subsets = match &source {
            Some((name, text)) => {
                self.read.push(name.clone());
                for flag in ["train_data_dir", "reg_data_dir", "in_json"] {
                    if let Some(given) = settings.get(flag) {
                        self.findings.say(
                            given.id,
                            Verdict::NoEffect,
                            "the data configuration names the folders",
                            "",
                        );
                    }
                }
                datasets::read(name, text, settings, &mut self.findings)?
            }
            None => pictures::of_flags(settings, &context, &mut self.findings),
        };
        subsets = pictures::trained(subsets, &mut self.findings);
        if subsets.is_empty() {
            let mut subset = Subset::default();
            datasets::with_flags(&mut subset, settings);
            subsets.push(subset);
        }
        for (index, subset) in subsets.iter().enumerate() {
            pictures::write(
                index,
                subset,
                &context,
                &self.defaults,
                &mut self.draft,
                &mut self.findings,
            );
        }
        Ok(subsets)
    }

    fn write(&mut self, commands: &Commands, subsets: &[Subset]) {
        let mut folders =
            Folders { paths: &self.paths, known: Vec::new(), trained: commands.train.is_some() };
        let folder = commands.train.as_ref().map(|train| train.1.clone()).unwrap_or_default();
        for subset in subsets {
            let image_dir = subset.text("image_dir").unwrap_or_default();
            folders.known.push(self.paths.full(&folder, &image_dir));
        }
        let mut begun: Vec<Program> = Vec::new();
        let mut files = Vec::new();
        for made in commands.made.iter().filter(|made| made.program != flags::BUCKETS) {
            let first = !begun.contains(&made.program);
            begun.push(made.program);
            captioning::write(
                made,
                first,
                &mut folders,
                &self.defaults,
                &mut self.draft,
                &mut self.findings,
            );
            files.extend(made.settings.text("out_json").map(|file| texts::name(&file)));
        }
        let read: Vec<String> = subsets
            .iter()
            .filter_map(|subset| subset.text("metadata_file"))
            .map(|file| texts::name(&file))
            .collect();
        for made in &commands.made {
            let is_read = commands.train.is_none()
                || made
                    .settings
                    .text("out_json")
                    .is_some_and(|file| read.contains(&texts::name(&file)));
            captioning::clean(made, is_read, &mut self.draft, &mut self.findings);
            if made.program == flags::BUCKETS {
                for given in made.settings.iter() {
                    if let Some((verdict, because, instead)) =
                        given.flag.fate.known(given.flag.name)
                    {
                        self.findings.say(given.id, verdict, &because, &instead);
                    }
                }
            }
        }
        let Some((settings, folder)) = &commands.train else { return };
        self.draft
            .table("stages.merge", &["Captions and tags become the text that is trained on."]);
        texts::write(subsets, &files, &self.paths, folder, &mut self.draft, &mut self.findings);
        let shown = pictures::shown(subsets, &commands.context(&self.paths, self.asked.look));
        let training = Training {
            settings,
            launch: &commands.launch,
            subsets,
            shown,
            paths: &self.paths,
            folder,
            defaults: &self.defaults,
        };
        training.write(&mut self.draft, &mut self.findings);
    }

    fn finish(&mut self) -> Result<(String, Imported), MigrateError> {
        self.draft.judge(self.asked.manifest, &mut self.findings);
        let mut findings = std::mem::take(&mut self.findings);
        self.draft.tell(&mut findings);
        let (body, _) = self.draft.written(&findings);
        let findings = findings.finished();
        let manifest = self.asked.manifest;
        let text = format!("{}\n{body}{}", self.heading(), tail(&findings));
        let imported = Imported {
            manifest: manifest.display().to_string(),
            read: self.read.clone(),
            findings,
        };
        Ok((text, imported))
    }

    fn heading(&self) -> String {
        let files: Vec<String> = self.read.iter().map(|name| texts::name(name)).collect();
        let lines = [
            format!("Made by `fluxpipe import sd-scripts` from {}, to do what it does there: what is not said in it and has another default here is written out.", files.join(", ")),
            "What was not taken over is listed at the end. docs/from-sd-scripts.md tells what becomes of each flag.".to_owned(),
        ];
        lines.iter().flat_map(|line| wrap::commented(line, 100)).map(|line| line + "\n").collect()
    }
}

/// What was not taken over, as comments.
fn tail(findings: &[Finding]) -> String {
    let left: Vec<&Finding> = findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::NotSupported | Verdict::Unknown))
        .collect();
    if left.is_empty() {
        return String::new();
    }
    let mut text = "\n# Not taken over:\n".to_owned();
    for finding in left {
        let value = finding.value.as_ref().map(|value| format!(" {value}")).unwrap_or_default();
        let because = finding.because.as_deref().unwrap_or_default();
        let instead =
            finding.instead.as_ref().map(|instead| format!("; {instead}")).unwrap_or_default();
        let line = format!("- {}{value}: {because}{instead}", finding.flag);
        wrap::commented(&line, 100).iter().for_each(|line| text += &format!("{line}\n"));
    }
    text
}

/// A key of a configuration as words of a command line.
fn words_of(key: &str, value: &toml::Value) -> Vec<shell::Word> {
    let word = |text: String| shell::Word { text, line: 0 };
    let plain =
        |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let flag = format!("--{key}");
    match value {
        toml::Value::Boolean(true) => vec![word(flag)],
        // As where a switch is not given.
        toml::Value::Boolean(false) => Vec::new(),
        toml::Value::Array(values) => std::iter::once(word(flag))
            .chain(values.iter().map(|value| word(plain(value))))
            .collect(),
        value => vec![word(format!("{flag}={}", plain(value)))],
    }
}
