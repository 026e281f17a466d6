//! What is known before a run: what it will write, take and find wanting; and what is refused.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

use serde_json::Value;

use crate::{Project, Run, project::MANIFEST};

/// `fluxpipe plan --json`.
#[track_caller]
fn plan(project: &Project, args: &[&str]) -> Value {
    let args = [&["plan", "project.toml", "--json"], args].concat();
    serde_json::from_str(&project.call(&args).exits(0).stdout).unwrap()
}

fn cost<'a>(plan: &'a Value, stage: &str) -> &'a Value {
    let stages = plan["stages"].as_array().unwrap();
    &stages.iter().find(|found| found["name"] == stage).unwrap()["cost"]
}

/// Bytes of the objects and states of the store; a file with two names is there once.
fn stored(project: &Project) -> u64 {
    let mut seen = BTreeSet::new();
    let folders = ["objects", "states"].map(|name| project.path(format!("out/store/v1/{name}")));
    let files = folders.iter().flat_map(|folder| walkdir::WalkDir::new(folder).into_iter());
    let files = files.flatten().filter(|file| file.file_type().is_file());
    let files = files.map(|file| fs::metadata(file.path()).unwrap());
    files.filter(|file| seen.insert(file.ino())).map(|file| file.len()).sum()
}

fn run_until(project: &Project, stage: &str) -> Run {
    project.call(&["run", "project.toml", "--json", "--until", stage]).exits(0)
}

/// Runs the program with so many bytes free on the disk.
fn with_free(project: &Project, args: &[&str], bytes: u64) -> Run {
    let mut command = project.command(args);
    command.env("FLUXPIPE_TEST_DISK_FREE", bytes.to_string());
    project.done(command.output().unwrap())
}

fn begun(run: &Run) -> Vec<String> {
    let events = run.events().filter(|event| event["event"] == "stage_started");
    events.map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
}

/// What is told of a cache whose texts are known is what it then writes, byte for byte.
#[test]
fn bytes_of_a_cache_are_told_exactly() {
    for changed in [
        "",
        "attend_padding = false",
        "latent = \"moments\"\nlatent_dtype = \"f32\"",
        "text_dtype = \"f32\"",
    ] {
        let project = Project::fresh();
        let length = "t5xxl_max_token_length = 32";
        project.replace(length, &format!("{length}\n{changed}"));
        let first = plan(&project, &["--until", "cache"]);
        assert_eq!(cost(&first, "cache")["at_most"], true, "{changed}");
        run_until(&project, "merge");
        let told = plan(&project, &["--until", "cache"]);
        let told = cost(&told, "cache");
        assert_eq!(told["at_most"], false, "{changed}");
        let before = stored(&project);
        run_until(&project, "cache");
        let written = stored(&project) - before;
        assert_eq!(told["bytes"].as_u64().unwrap(), written, "{changed}");
        let most = cost(&first, "cache")["bytes"].as_u64().unwrap();
        assert!(most >= written, "{changed}: at most {most}, written {written}");
    }
}

/// Memory of a training is counted from shapes, and a run then takes that, within a tenth: here on the CPU with
/// models of 85 million parameters, on a card in `tests/gpu`.
#[test]
fn memory_of_a_training_is_what_is_then_measured() {
    let project = Project::with_manifest(MANIFEST);
    for (dtype, kept) in [("bf16", "true"), ("f32", "false")] {
        let sizes = "--shape mid --hidden 768 --heads 6 --depth 2 --depth-single 4 --resolution 512 --text-tokens 256";
        let steps = "--device cpu --steps 1 --warmup 0 --blocks-to-swap 0";
        let args = format!(
            "bench finetune {sizes} {steps} --dtype {dtype} --gradient-checkpointing {kept}"
        );
        let mut command = project.command(&args.split(' ').collect::<Vec<_>>());
        // Each thread has buffers of its own.
        command.env("RAYON_NUM_THREADS", "2");
        let run = project.done(command.output().unwrap()).exits(0);
        let line: Value = serde_json::from_str(&run.stdout).unwrap();
        let [counted, measured] = ["planned_device_bytes", "peak_own_memory_bytes"]
            .map(|name| line[name].as_f64().unwrap());
        let share = counted / measured;
        assert!((0.9..=1.1).contains(&share), "{counted} for {measured}, {share:.3}");
    }
}

