//! How `accelerate` starts a training: on how many devices, and on which.

use serde_json::Value as Json;

use super::{
    MigrateError, Verdict,
    draft::{Draft, Line},
    finding::{Findings, Id},
    flags::{ACCELERATE_CONFIG, ACCELERATE_LAUNCH, Flag, Takes},
    literal::quoted,
    shell::{Command, Word},
};
use crate::base::did_you_mean;

/// What is known of the start.
#[derive(Debug, Default)]
pub(super) struct Launch {
    /// Processes, and what said so.
    pub(super) processes: Option<(u32, Id)>,
    /// Devices as numbers with commas, and what said so.
    devices: Option<(String, Id)>,
    on_cpu: Option<Id>,
    /// The configuration that the command line names.
    pub(super) config: Option<String>,
}

impl Launch {
    /// Processes that take a batch each.
    pub(super) fn count(&self) -> u32 {
        self.processes.map_or(1, |(count, _)| count.max(1))
    }

    /// Reads what stands between `accelerate launch` and the program.
    pub(super) fn flags(&mut self, words: &[Word], findings: &mut Findings) {
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.text.strip_prefix("--") else { continue };
            let (name, joined) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let name = name.replace('-', "_");
            let flag = ACCELERATE_LAUNCH.iter().find(|flag| flag.name == name);
            let takes = flag.is_none_or(|flag| flag.takes != Takes::Switch);
            let next =
                || words.next_if(|next| !next.text.starts_with("--")).map(|word| word.text.clone());
            let value = if takes { joined.or_else(next) } else { joined };
            let id = findings.add(
                "accelerate launch",
                &format!("--{name}"),
                value.clone(),
                Some(word.line),
            );
            match flag {
                Some(flag) => {
                    self.one(flag, value.as_deref().unwrap_or("true"), id, findings, true)
                }
                None => foreign_flag(id, &name, ACCELERATE_LAUNCH, "accelerate", findings),
            }
        }
    }

    /// Reads a configuration. Where `started` is not, the script starts the program without accelerate.
    ///
    /// # Errors
    /// It is neither YAML of keys and values nor JSON.
    pub(super) fn read(
        &mut self,
        file: &str,
        text: &str,
        started: bool,
        findings: &mut Findings,
    ) -> Result<(), MigrateError> {
        for (name, value, line) in entries(file, text)? {
            let id = findings.add(
                file,
                &name,
                Some(value.clone()).filter(|value| !value.is_empty()),
                Some(line),
            );
            if !started {
                const PLAIN: &str =
                    "the script starts flux_train.py without accelerate, which is what reads it";
                findings.say(id, Verdict::NoEffect, PLAIN, "");
                continue;
            }
            let key = name.split('.').next().unwrap_or(&name);
            match ACCELERATE_CONFIG.iter().find(|flag| flag.name == key) {
                Some(flag) => self.one(flag, &value, id, findings, false),
                None => foreign_flag(id, &name, ACCELERATE_CONFIG, file, findings),
            }
        }
        Ok(())
    }

    fn one(&mut self, flag: &Flag, value: &str, id: Id, findings: &mut Findings, counts: bool) {
        const SAID: &str = "the command line of accelerate says it, and counts before the file";
        let truth = ["true", "yes", "1"].contains(&value.to_ascii_lowercase().as_str());
        match flag.name {
            "num_processes" => match value.parse::<u32>() {
                Ok(_) if !counts && self.processes.is_some() => {
                    findings.say(id, Verdict::NoEffect, SAID, "")
                }
                Ok(count) => {
                    if count <= 1 {
                        findings.say(id, Verdict::AlwaysSo, "there is one process", "");
                    }
                    self.processes = Some((count, id));
                }
                Err(_) => findings.say(id, Verdict::NotSupported, "it is no number", "correct it"),
            },
            "gpu_ids" if !counts && self.devices.is_some() => {
                findings.say(id, Verdict::NoEffect, SAID, "")
            }
            "gpu_ids" if value == "all" || value.is_empty() => {
                findings.say(id, Verdict::AlwaysSo, "the first device is taken", "");
            }
            "gpu_ids" => self.devices = Some((value.to_owned(), id)),
            "use_cpu" | "cpu" if truth => self.on_cpu = Some(id),
            "use_cpu" | "cpu" => {
                findings.say(id, Verdict::AlwaysSo, "a device is taken where there is one", "")
            }
            "distributed_type" => match value {
                "DEEPSPEED" | "FSDP" | "MEGATRON_LM" => {
                    let because =
                        "fluxpipe trains on one device, and keeps in main memory what does not fit";
                    findings.say(
                        id,
                        Verdict::NotSupported,
                        because,
                        "say memory in [stages.finetune]",
                    );
                }
                "NO" => findings.say(id, Verdict::AlwaysSo, "there is one process", ""),
                _ => findings.say(
                    id,
                    Verdict::AlwaysSo,
                    "several processes become gradient_accumulation_steps",
                    "",
                ),
            },
            "config_file" => {
                self.config = Some(value.to_owned());
                let instead = "name it as --accelerate-config where it was not read";
                findings.say(id, Verdict::AlwaysSo, "its keys are listed by themselves", instead);
            }
            _ => {
                if let Some((verdict, because, instead)) = flag.fate.known(flag.name) {
                    findings.say(id, verdict, &because, &instead);
                }
            }
        }
    }

    /// What the environment of the training says about devices.
    pub(super) fn environment(&mut self, script: &str, command: &Command, findings: &mut Findings) {
        const NAME: &str = "CUDA_VISIBLE_DEVICES";
        if let Some(word) = command.environment.get(NAME) {
            let id = findings.add(script, NAME, Some(word.text.clone()), Some(word.line));
            match (&self.devices, word.text.is_empty() || word.text == "-1") {
                (_, true) => self.on_cpu = Some(id),
                // Devices are counted within those that can be seen.
                (Some((inner, _)), _) => {
                    let first: usize = first(inner).parse().unwrap_or(0);
                    let device = word.text.split(',').nth(first).unwrap_or(&word.text).to_owned();
                    self.devices = Some((device, id));
                }
                (None, _) => self.devices = Some((word.text.clone(), id)),
            }
        }
    }

    /// `device` in `[project]`.
    pub(super) fn device(&self, draft: &mut Draft, findings: &mut Findings) {
        if let Some(id) = self.on_cpu {
            draft.set("project.device", Line::of(quoted("cpu"), id));
            return;
        }
        let Some((devices, id)) = &self.devices else { return };
        if devices.contains(',') {
            findings.remark(*id, "one device is used, the first of these");
        }
        draft.set("project.device", Line::of(quoted(&format!("cuda:{}", first(devices))), *id));
    }
}

