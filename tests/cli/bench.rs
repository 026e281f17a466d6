//! What `bench` prints and leaves behind.

use crate::Project;

#[test]
fn a_small_network_is_measured_in_every_number_format_and_leaves_nothing_behind() {
    let project = Project::new();
    project.file("room/note.txt", "there before");
    let mut sizes = Vec::new();
    for dtype in ["fp16", "bf16", "fp8", "f32"] {
        let args = ["bench", "cache", "--shape", "tiny", "--dtype", dtype, "--folder", "room"];
        let run = project.run(&[&args[..], &["--texts", "3", "--tokens", "20"]].concat()).exits(0);
        assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
        let line = run.json();
        assert_eq!((&line["texts"], &line["tokens"]), (&3.into(), &20.into()));
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["gflop_per_second"].as_f64().unwrap() > 0.0, "{line}");
        sizes.push(line["file_bytes"].as_u64().unwrap());
    }
    let [half, brain, eight, full] = sizes[..] else { panic!("{sizes:?}") };
    // The names of the types in the header are not equally long.
    assert!(
        half.abs_diff(brain) < 1000 && 3 * eight < 2 * half && 3 * half < 2 * full,
        "{sizes:?}"
    );
    let left = std::fs::read_dir(project.path("room")).unwrap().count();
    assert_eq!(left, 1, "only what was there before");
    let nowhere = project.run(&["bench", "cache", "--shape", "tiny", "--folder", "nowhere"]);
    let nowhere = nowhere.exits(1);
    assert!(nowhere.stderr.contains("nowhere"), "{}", nowhere.stderr);
    project.run(&["bench", "cache", "--texts", "0"]).exits(2);
}

/// T5 base has 110 million weights, 0.44 GB in f32, of which a layer is 0.03 GB and the table of
/// embeddings 0.1 GB. Neither all layers nor the table are ever held.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_that_of_a_layer_and_not_of_the_network() {
    let project = Project::new();
    let args = ["bench", "cache", "--shape", "t5-base", "--texts", "2", "--tokens", "24"];
    let line = project.run(&[&args[..], &["--folder", "."]].concat()).exits(0).json();
    assert!(line["file_bytes"].as_u64().unwrap() > 200_000_000, "{line}");
    let own = line["peak_own_memory_bytes"].as_u64().unwrap();
    assert!((20_000_000..120_000_000).contains(&own), "{line}");
}

/// 12 blocks over 1088 tokens keep 170 MB of values; their weights are 75 MB. A process of its own has a peak
/// of its own.
#[test]
#[cfg(target_os = "linux")]
fn a_step_takes_less_where_values_are_recomputed_and_about_what_was_counted() {
    let project = Project::new();
    let of = |swapped: &str, recomputed: &str| {
        let shape = ["--shape", "tiny", "--hidden", "256", "--depth", "4", "--depth-single", "8"];
        let size =
            ["--resolution", "512", "--text-tokens", "64", "--dtype", "f32", "--device", "cpu"];
        let plan = ["--blocks-to-swap", swapped, "--gradient-checkpointing", recomputed];
        let steps = ["--steps", "1", "--warmup", "1", "--folder", "."];
        let args = [&["bench", "finetune"][..], &shape, &size, &plan, &steps].concat();
        let line = project.run(&args).exits(0).json();
        let own = line["peak_own_memory_bytes"].as_u64().unwrap();
        let counted = line["planned_device_bytes"].as_u64().unwrap();
        // A tenth for what is no array: threads, the program's own tables.
        assert!(own <= counted + counted / 10 && counted <= 2 * own, "{line}");
        (own, line["loss_last"].as_f64().unwrap())
    };
    let (kept, recomputed, swapped) = (of("0", "false"), of("0", "true"), of("12", "true"));
    assert!(3 * recomputed.0 < 2 * kept.0, "{recomputed:?} of {kept:?}");
    assert!(swapped.0 < recomputed.0, "{swapped:?} of {recomputed:?}");
    assert_eq!([kept.1; 2], [recomputed.1, swapped.1], "no number depends on the plan");
}