/// Checkpoints, optimizer and averages are counted with their headers; metrics are texts of numbers, of
/// which the length is about.
#[test]
fn bytes_of_a_training_are_told() {
    for changed in [
        "",
        "keep_state = false",
        "save_precision = \"f32\"\nema_decay = 0.9",
        "optimizer_type = \"adamw\"\nsave_every_n_steps = 3",
    ] {
        let project = Project::fresh();
        project.replace("seed = 42", &format!("seed = 42\n{changed}"));
        run_until(&project, "cache");
        let told = plan(&project, &[]);
        let told = cost(&told, "finetune");
        let before = stored(&project);
        project.run().exits(0);
        let written = stored(&project) - before;
        let (bytes, peak) = (told["bytes"].as_u64().unwrap(), told["peak_bytes"].as_u64().unwrap());
        let off = bytes.abs_diff(written) as f64 / written as f64;
        assert!(off < 0.02, "{changed}: told {bytes}, written {written}");
        assert!(peak >= bytes, "{changed}");
        assert!(told["host_memory"].as_u64().unwrap() > 1_000_000, "{changed}: {told}");
    }
}

#[test]
fn times_are_unknown_first_and_a_range_after_a_run() {
    let project = Project::fresh();
    let first = plan(&project, &[]);
    for stage in ["label", "tag.probabilities", "cache", "finetune"] {
        assert_eq!(cost(&first, stage)["time"], Value::Null, "{stage}");
    }
    let text = project.call(&["plan", "project.toml"]).exits(0).stdout;
    assert!(text.contains("time unknown until the first batch"), "{text}");
    project.run().exits(0);
    let again = ["--force", "label", "--force", "cache", "--force", "finetune"];
    let told = plan(&project, &again);
    for stage in ["label", "cache", "finetune"] {
        let time = &cost(&told, stage)["time"];
        let (low, high) = (time["low"].as_f64().unwrap(), time["high"].as_f64().unwrap());
        assert!(0.0 < low && low < high, "{stage}: {time}");
        assert_eq!(time["runs"], 1, "{stage}");
    }
    assert!(!told["device"].as_str().unwrap().is_empty());
    let run = project.call(&[&["run", "project.toml", "--json"][..], &again].concat()).exits(0);
    let finished = run.finished();
    let label = &finished["stages"][0];
    assert_eq!((&label["name"], &label["estimate"]["runs"]), (&"label".into(), &1.into()));
    assert_eq!(cost(&plan(&project, &again), "label")["time"]["runs"], 2);
    // Another number of beams takes another time, and a bucket that was not met yet as long as others.
    let beams = plan(&project, &["--set", "stages.label.num_beams=3"]);
    assert_eq!(cost(&beams, "label")["time"]["runs"], 2, "of the same network");
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_done() {
    let project = Project::fresh();
    for args in [&["plan", "project.toml"][..], &["run", "project.toml"]] {
        let refused = with_free(&project, args, 10_000).exits(3);
        assert!(refused.stderr.contains("fluxpipe::plan::disk"), "{}", refused.stderr);
        assert!(!project.path("words").exists());
    }
    let needed = plan(&project, &[])["total"]["peak_bytes"].as_u64().unwrap();
    with_free(&project, &["plan", "project.toml"], needed).exits(0);
    // A little less: of two checkpoints one need not stay, or the state not.
    let refused = with_free(&project, &["plan", "project.toml"], needed - 1).exits(3);
    insta::with_settings!({ filters => [(r"\d+(\.\d)? (B|KiB|MiB|GiB)", "[bytes]")] }, {
        insta::assert_snapshot!("no_room", refused.seen());
    });
}

#[test]
fn a_training_that_no_memory_holds_is_refused_at_its_line() {
    let project = Project::fresh();
    project.replace("seed = 42", "seed = 42\ntrain_batch_size = 100000");
    for args in [&["plan", "project.toml"][..], &["run", "project.toml"]] {
        let refused = project.call(args).exits(3);
        insta::with_settings!({ filters => [
            (r"\d+(\.\d)? (B|KiB|MiB|GiB|TiB)", "[bytes]"),
            (r"train_batch_size = \d+` fits", "train_batch_size = [number]` fits"),
        ] }, {
            insta::assert_snapshot!("no_memory", refused.seen());
        });
        assert!(!project.path("words").exists());
    }
}

#[test]
fn a_broken_picture_is_found_before_the_first_stage() {
    let project = Project::fresh();
    let mut cut = fs::read(project.path("pictures/rocket.jpg")).unwrap();
    cut.truncate(cut.len() / 2);
    project.file("pictures/rocket.jpg", cut);
    let first = project.call(&["run", "project.toml", "--json", "--until", "merge"]).exits(0);
    let events = first.events().map(|event| event["event"].as_str().unwrap().to_owned());
    let events = events.collect::<Vec<_>>();
    let place = |name: &str| events.iter().position(|event| event == name).unwrap();
    assert!(place("warning") < place("stage_started"), "{events:?}");
    let warning = first.events().find(|event| event["event"] == "warning").unwrap();
    assert_eq!(warning["code"], "fluxpipe::preflight::pictures");
    assert_eq!(warning["examples"], serde_json::json!(["rocket.jpg"]));

    let strict = Project::fresh();
    strict.replace("device = \"cpu\"", "device = \"cpu\"\non_bad_image = \"fail\"");
    strict.file("pictures/rocket.jpg", fs::read(project.path("pictures/rocket.jpg")).unwrap());
    let refused = strict.run();
    assert_ne!(refused.code, Some(0));
    assert_eq!(begun(&refused), [""; 0], "{}", refused.stderr);
    assert!(!strict.path("words").exists());
}

/// The file of the transformer, each of whose weights is no number.
fn broken_transformer(project: &Project) {
    let mut bytes = Project::network("flux1-dev.safetensors");
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].fill(0xff);
    project.file("flux.safetensors", bytes);
    project.replace("MODELS_FLUX", "flux.safetensors");
}

