//! `fluxpipe cache`: what takes room, what is damaged, what nothing needs. Whatever goes, the next run ends with
//! the outputs of before.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use fluxpipe::pipeline::Store;
use serde_json::Value;

use crate::{
    Project,
    damage::{flip, object, objects},
    project::MANIFEST,
};

/// `fluxpipe cache WHAT project.toml --json ARGS`, which ends with `code`.
#[track_caller]
fn cache(project: &Project, what: &str, args: &[&str], code: i32) -> Value {
    let args = [&["cache", what, "project.toml", "--json"], args].concat();
    serde_json::from_str(&project.call(&args).exits(code).stdout).unwrap()
}

/// A project that was run, then with another end of its captions, then as before: half of its outputs are of
/// no use now.
fn edited() -> Project {
    let project = Project::finished();
    project.replace("small demo", "another word");
    project.run().exits(0);
    project.replace("another word", "small demo");
    project.run().exits(0);
    project
}

fn list<'a>(found: &'a Value, name: &str) -> &'a Vec<Value> {
    found[name].as_array().unwrap()
}

#[test]
fn verify_finds_each_flipped_bit_and_repair_leaves_the_rest_to_the_next_run() {
    let project = Project::finished();
    let expected = project.outputs();
    let whole = cache(&project, "verify", &[], 0);
    assert!(whole["objects"].as_u64() >= Some(17) && list(&whole, "damaged").is_empty(), "{whole}");
    for (number, (sort, digest)) in objects(&project).into_iter().enumerate() {
        flip(&object(&project, &digest));
        let found = cache(&project, "verify", &[], 1);
        let damaged = list(&found, "damaged");
        assert_eq!(damaged.len(), number + 1, "{sort}: {found}");
        let is = |one: &&Value| one["path"].as_str().unwrap().ends_with(&digest[2..]);
        let one = damaged.iter().find(is).unwrap();
        let stage = sort.split('/').next().unwrap();
        assert_eq!(one["stage"], stage, "{sort}");
        let item = one["item"].as_str().unwrap();
        let loss = format!("{stage} makes {item} again after --repair, or when a run reads it");
        assert_eq!(one["loss"], loss.as_str(), "{sort}");
    }
    let count = objects(&project).len();
    let text = project.call(&["cache", "verify", "project.toml"]).exits(1);
    assert!(text.stdout.contains(&format!("{count} damaged files:")), "{}", text.stdout);
    let repaired = cache(&project, "verify", &["--repair"], 0);
    assert_eq!(list(&repaired, "damaged").len(), count);
    let moved = list(&repaired, "damaged").iter().filter(|one| !one["moved"].is_null()).count();
    assert_eq!(moved, count);
    // The records stay, and name what is not there now.
    assert_eq!(list(&cache(&project, "verify", &[], 1), "missing").len(), count);
    let run = project.run().exits(0);
    assert_eq!(run.made().len(), 4, "{}", run.counts());
    assert_eq!(project.outputs(), expected);
    assert!(list(&cache(&project, "verify", &[], 0), "missing").is_empty());
    project.is_idle();
}

#[test]
fn verify_reads_logs_recipes_heads_and_states_too() {
    let project = Project::finished();
    let expected = project.outputs();
    let store = project.path("out/store/v1");
    let mut sorts = BTreeSet::new();
    let files = walkdir::WalkDir::new(&store).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    for path in files.collect::<Vec<_>>() {
        let name = path.strip_prefix(&store).unwrap().display().to_string();
        let sort = name.split('/').next().unwrap().to_owned();
        let unread = ["objects", "runs", "locks"].contains(&sort.as_str());
        // A run may have replaced it.
        if unread || fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            continue;
        }
        let kept = fs::read(&path).unwrap();
        flip(&path);
        let found = cache(&project, "verify", &["--repair"], 0);
        // A bit of a head's name or of a recipe's origin may differ and mean nothing.
        if list(&found, "damaged").is_empty() && ["heads", "recipes"].contains(&sort.as_str()) {
            fs::remove_file(&path).unwrap();
            fs::write(&path, kept).unwrap();
            continue;
        }
        assert_eq!(list(&found, "damaged").len(), 1, "{name}: {found}");
        sorts.insert(sort);
        assert!(list(&cache(&project, "verify", &[], 0), "damaged").is_empty(), "{name}");
        project.run().exits(0);
        assert_eq!(project.outputs(), expected, "{name}");
    }
    let wanted = ["facts", "files.log", "ledger", "records", "recipes", "states"];
    assert!(wanted.iter().all(|sort| sorts.contains(*sort)), "{sorts:?}");
    project.is_idle();
}

