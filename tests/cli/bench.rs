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
    assert!(sizes[0] == sizes[1] && sizes[2] < sizes[0] && sizes[0] < sizes[3], "{sizes:?}");
    let left = std::fs::read_dir(project.path("room")).unwrap().count();
    assert_eq!(left, 1, "only what was there before");
    let nowhere = project.run(&["bench", "cache", "--shape", "tiny", "--folder", "nowhere"]);
    let nowhere = nowhere.exits(1);
    assert!(nowhere.stderr.contains("nowhere"), "{}", nowhere.stderr);
    project.run(&["bench", "cache", "--texts", "0"]).exits(2);
}
