//! What is wrong outside the program, and how it is told: exit code, place, help, never a panic.

use crate::{Project, Run, project::TIME};

/// Runs, and returns the exit code with all that was said of the error.
fn told(project: &Project) -> String {
    let Run { code, stderr, .. } = project.call(&["run", "project.toml"]);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains("help: "), "no help line in {stderr}");
    // What stages did before is not the matter here.
    let told = stderr.lines().skip_while(|line| !line.starts_with("fluxpipe::"));
    let code = code.map_or("a signal".to_owned(), |code| code.to_string());
    format!("exit {code}\n{}\n", told.collect::<Vec<_>>().join("\n"))
}

/// A project whose `[models]` name a file of its own.
fn with_model(name: &str, file: &str, bytes: &[u8]) -> Project {
    let project = Project::fresh();
    let manifest = project.read("project.toml");
    let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
    project.replace(line, &format!("{name} = \"{file}\""));
    project.file(file, bytes);
    project
}

#[test]
fn a_weight_file_that_is_not_there() {
    let project = with_model("blip", "models/blip.safetensors", b"");
    project.rename("models/blip.safetensors", "models/blip-large.safetensors");
    insta::assert_snapshot!(told(&project));
}

#[test]
fn weights_of_another_network() {
    let clip = Project::network("clip_l.safetensors");
    insta::assert_snapshot!("other_blip", told(&with_model("blip", "blip.safetensors", &clip)));
    let project = with_model("flux", "flux.safetensors", &Project::network("ae.safetensors"));
    insta::assert_snapshot!("other_flux", told(&project));
}

#[test]
fn weights_cut_short() {
    let whole = Project::network("ae.safetensors");
    for (name, length) in [("cut_in_data", whole.len() / 2), ("cut_in_header", 1000), ("empty", 0)]
    {
        let project = with_model("ae", "ae.safetensors", &whole[..length]);
        insta::assert_snapshot!(name, told(&project));
    }
}

#[test]
fn a_pickle_that_wants_to_run_a_program() {
    // `os.system("touch ran")`, as `pickle.dumps` writes an object with such a `__reduce__`.
    let pickle = b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00touch ran\x85R.";
    let project = with_model("blip", "blip.pth", pickle);
    insta::assert_snapshot!("foreign_call", told(&project));
    assert!(!project.path("ran").exists());
    // An opcode of extensions: `EXT1`.
    let project = with_model("blip", "blip.pth", b"\x80\x02\x82\x01.");
    insta::assert_snapshot!("foreign_opcode", told(&project));
}

#[test]
fn a_folder_without_pictures() {
    let project = Project::fresh();
    for picture in crate::project::PICTURES {
        project.rename(&format!("pictures/{picture}"), picture);
    }
    insta::assert_snapshot!("empty_folder", told(&project));
    std::fs::remove_dir(project.path("pictures")).unwrap();
    insta::assert_snapshot!("no_folder", told(&project));
}

#[test]
fn pictures_that_are_none() {
    let project = Project::with_manifest(crate::project::MANIFEST);
    project.file("pictures/notes.png", "not a picture");
    // One bad picture is left out; where no other is left there is nothing to train on.
    for name in ["all_bad", "all_bad_again"] {
        let run = project.call(&["run", "project.toml"]).exits(1);
        insta::with_settings!({ filters => vec![TIME] }, {
            insta::assert_snapshot!(name, run.seen());
        });
    }
}

/// What the transformer cannot obey is told at its line, before the first stage runs.
#[test]
fn settings_that_the_transformer_cannot_obey() {
    let project = Project::fresh();
    let sound = project.read("project.toml");
    for (key, value) in [
        ("blocks_to_swap", "99"),
        ("train_blocks", "['nothing.*']"),
        ("max_timestep", "1"),
        ("memory", "0.0001"),
    ] {
        project.file("project.toml", format!("{sound}{key} = {value}\n"));
        for command in ["check", "plan", "run"] {
            let run = project.call(&[command, "project.toml"]).exits(2);
            assert!(run.stderr.contains(&format!("`{key}`")), "{command}: {}", run.stderr);
            assert!(run.stderr.contains("project.toml:"), "{command}: {}", run.stderr);
            assert!(!run.stdout.contains("label"), "{command}: {}", run.stdout);
        }
    }
}

#[test]
fn a_cycle_of_needs() {
    let project = Project::fresh();
    project.replace("[stages.merge]", "[stages.merge]\nneeds = [\"finetune\"]");
    insta::assert_snapshot!(told(&project));
}

#[test]
fn five_mistakes_are_five_diagnostics() {
    let project = Project::fresh();
    project.replace("num_beams = 2", "num_beems = 2");
    project.replace("resolution = 64", "resolution = \"64\"");
    project.replace("[stages.tag]\nthresh = 0.5", "[stages.tag]\nthresh = 1.5");
    project.replace("device = \"cpu\"", "device = \"gpu\"");
    project.replace("[stages.cache]", "[stages.cache]\nneeds = [\"merg\"]");
    let told = told(&project);
    assert!(told.ends_with("\n5 errors in project.toml\n"), "{told}");
    insta::assert_snapshot!(told);
}