#[test]
fn du_counts_every_byte_once() {
    let project = edited();
    let used = cache(&project, "du", &[], 0);
    let mut rows: Vec<&Value> = list(&used, "outputs").iter().collect();
    for name in ["unnamed", "states", "scratch", "derived", "damaged", "records"] {
        rows.push(&used[name]);
    }
    let sum: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, used["bytes"]);
    let files = walkdir::WalkDir::new(project.path("out/store/v1")).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    assert_eq!(files.map(|file| file.metadata().unwrap().len()).sum::<u64>(), used["bytes"]);
    let row = |stage: Value, kind: &str, sort: &str| {
        let is =
            |row: &&&Value| row["stage"] == stage && row["kind"] == kind && row["sort"] == sort;
        rows.iter().find(is).map(|row| [&row["count"], &row["needed"]].map(|n| n.as_u64().unwrap()))
    };
    assert_eq!(row("cache".into(), "cache", "latent"), Some([5, 5]));
    assert_eq!(row("cache".into(), "cache", "text"), Some([5, 5]));
    assert_eq!(row(Value::Null, "cache", "text"), Some([5, 0]));
    assert_eq!(row(Value::Null, "finetune", "model"), Some([1, 0]));
    let text = project.call(&["cache", "du", "project.toml"]).exits(0).stdout;
    assert!(text.contains("cache, latent") && text.contains("of no stage now"), "{text}");
}

#[test]
fn gc_removes_what_the_manifest_does_not_need_and_nothing_else() {
    let project = edited();
    let expected = project.outputs();
    let before = cache(&project, "du", &[], 0);
    let told = cache(&project, "gc", &["--dry-run"], 0);
    assert_eq!(
        cache(&project, "du", &[], 0)["bytes"],
        before["bytes"],
        "a dry run removes nothing"
    );
    let gone = cache(&project, "gc", &[], 0);
    assert_eq!(gone["removed"], told["removed"]);
    let items =
        |what: &str| list(&gone, "removed").iter().filter(|one| one["what"] == what).count();
    assert_eq!((items("item"), items("object"), items("state")), (11, 0, 0), "{gone}");
    let after = cache(&project, "du", &[], 0);
    let outputs =
        |used: &Value| list(used, "outputs").iter().filter(|row| row["stage"].is_null()).count();
    assert_eq!((outputs(&before), outputs(&after)), (3, 0));
    assert_eq!(after["needed_bytes"], before["needed_bytes"]);
    cache(&project, "verify", &[], 0);
    assert_eq!(project.outputs(), expected);
    project.is_idle();
    assert!(list(&cache(&project, "gc", &[], 0), "removed").is_empty());
    // What went can be made again.
    project.replace("small demo", "another word");
    let run = project.run().exits(0);
    assert_eq!(run.made().len(), 11, "{}", run.counts());
}

#[test]
fn gc_keeps_what_another_manifest_needs_and_states_that_are_gone_on_from() {
    let project = edited();
    let other = project.read("project.toml").replace("small demo", "another word");
    project.file("other.toml", &other);
    assert!(
        list(&cache(&project, "gc", &["--also", "other.toml", "--states"], 0), "removed")
            .is_empty()
    );
    project.file("elsewhere.toml", other.replace("\"out\"", "\"elsewhere\""));
    let refused =
        project.call(&["cache", "gc", "project.toml", "--also", "elsewhere.toml"]).exits(2);
    assert!(refused.stderr.contains("fluxpipe::cli::other_store"), "{}", refused.stderr);
    let gone = cache(&project, "gc", &["--states"], 0);
    let states = list(&gone, "removed").iter().filter(|one| one["what"] == "state").count();
    assert_eq!(states, 1, "{gone}");
    // The other one is there: a longer training goes on from it.
    project.manifest(&MANIFEST.replace("max_train_epochs = 2", "max_train_epochs = 3"));
    let run = project.run().exits(0);
    assert!(run.events().any(|event| event["event"] == "resumed"), "{}", run.stdout);
}

