//! `fluxpipe import sd-scripts`: scripts of `tests/sd-scripts` become manifests that are read back without a
//! mistake, and each flag is told of.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{Project, project::Ran};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sd-scripts");

/// A folder with all of the scripts.
fn scripts() -> Project {
    let project = Project::new();
    for entry in fs::read_dir(SCRIPTS).unwrap() {
        let entry = entry.unwrap();
        project.file(entry.file_name().to_str().unwrap(), fs::read(entry.path()).unwrap());
    }
    project
}

fn import(project: &Project, args: &[&str]) -> Ran {
    project.run(&[&["import", "sd-scripts"], args].concat())
}

/// What the manifest is without fault in, missing files apart.
#[track_caller]
fn is_read(project: &Project, manifest: &str) {
    let checked = project.run(&["check", manifest]);
    let codes = checked.stderr.lines().filter(|line| line.starts_with("fluxpipe::"));
    let codes: BTreeSet<_> = codes.collect();
    // This machine need not have the files nor the card.
    let missing = ["fluxpipe::manifest::missing_file", "fluxpipe::device::absent"];
    assert!(
        codes.iter().all(|code| missing.contains(code)),
        "{}\n{}",
        checked.stderr,
        project.read(manifest)
    );
}

/// What stands in the manifest for each flag that was taken over stands in it.
#[track_caller]
fn stands_in(findings: &Value, manifest: &str) {
    let text: toml::Table = manifest.parse().unwrap();
    let mut seen = 0;
    for finding in findings.as_array().unwrap() {
        for line in finding["manifest"].as_array().unwrap() {
            let Some((path, value)) = line.as_str().unwrap().split_once(" = ") else { continue };
            let value: toml::Table = format!("x = {value}").parse().unwrap();
            let mut at = Some(&toml::Value::Table(text.clone())).cloned();
            for name in path.split('.') {
                at = at.and_then(|found| match found {
                    toml::Value::Array(all) => match name.parse::<usize>() {
                        Ok(index) => all.get(index).cloned(),
                        Err(_) => all.iter().find_map(|one| one.get(name)).cloned(),
                    },
                    found => found.get(name).cloned(),
                });
            }
            // Of several datasets the line is that of one of them.
            let of_dataset = path.starts_with("dataset");
            assert!(of_dataset || at.as_ref() == value.get("x"), "{line}: {at:?}\n{manifest}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{findings}");
}

#[track_caller]
fn taken_over(name: &str, args: &[&str]) {
    let project = scripts();
    let manifest = format!("{name}-project.toml");
    let told = import(&project, &[args, &["-o", &manifest]].concat());
    assert_eq!(told.code, 0, "{}", told.stderr);
    let text = project.read(&manifest);
    insta::assert_snapshot!(format!("import-{name}-manifest"), text);
    insta::assert_snapshot!(format!("import-{name}"), told.stdout);
    is_read(&project, &manifest);
    let again = import(&project, &[args, &["-o", &manifest, "--force", "--json"]].concat());
    let json: Value = serde_json::from_str(&again.stdout).unwrap();
    stands_in(&json["findings"], &text);
    assert_eq!(project.read(&manifest), text);
}

#[test]
fn a_command_of_one_line() {
    taken_over("minimal", &["minimal.sh"]);
}

#[test]
fn a_script_with_broken_line_ends_and_a_configuration_in_json() {
    taken_over("readme", &["readme.sh", "data.json"]);
}

#[test]
fn several_datasets_and_processes() {
    let args = ["several.sh", "several.toml", "--accelerate-config", "accelerate.yaml"];
    taken_over("several", &args);
}

#[test]
fn flags_in_a_file() {
    taken_over("config", &["with_config.sh"]);
}

#[test]
fn line_ends_of_windows() {
    taken_over("windows", &["windows.sh", "subsets.toml"]);
}

#[test]
fn what_is_there_is_written_over_only_when_asked() {
    let project = scripts();
    project.file("project.toml", "mine");
    let refused = import(&project, &["minimal.sh"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert_eq!(project.read("project.toml"), "mine");
    assert_eq!(import(&project, &["minimal.sh", "--force"]).code, 0);
    assert!(project.read("project.toml").contains("[stages.finetune]"));
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_is_written() {
    let project = scripts();
    let cases: [(&str, Vec<u8>); 7] = [
        ("empty.sh", Vec::new()),
        ("binary.sh", (0..=255).cycle().take(4096).collect()),
        ("large.sh", vec![b'x'; 10 << 20]),
        ("quote.sh", b"accelerate launch flux_train.py --output_name \"open\n".to_vec()),
        ("other.sh", b"echo hello\nrm -rf /\n".to_vec()),
        ("lora.sh", b"accelerate launch flux_train_network.py --network_dim 4\n".to_vec()),
        ("bomb.sh", {
            let mut text = "A=xxxxxxxxxxxxxxxx\n".to_owned();
            (0..60).for_each(|_| text += "A=$A$A\n");
            (text + "python flux_train.py --output_name $A\n").into_bytes()
        }),
    ];
    for (name, bytes) in cases {
        project.file(name, bytes);
        let told = import(&project, &[name, "-o", "out.toml"]);
        assert!([1, 2, 3].contains(&told.code), "{name}: {} {}", told.code, told.stderr);
        insta::assert_snapshot!(format!("import-cannot-{name}"), told.stderr);
        assert!(!project.path("out.toml").exists(), "{name}");
    }
    let missing = import(&project, &["minimal.sh", "none.toml", "-o", "out.toml"]);
    assert!(missing.stderr.contains("none.toml"), "{}", missing.stderr);
    assert!(!Path::new(&project.path("out.toml")).exists());
}