fn first(devices: &str) -> &str {
    devices.split(',').next().unwrap_or(devices).trim()
}

fn foreign_flag(id: Id, name: &str, known: &[Flag], from: &str, findings: &mut Findings) {
    let shards = ["deepspeed", "fsdp", "megatron", "zero"].iter().any(|word| name.contains(word));
    if shards {
        let because = "fluxpipe trains on one device, and keeps in main memory what does not fit";
        findings.say(id, Verdict::NotSupported, because, "say memory in [stages.finetune]");
        return;
    }
    let instead = match did_you_mean(name, known.iter().map(|flag| flag.name)) {
        Some(near) => format!("did you mean {near}?"),
        None => "it is left out".to_owned(),
    };
    findings.say(id, Verdict::Unknown, &format!("nothing is known of it in {from}"), &instead);
}

/// Name, value and line of every key: `key: value` lines of YAML, those further in as `key.inner`; or JSON.
fn entries(file: &str, text: &str) -> Result<Vec<(String, String, usize)>, MigrateError> {
    let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.trim_start().starts_with('{') {
        let root: serde_json::Map<String, Json> = serde_json::from_str(text).map_err(|error| {
            let line = Some(error.line());
            MigrateError::Configuration {
                file: file.to_owned(),
                line,
                reason: format!("it is not JSON: {error}"),
                help: HELP,
            }
        })?;
        return Ok(root.iter().map(|(name, value)| (name.clone(), plain(value), 1)).collect());
    }
    let mut entries = Vec::new();
    let mut outer = String::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let code = line.split_once(" #").map_or(line, |(code, _)| code).trim_end();
        let inner = code.trim_start();
        if inner.is_empty() || inner.starts_with('#') || inner == "---" || inner == "..." {
            continue;
        }
        let further_in = inner.len() < code.len();
        if inner.starts_with("- ") && !outer.is_empty() {
            continue;
        }
        let entry = inner.split_once(':').filter(|(name, value)| {
            !name.trim().is_empty() && (value.is_empty() || value.starts_with([' ', '\t']))
        });
        let Some((name, value)) = entry else {
            return Err(MigrateError::Configuration {
                file: file.to_owned(),
                line: Some(index + 1),
                reason: "this is no `key: value`".to_owned(),
                help: HELP,
            });
        };
        let name = name.trim().trim_matches(['"', '\'']);
        let value = value.trim().trim_matches(['"', '\'']);
        let value = if ["null", "~", "{}"].contains(&value) { "" } else { value };
        let name = match further_in && !outer.is_empty() {
            true => format!("{outer}.{name}"),
            false => {
                outer = name.to_owned();
                name.to_owned()
            }
        };
        entries.push((name, value.to_owned(), index + 1));
    }
    Ok(entries)
}

const HELP: &str = "name the file that `accelerate config` wrote (default_config.yaml)";

#[cfg(test)]
mod tests {
    use super::{super::flags::Fate, *};

    #[test]
    fn every_key_has_its_words() {
        for flag in ACCELERATE_LAUNCH.iter().chain(ACCELERATE_CONFIG) {
            let worked_out = matches!(flag.fate, Fate::Rule(..));
            assert!(worked_out || flag.fate.known(flag.name).is_some(), "{}", flag.name);
        }
    }

    #[test]
    fn yaml_of_keys_and_values() {
        let text = "# x\ncompute_environment: LOCAL_MACHINE\ngpu_ids: '0,1'  # two\nfsdp_config: {}\n\
                    dynamo_config:\n  dynamo_backend: INDUCTOR\n  list:\n  - a\nnum_processes: 2\n";
        let entries = entries("a.yaml", text).unwrap();
        let names: Vec<_> =
            entries.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
        assert_eq!(
            names,
            [
                "compute_environment=LOCAL_MACHINE",
                "gpu_ids=0,1",
                "fsdp_config=",
                "dynamo_config=",
                "dynamo_config.dynamo_backend=INDUCTOR",
                "dynamo_config.list=",
                "num_processes=2"
            ]
        );
        assert!(matches!(
            super::entries("a.yaml", "a: 1\nnonsense"),
            Err(MigrateError::Configuration { line: Some(2), .. })
        ));
        assert!(super::entries("a.json", "{\"num_processes\": 2}").unwrap()[0].1 == "2");
    }
}
