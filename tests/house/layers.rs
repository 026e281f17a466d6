//! Imports point down only, and a few words stay where they belong.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every module of the top level, from the ground up, with those it may know.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("manifest", &["base"]),
    ("device", &["base"]),
    ("weights", &["base"]),
    ("dataset", &["base"]),
    ("migrate", &["base", "manifest"]),
    ("models", &["base", "weights", "device"]),
    ("train", &["base", "weights", "device", "models"]),
    ("pipeline", &["base"]),
    (
        "stages",
        &["base", "manifest", "device", "weights", "dataset", "models", "train", "pipeline"],
    ),
    ("report", &["base", "manifest", "migrate", "device", "weights", "pipeline", "stages"]),
    (
        "cli",
        &[
            "base", "manifest", "device", "weights", "dataset", "models", "train", "pipeline",
            "stages", "report", "migrate",
        ],
    ),
];

/// Modules that may name the tensor framework.
const TENSORS: &[&str] = &["weights", "device", "models", "train", "stages"];

/// A file longer than this has more than one subject.
const LINES: usize = 600;

pub struct File {
    pub path: PathBuf,
    /// Names of the modules above it and its own: `["manifest", "check"]`.
    pub module: Vec<String>,
    /// Without comments.
    code: String,
    /// The part of `code` before its unit tests.
    pub body: String,
    lines: usize,
}

/// All sources of the crate.
pub fn files() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &src, &mut files);
    assert!(files.len() > 10, "the sources are not where they were");
    files
}

fn collect(folder: &Path, src: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A folder with a manifest of its own is another crate.
            if !path.join("Cargo.toml").exists() {
                collect(&path, src, files);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(File::read(path, src));
        }
    }
}

impl File {
    fn read(path: PathBuf, src: &Path) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let code: String =
            text.lines().map(without_comment).fold(String::new(), |code, line| code + line + "\n");
        let relative = path.strip_prefix(src).unwrap().with_extension("");
        let module = relative
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .filter(|part| part != "mod")
            .collect();
        let body = code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        Self { path, module, code, body, lines: text.lines().count() }
    }

    /// The floor it lies on; `lib` and `main` lie on none.
    fn floor(&self) -> Option<&str> {
        self.module.first().map(String::as_str).filter(|name| known(name).is_some())
    }

    /// Every module of the top level that it names.
    fn names(&self) -> BTreeSet<String> {
        let mut names = firsts(&self.code, "crate::");
        names.extend(firsts(&self.code, "fluxpipe::"));
        // As many `super`s as there are modules above lead to the root of the crate.
        names.extend(firsts(&self.body, &"super::".repeat(self.module.len())));
        names.into_iter().filter(|name| known(name).is_some()).collect()
    }
}

fn known(name: &str) -> Option<&'static [&'static str]> {
    MAY_KNOW.iter().find(|(module, _)| *module == name).map(|(_, may)| *may)
}

fn without_comment(line: &str) -> &str {
    let end = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    end.map_or(line, |(at, _)| &line[..at])
}

/// The first name after each `prefix`; of a group in braces, the first name of each member.
fn firsts(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|before: char| is_name(before) || before == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                names.extend(members(group).into_iter().map(name).filter(|name| !name.is_empty()))
            }
            None => names.extend([name(rest)]),
        }
    }
    names
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn name(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| is_name(*letter)).collect()
}

/// The members of a group whose opening brace is already read.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(&group[start..index]);
                start = index + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

#[test]
fn imports_point_down() {
    let mut upward = Vec::new();
    for file in files() {
        let Some(floor) = file.floor() else { continue };
        let may = known(floor).unwrap();
        for name in file.names() {
            if name != floor && !may.contains(&name.as_str()) {
                upward.push(format!("{} knows {name}", file.path.display()));
            }
        }
    }
    assert!(upward.is_empty(), "upward imports:\n{}", upward.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let missing: BTreeSet<String> = files()
        .iter()
        .filter(|file| file.floor().is_none())
        .map(|file| file.module.join("::"))
        .filter(|name| !["lib", "main"].contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "give these a place in MAY_KNOW: {missing:?}");
}

#[test]
fn tensors_stay_where_they_belong() {
    let found: Vec<String> = files()
        .iter()
        .filter(|file| file.floor().is_some_and(|floor| !TENSORS.contains(&floor)))
        .filter(|file| !names_crate(&file.code, "burn").is_empty())
        .map(|file| file.path.display().to_string())
        .collect();
    assert!(found.is_empty(), "these know the tensor framework: {found:?}");
}

fn names_crate<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let (path, import) = (format!("{name}::"), format!("use {name}"));
    let is_path = |line: &str| {
        line.match_indices(&path).any(|(at, _)| {
            !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before))
        })
    };
    code.lines().filter(|line| is_path(line) || line.trim_start().starts_with(&import)).collect()
}

#[test]
fn only_the_report_prints() {
    const PRINTERS: [&str; 4] = ["println!", "eprintln!", "print!(", "eprint!("];
    let found: Vec<String> = files()
        .iter()
        .filter(|file| !["report", "main"].contains(&file.module[0].as_str()))
        .filter(|file| PRINTERS.iter().any(|printer| file.code.contains(printer)))
        .map(|file| file.path.display().to_string())
        .collect();
    assert!(found.is_empty(), "these print: {found:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    const LEFT: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
    let found: Vec<String> = files()
        .iter()
        .filter(|file| LEFT.iter().any(|word| file.code.contains(word)))
        .map(|file| file.path.display().to_string())
        .collect();
    assert!(found.is_empty(), "these are unfinished: {found:?}");
}

#[test]
fn no_file_is_too_long() {
    let found: Vec<String> = files()
        .iter()
        .filter(|file| file.lines > LINES)
        .map(|file| format!("{}: {} lines", file.path.display(), file.lines))
        .collect();
    assert!(found.is_empty(), "split these: {found:?}");
}

#[test]
fn the_reader_of_imports_sees_them() {
    let names = |code: &str| firsts(code, "crate::").into_iter().collect::<Vec<_>>();
    assert_eq!(names("use crate::base::Digest;"), ["base"]);
    assert_eq!(
        names("use crate::{\n    base::{Digest, Value},\n    weights,\n};"),
        ["base", "weights"]
    );
    assert_eq!(names("fn f(x: crate::weights::Loader) -> crate::base::Value"), ["base", "weights"]);
    assert_eq!(names("subcrate::base::x"), [] as [&str; 0]);
    assert_eq!(names("let crates = 1;"), [] as [&str; 0]);
    assert_eq!(without_comment("let a = 1; // see crate::cli"), "let a = 1; ");
    assert_eq!(names_crate("use burn::tensor::Tensor;\nlet sunburn::x;", "burn").len(), 1);
}
