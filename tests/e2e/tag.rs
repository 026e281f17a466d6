//! Stage `tag`: every option on real pictures, by a small tagger with general tags, characters and
//! ratings; and that the rules about texts run no network.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{Project, Run, project::PICTURES};

/// Where the small tagger lies: a folder per graph, one list for all.
const TAGGERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wd_tagger");

const ALL: &str = "tag.probabilities 5 of 5, tag 5 of 5";
const TEXTS: &str = "tag.probabilities 0 of 5, tag 5 of 5";
const NONE: &str = "tag.probabilities 0 of 5, tag 0 of 5";

/// The pictures and a manifest with these lines below `[stages.tag]`.
fn project(options: &str) -> Project {
    let project = Project::with_manifest("");
    set(&project, options);
    for picture in PICTURES {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    let read = |file: &str| fs::read(Path::new(TAGGERS).join(file)).unwrap();
    project.file("tagger/model.onnx", read("vit/model.onnx"));
    project.file("tagger/selected_tags.csv", read("selected_tags.csv"));
    project
}

/// Writes the manifest anew.
fn set(project: &Project, options: &str) {
    project.manifest(&format!(
        "[project]\nname = \"small\"\noutput = \"out\"\ndevice = \"cpu\"\n\n[models]\ntagger = \"tagger\"\n\n\
         [[dataset]]\nimage_dir = \"pictures\"\nsidecars = \"words\"\nresolution = 512\n\n[stages.tag]\n{options}\n"
    ));
}

fn sidecar(picture: &str) -> String {
    format!("words/{}.txt", picture.split('.').next().unwrap())
}

/// The line of tags of each picture.
fn lines(project: &Project) -> Vec<String> {
    let line = |picture: &&str| project.read(&sidecar(picture)).trim_end_matches('\n').to_owned();
    PICTURES.iter().map(line).collect()
}

/// The tags of each picture under these options, on what is stored already.
fn tags(project: &Project, options: &str) -> Vec<Vec<String>> {
    set(project, options);
    let run = project.run().exits(0);
    assert!(run.counts().starts_with("tag.probabilities 0 of 5"), "{options}: {}", run.counts());
    let split = |line: &String| line.split(", ").map(str::to_owned).collect();
    lines(project).iter().map(split).collect()
}

/// Which rows of the list are of this category.
fn of_category(number: &str) -> BTreeSet<String> {
    let list = fs::read_to_string(Path::new(TAGGERS).join("selected_tags.csv")).unwrap();
    let rows = list.lines().map(|row| row.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[2] == number).map(|row| row[1].to_owned()).collect()
}

fn tagged(options: &str) -> Project {
    let project = project(options);
    project.does(ALL);
    project
}

#[test]
fn a_rule_about_texts_runs_no_network() {
    let project = tagged("thresh = 0.6");
    let before = lines(&project);
    set(&project, "thresh = 0.4");
    let why = project.call(&["why", "project.toml", "tag", "coffee"]).exits(0);
    assert!(why.stdout.contains("threshold"), "{}", why.stdout);
    let run = project.does(TEXTS);
    assert_eq!(run.made().len(), 5);
    assert_ne!(lines(&project), before);
    // Also where the graph is no longer there to be run: what is stored is enough.
    set(&project, "thresh = 0.6\nremove_underscore = true");
    project.does(TEXTS);
    set(&project, "thresh = 0.6");
    project.does(NONE);
    assert_eq!(lines(&project), before);
}

#[test]
fn equal_texts_end_the_cascade() {
    let project = Project::finished();
    project.replace("thresh = 0.5", "thresh = 0.5\ngeneral_threshold = 0.50001");
    let run = project.run().exits(0);
    assert_eq!(
        run.counts(),
        "label 0 of 5, tag.probabilities 0 of 5, tag 5 of 5, merge 0 of 5, cache 0 of 10, \
         finetune 0 of 1"
    );
    project.is_idle();
    project.replace("general_threshold = 0.50001", "general_threshold = 0.0");
    project.does(
        "label 0 of 5, tag.probabilities 0 of 5, tag 5 of 5, merge 5 of 5, cache 5 of 10, \
         finetune 1 of 1",
    );
}

#[test]
fn what_changes_no_text_runs_nothing() {
    let project = tagged("thresh = 0.5");
    let before = lines(&project);
    // Also not a threshold stated as it was or of a kind that the tagger does not know, nor a list
    // written in another way.
    for options in [
        "thresh = 0.5\nbatch_size = 3",
        "general_threshold = 0.5\ncharacter_threshold = 0.5\nthresh = 0.5\nundesired_tags = []",
        "thresh = 0.5\nmeta_threshold = 0.9",
        "thresh = 0.5\nalways_first_tags = \"\"\ntag_replacement = \"\"\nfrequency_tags = true",
    ] {
        set(&project, options);
        project.does(NONE);
        assert_eq!(lines(&project), before, "{options}");
    }
    let batch = tagged("thresh = 0.5\nbatch_size = 3");
    assert_eq!(lines(&batch), before);
}

#[test]
fn thresholds_are_those_of_their_kind() {
    let project = tagged("thresh = 0.5");
    let (general, characters) = (of_category("0"), of_category("4"));
    let both = tags(&project, "thresh = 0.5");
    let all = |kind: &BTreeSet<String>| {
        both.iter()
            .map(|tags| tags.iter().filter(|tag| kind.contains(*tag)).cloned().collect())
            .collect::<Vec<Vec<_>>>()
    };
    let some = |tags: &[Vec<String>]| tags.iter().all(|tags| !tags.is_empty());
    assert!(some(&all(&general)) && some(&all(&characters)), "{both:?}");
    assert_eq!(tags(&project, "thresh = 0.5\ncharacter_threshold = 1.1"), all(&general));
    assert_eq!(tags(&project, "thresh = 0.5\ngeneral_threshold = 1.1"), all(&characters));
    let options =
        "general_threshold = 0.5\ncharacter_threshold = 0.5\nthresh = 0.1\nmeta_threshold = 0.2";
    assert_eq!(tags(&project, options), both);
}

#[test]
fn the_most_probable_come_first_where_that_is_asked_for() {
    let project = tagged("thresh = 0.3");
    let listed = tags(&project, "thresh = 0.3\norder = \"csv\"");
    let ordered = tags(&project, "thresh = 0.3\norder = \"confidence\"");
    assert_ne!(ordered, listed);
    for thresh in ["0.5", "0.7", "0.9"] {
        let fewer = tags(&project, &format!("thresh = {thresh}\norder = \"confidence\""));
        for (fewer, all) in fewer.iter().zip(&ordered) {
            let fewer: Vec<_> = fewer.iter().filter(|tag| !tag.is_empty()).collect();
            assert!(all.iter().take(fewer.len()).eq(fewer), "thresh {thresh}");
        }
    }
    for (ordered, listed) in ordered.iter().zip(&listed) {
        let sorted = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(sorted(ordered), sorted(listed));
    }
}

#[test]
fn names_are_rewritten() {
    let project = tagged("thresh = 0.4");
    let plain = tags(&project, "thresh = 0.4");
    let spaced = |tag: &String| {
        if tag.chars().count() > 3 { tag.replace('_', " ") } else { tag.clone() }
    };
    let each = |change: &dyn Fn(&String) -> String| {
        let change = |tags: &Vec<String>| tags.iter().map(change).collect::<Vec<_>>();
        plain.iter().map(change).collect::<Vec<_>>()
    };
    assert_eq!(tags(&project, "thresh = 0.4\nremove_underscore = true"), each(&spaced));

    // The expanded name is split by the separator here, as every reader of the file does.
    let expanded = tags(&project, "thresh = 0.4\ncharacter_tag_expand = true");
    let expand = |tag: &String| match (tag.strip_suffix(')'), of_category("4").contains(tag)) {
        (Some(open), true) => {
            let (name, series) = open.rsplit_once('(').unwrap();
            vec![name.trim_end_matches('_').to_owned(), series.to_owned()]
        }
        _ => vec![tag.clone()],
    };
    let expected: Vec<Vec<_>> =
        plain.iter().map(|tags| tags.iter().flat_map(expand).collect()).collect();
    assert!(plain.concat().iter().any(|tag| tag.ends_with(')')), "nothing to expand: {plain:?}");
    assert_eq!(expanded, expected);

    let (first, second) = (&plain[0][0], &plain[0][1]);
    let replace = |tag: &String| match tag {
        tag if tag == first => "one, two".to_owned(),
        tag if tag == second => "three".to_owned(),
        tag => tag.clone(),
    };
    let joined = |tags: Vec<Vec<String>>| -> Vec<String> {
        tags.iter().map(|tags| tags.join(", ")).collect()
    };
    for notation in [
        format!("[[\"{first}\", \"one, two\"], [\"{second}\", \"three\"]]"),
        format!("'{first},one\\, two;{second},three'"),
    ] {
        let found = tags(&project, &format!("thresh = 0.4\ntag_replacement = {notation}"));
        assert_eq!(joined(found), joined(each(&replace)), "{notation}");
    }
}

#[test]
fn tags_are_left_out_and_moved() {
    let project = tagged("thresh = 0.4");
    let plain = tags(&project, "thresh = 0.4");
    let (first, last) = (plain[0][0].clone(), plain[0].last().unwrap().clone());

    let without: Vec<Vec<_>> = plain
        .iter()
        .map(|tags| tags.iter().filter(|tag| **tag != first && **tag != last).cloned().collect())
        .collect();
    for list in [format!("[\"{first}\", \"{last}\"]"), format!("\"{first},{last}\"")] {
        let found = tags(&project, &format!("thresh = 0.4\nundesired_tags = {list}"));
        assert_eq!(found, without, "{list}");
    }

    let moved = |tags: &Vec<String>| {
        let wanted = [&last, &first];
        let front = wanted.into_iter().filter(|tag| tags.contains(tag));
        let rest = tags.iter().filter(|tag| !wanted.contains(tag));
        front.chain(rest).cloned().collect::<Vec<_>>()
    };
    let expected: Vec<_> = plain.iter().map(moved).collect();
    let options = format!("thresh = 0.4\nalways_first_tags = [\"{last}\", \"{first}\"]");
    assert_eq!(tags(&project, &options), expected);

    let characters = of_category("4");
    let people = |tags: &Vec<String>| {
        let (people, rest): (Vec<_>, Vec<_>) =
            tags.iter().cloned().partition(|tag| characters.contains(tag));
        [people, rest].concat()
    };
    let expected: Vec<_> = plain.iter().map(people).collect();
    assert_ne!(expected, plain);
    assert_eq!(tags(&project, "thresh = 0.4\ncharacter_tags_first = true"), expected);
}

#[test]
fn a_rating_stands_at_one_end() {
    let project = tagged("thresh = 0.4");
    let plain = tags(&project, "thresh = 0.4");
    let ratings = of_category("9");
    let first = tags(&project, "thresh = 0.4\nuse_rating_tags = true");
    let last = tags(&project, "thresh = 0.4\nuse_rating_tags_as_last_tag = true");
    for ((plain, first), last) in plain.iter().zip(&first).zip(&last) {
        assert!(ratings.contains(&first[0]), "{first:?}");
        assert_eq!(&first[1..], plain);
        assert_eq!(last.last(), Some(&first[0]));
        assert_eq!(&last[..last.len() - 1], plain);
    }
}

#[test]
fn separator_and_ending_are_free() {
    let project = tagged("thresh = 0.4");
    let plain = lines(&project);
    set(&project, "thresh = 0.4\ncaption_separator = \" | \"\ncaption_extension = \".tags\"");
    project.does(TEXTS);
    for (picture, plain) in PICTURES.iter().zip(plain) {
        let found = project.read(&sidecar(picture).replace(".txt", ".tags"));
        assert_eq!(found, plain.replace(", ", " | ") + "\n");
    }
}

#[test]
fn frequencies_are_counted_in_a_table_and_in_json() {
    let project = tagged("thresh = 0.4");
    project.file("words/coffee.txt", "cup, table,cup\n");
    set(&project, "thresh = 0.4\nfrequency_tags = true");
    let run = project.run().exits(0);
    let event = run.events().find(|event| event["event"] == "frequencies").unwrap();
    assert_eq!(event["stage"], "tag");
    let mut counted = Vec::new();
    for count in event["counts"].as_array().unwrap() {
        let name = count["name"].as_str().unwrap().to_owned();
        counted.push((name, count["items"].as_u64().unwrap() as usize));
    }
    assert!(counted.is_sorted_by(|one, other| one.1 >= other.1), "{counted:?}");
    let texts = lines(&project);
    for (name, items) in &counted {
        let has = |text: &&String| text.split(',').any(|tag| tag.trim() == name);
        assert_eq!(texts.iter().filter(has).count(), *items, "{name}");
    }
    assert!(counted.contains(&("cup".to_owned(), 1)), "a human's tags count too");

    let told = project.call(&["run", "project.toml"]).exits(0).stdout;
    let table = told.split_once("Frequencies in tag:\n").unwrap().1;
    let rows: Vec<_> = counted.iter().map(|(name, items)| format!("  {items}  {name}\n")).collect();
    assert_eq!(table, rows.concat());
}

#[test]
fn tags_of_a_human_are_kept_and_cost_no_network() {
    let project = project("thresh = 0.4");
    project.file("words/coffee.txt", "cup,  table\n");
    project.does("tag.probabilities 4 of 4, tag 4 of 5");
    assert_eq!(project.read("words/coffee.txt"), "cup,  table\n");
    project.remove("words/coffee.txt");
    project.does("tag.probabilities 1 of 5, tag 1 of 5");
    assert_ne!(project.read("words/coffee.txt"), "cup,  table\n");
}

#[test]
fn tags_are_added_to_those_of_a_human() {
    let plain = lines(&tagged("thresh = 0.4"));
    let coffee = PICTURES.iter().position(|picture| *picture == "coffee.webp").unwrap();
    let found: Vec<&str> = plain[coffee].split(", ").collect();
    let added = |tags: &[&str]| format!("cup, {}, {}\n", found[1], tags.join(", "));
    let new: Vec<&str> = found.iter().filter(|tag| **tag != found[1]).copied().collect();

    let project = project("thresh = 0.4\nexisting = \"append\"");
    project.file("words/coffee.txt", format!("cup,{}", found[1]));
    project.does(ALL);
    assert_eq!(project.read("words/coffee.txt"), added(&new));

    // The human's words stay the same for ever, what was added follows the rules.
    let options = |more: &str| format!("thresh = 0.4\n{more}");
    let undesired = format!("existing = \"append\"\nundesired_tags = [\"{}\"]", new[0]);
    set(&project, &options(&undesired));
    project.does(TEXTS);
    assert_eq!(project.read("words/coffee.txt"), added(&new[1..]));

    // A text that began with a human is kept where nothing may be added any more.
    set(&project, &options(""));
    project.run().exits(0);
    assert_eq!(project.read("words/coffee.txt"), added(&new[1..]));
    project.is_idle();
    set(&project, &options("existing = \"overwrite\""));
    project.run().exits(0);
    assert_eq!(project.read("words/coffee.txt"), plain[coffee].clone() + "\n");
    project.is_idle();
}

#[test]
fn an_edit_of_an_added_to_text_is_the_human_s() {
    let project = project("thresh = 0.4\nexisting = \"append\"");
    project.file("words/coffee.txt", "cup");
    project.does(ALL);
    let added = project.read("words/coffee.txt");
    let added = added.trim_end().strip_prefix("cup, ").unwrap();
    project.file("words/coffee.txt", "mug");
    project.does("tag.probabilities 0 of 5, tag 1 of 5");
    assert_eq!(project.read("words/coffee.txt"), format!("mug, {added}\n"));
}

#[test]
fn an_appended_text_is_named_in_why() {
    let project = project("thresh = 0.4\nexisting = \"append\"");
    project.file("words/coffee.txt", "cup");
    project.run().exits(0);
    let why = project.call(&["why", "project.toml", "tag", "coffee"]).exits(0);
    assert!(why.stdout.contains("words/coffee.txt"), "{}", why.stdout);
}

#[test]
fn who_names_the_stage_means_its_network_too() {
    let project = project("thresh = 0.4");
    let call = |args: &[&str]| -> Run {
        let mut all = vec!["run", "project.toml", "--json"];
        all.extend(args);
        project.call(&all).exits(0)
    };
    assert_eq!(call(&["--only", "tag"]).counts(), ALL);
    assert_eq!(call(&["--only", "tag", "--force", "tag"]).counts(), ALL);
    assert_eq!(call(&["--from", "tag", "--force", "tag"]).counts(), ALL);
    assert_eq!(call(&["--until", "tag.probabilities"]).counts(), "tag.probabilities 0 of 5");
    let forced = call(&["--force", "tag.probabilities"]);
    assert_eq!(forced.counts(), "tag.probabilities 5 of 5, tag 0 of 5", "equal probabilities");
}

#[test]
fn why_says_that_the_command_line_set_a_threshold() {
    let project = Project::fresh();
    project.run().exits(0);
    let set = ["--set", "stages.tag.general_threshold=0.1"];
    let why = project.call(&[&["why", "project.toml", "tag", "coffee.webp"], &set[..]].concat());
    let told = why.exits(0).stdout;
    let line = told.lines().find(|line| line.contains("general_threshold")).expect("the threshold");
    assert!(line.contains("--set"), "{told}");
}