#[test]
fn gc_begins_with_what_is_cheap_to_make_and_ends_at_its_limits() {
    let project = edited();
    let all = cache(&project, "gc", &["--dry-run"], 0);
    let price =
        |one: &Value| one["seconds"].as_f64().unwrap() / one["bytes"].as_f64().unwrap().max(1.0);
    let cached = |one: &&Value| one["kind"] == "cache";
    let prices: Vec<_> = list(&all, "removed").iter().filter(cached).map(price).collect();
    assert!(prices.len() == 5 && prices.is_sorted(), "{all}");
    let (before, half) = (all["before"].as_u64().unwrap(), all["bytes"].as_u64().unwrap() / 2);
    let limit = (before - half).to_string();
    let some = cache(&project, "gc", &["--dry-run", "--max-size", &limit], 0);
    let (some, all) = (list(&some, "removed"), list(&all, "removed"));
    assert!(some.len() < all.len() && *some == all[..some.len()], "{some:?}");
    let nothing = |args: &[&str]| list(&cache(&project, "gc", args, 0), "removed").is_empty();
    assert!(nothing(&["--max-size", "1TB"]) && nothing(&["--max-age", "1h"]));
    assert!(nothing(&["--max-age", "1h", "--max-size", "1TB"]));
    assert!(!nothing(&["--max-age", "0s"]));
    project.is_idle();
}

#[test]
fn gc_and_runs_keep_out_of_each_others_way() {
    let project = edited();
    let store = Store::open(&project.path("out/store")).unwrap();
    let alone = store.take_alone().unwrap().unwrap();
    let refused = project.call(&["cache", "gc", "project.toml"]).exits(1);
    let text = &refused.stderr;
    assert!(
        text.contains("store_in_use") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    // Readers wait for nobody.
    cache(&project, "verify", &[], 0);
    cache(&project, "gc", &["--dry-run"], 0);
    project.plan();
    let args = ["run", "project.toml", "--json"];
    let waiting = thread::scope(|scope| {
        let run = scope.spawn(|| project.call(&args));
        thread::sleep(Duration::from_millis(1500));
        assert!(!run.is_finished());
        drop(alone);
        run.join().unwrap().exits(0)
    });
    assert!(waiting.events().any(|event| event["event"] == "waiting"), "{}", waiting.stdout);
    cache(&project, "gc", &[], 0);
}

/// Whatever call that changes the disk is the last one, nothing that is needed is lost, and the next gc ends it.
#[test]
fn a_killed_gc_loses_nothing() {
    let args = ["cache", "gc", "project.toml", "--states"];
    let project = edited();
    let trace = project.path("trace");
    let traced = project.command(&args).env("FLUXPIPE_FAULT_TRACE", &trace).output().unwrap();
    project.done(traced).exits(0);
    let trace = fs::read_to_string(trace).unwrap();
    let reads = ["Read", "Map", "List"];
    let changes = trace
        .lines()
        .enumerate()
        .filter(|(_, line)| !reads.iter().any(|read| line.starts_with(read)));
    let changes: Vec<_> = changes.map(|(number, _)| number + 1).collect();
    assert!(changes.len() > 20, "{trace}");
    let mut ended = 0;
    for number in changes.iter().step_by(changes.len().div_ceil(12)) {
        let project = edited();
        let expected = project.outputs();
        let fault = format!("abort@{number}");
        let killed = project.command(&args).env("FLUXPIPE_FAULT", fault).output().unwrap();
        // One more or one less call is made where records lie in another order.
        ended += usize::from(project.done(killed).code.is_none());
        let found = cache(&project, "verify", &[], 0);
        assert!(list(&found, "damaged").is_empty(), "{number}: {found}");
        cache(&project, "gc", &["--states"], 0);
        let left = cache(&project, "gc", &["--states"], 0);
        assert!(list(&left, "removed").is_empty(), "{number}: {left}");
        assert!(list(&cache(&project, "verify", &[], 0), "unnamed").is_empty(), "{number}");
        assert_eq!(project.outputs(), expected, "{number}");
        project.is_idle();
    }
    assert!(ended >= 8, "{ended} were killed");
}