#[test]
fn a_training_that_cannot_step_is_found_before_the_first_stage() {
    let flux = "flux = \"MODELS/flux1-dev.safetensors\"";
    let project = Project::with_manifest(&MANIFEST.replace(flux, "flux = \"MODELS_FLUX\""));
    for picture in crate::project::PICTURES {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    let text = project.read("project.toml");
    let folder = crate::project::networks().display().to_string() + "_FLUX";
    project.file("project.toml", text.replace(&folder, "MODELS_FLUX"));
    broken_transformer(&project);
    let refused = project.run().exits(1);
    assert_eq!(begun(&refused), [""; 0], "{}", refused.stdout);
    let failed = refused.events().find(|event| event["event"] == "stage_failed").unwrap();
    assert_eq!(
        (&failed["stage"], &failed["code"]),
        (&"finetune".into(), &"fluxpipe::train::not_finite".into())
    );
    let states = project.path("out/store/v1/states");
    let left = fs::read_dir(states).map_or(0, Iterator::count);
    assert_eq!(left, 0, "what was tried is gone");
    // Whoever asks for it finds out late.
    let late = project.call(&["run", "project.toml", "--json", "--no-preflight"]).exits(1);
    assert_eq!(begun(&late).last().map(String::as_str), Some("finetune"));
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let tried = |run: &Run| run.events().any(|event| event["event"] == "preflight");
    let project = Project::fresh();
    assert!(tried(&run_until(&project, "cache")), "pictures");
    assert!(tried(&project.run().exits(0)), "the training step");
    project.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    assert!(!tried(&project.run().exits(0)), "the same step");
    assert!(!tried(&project.run().exits(0)), "nothing to do");
    project.replace("device = \"cpu\"", "device = \"cpu\"\npreflight = false");
    project.replace("seed = 42", "seed = 42\ntrain_batch_size = 2");
    assert!(!tried(&project.run().exits(0)), "switched off");
}

#[test]
fn another_manifest_is_planned_in_the_place_of_the_first() {
    let project = Project::finished();
    let other = project.read("project.toml");
    let other = other.replace("learning_rate = 1e-4", "learning_rate = 2e-4");
    project.file("elsewhere/other.toml", other.replace("\"out\"", "\"nowhere\""));
    let told = plan(&project, &["--manifest", "elsewhere/other.toml"]);
    let runs = |stage: &Value| stage["items"]["run"].as_u64().unwrap();
    let busy = told["stages"].as_array().unwrap().iter().filter(|stage| runs(stage) > 0);
    let busy = busy.map(|stage| stage["name"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(busy, ["finetune"]);
    assert_eq!(told["manifest"], "elsewhere/other.toml");
    assert!(!project.path("elsewhere/nowhere").exists() && !project.path("nowhere").exists());
    project.is_idle();
}
