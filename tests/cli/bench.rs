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