#[test]
fn every_measurement_is_one_line_that_says_where_it_ran() {
    let project = Project::new();
    let sizes = ["--tokens", "9", "--samples", "1"];
    let of = |args: &[&str]| {
        let args = [&["bench"][..], args, &["--device", "cpu"]].concat();
        let run = project.run(&args).exits(0);
        assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
        let line = run.json();
        assert_eq!(line["bench"], args[1], "{line}");
        assert_eq!(line["device"], "cpu", "{line}");
        assert!(!line["device_name"].as_str().unwrap().is_empty(), "{line}");
        line
    };
    let positive = |line: &serde_json::Value, key: &str| {
        assert!(line[key].as_f64().is_some_and(|number| number > 0.0), "{key}: {line}");
    };

    let gemm = of(&[&["gemm", "--hidden", "8", "--square", "16"][..], &sizes].concat());
    positive(&gemm, "square_tflop_per_second");
    let rows = gemm["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6 * 3, "six layers in three forms");
    rows.iter().for_each(|row| positive(row, "tflop_per_second"));
    // The widest layer: q, k, v and the MLP of a single block.
    let enter = rows.iter().find(|row| row["shape"] == "single_enter").unwrap();
    assert_eq!((&enter["m"], &enter["k"], &enter["n"]), (&9.into(), &8.into(), &56.into()));
    assert_eq!(gemm["dtype"], "f32", "what the CPU computes in");
    assert_eq!(
        of(&["gemm", "--hidden", "8", "--square", "16", "--dtype", "bf16"])["dtype"],
        "bf16"
    );

    let attention = ["attention", "--heads", "2", "--head-dim", "8"];
    let attention = of(&[&attention[..], &sizes].concat());
    positive(&attention, "forward_seconds");
    positive(&attention, "train_seconds");

    let label = ["label", "--shape", "tiny", "--num-beams", "2", "--batch", "2"];
    let label = of(&[&label[..], &sizes].concat());
    positive(&label, "looking_seconds");
    let (all, look) = (label["seconds"].as_f64(), label["looking_seconds"].as_f64());
    assert!(all > look, "{label}");

    let clip = of(&["cache", "clip", "--shape", "tiny", "--texts", "3"]);
    positive(&clip, "seconds_per_text");
    for direction in [&["--bands", "1"][..], &["--decode"]] {
        let args = ["cache", "autoencoder", "--shape", "tiny", "--resolution", "32"];
        let line = of(&[&args[..], direction].concat());
        positive(&line, "pictures_per_second");
        assert_eq!(line["direction"], if direction.len() == 1 { "decode" } else { "encode" });
    }
    let layers = of(&["cache", "--shape", "tiny", "--layers", "1", "--texts", "1"]);
    assert_eq!(layers["layers"], 1);
}

#[test]
fn a_tagger_of_random_weights_runs_as_the_published_ones_and_one_s_own_runs_too() {
    let project = Project::new();
    let args = ["bench", "tag", "--shape", "tiny", "--batch", "2", "--device", "cpu"];
    let made = project.run(&[&args[..], &["--keep", "vit.onnx"]].concat()).exits(0).json();
    assert_eq!(made["network"], "tiny");
    assert!(made["gflop_per_second"].as_f64().unwrap() > 0.0, "{made}");
    let read = project.run(&["bench", "tag", "--graph", "vit.onnx", "--device", "cpu"]);
    let read = read.exits(0).json();
    assert_eq!(read["steps"], made["steps"], "the same graph");
    assert_eq!(read["gflop_per_second"], serde_json::Value::Null, "nobody knows its sizes");
    let seen = project.run(&["inspect", "vit.onnx"]).exits(0).stdout;
    assert!(seen.contains("LayerNormalization") && seen.contains("Erf"), "{seen}");

    project.file("text.onnx", "no graph");
    let args = ["bench", "tag", "--graph", "text.onnx", "--device", "cpu"];
    assert!(project.run(&args).exits(3).stderr.contains("text.onnx"));
}

#[test]
fn a_device_that_is_not_there_is_an_outcome_and_no_crash() {
    let project = Project::new();
    for part in ["gemm", "attention", "label", "tag", "cache"] {
        let run = project.run(&["bench", part, "--device", "cuda:77"]).exits(3);
        assert!(run.stderr.contains("fluxpipe::device::absent"), "{part}: {}", run.stderr);
    }
    let wrong = project.run(&["bench", "cache", "autoencoder", "--resolution", "100"]).exits(2);
    assert!(wrong.stderr.contains("multiple of 8"), "{}", wrong.stderr);
}
