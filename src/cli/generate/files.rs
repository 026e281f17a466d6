//! What the files of pictures are called: `003-42-a-red-cup.png`.

use std::path::{Path, PathBuf};

use crate::base::disk;

/// Letters of a prompt that stand in a name.
const LETTERS: usize = 40;

/// Files in a folder, numbered on from those that are there, so that none is written over.
pub(super) struct Files {
    folder: PathBuf,
    next: usize,
}

impl Files {
    pub fn in_folder(folder: &Path) -> Self {
        let entries = disk::list(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let last = names.filter_map(|name| name.split_once('-')?.0.parse::<usize>().ok()).max();
        Self { folder: folder.to_owned(), next: last.unwrap_or(0) + 1 }
    }

    /// The file of the next picture.
    pub fn next(&mut self, seed: u64, prompt: &str) -> PathBuf {
        let name = [format!("{:03}", self.next), seed.to_string(), slug(prompt)];
        self.next += 1;
        let name = name.iter().filter(|part| !part.is_empty()).map(String::as_str);
        self.folder.join(name.collect::<Vec<_>>().join("-") + ".png")
    }
}

/// The words of a prompt as far as they fit, in lower case: letters and digits of any script, which every
/// file system takes.
fn slug(prompt: &str) -> String {
    let mut slug = String::new();
    for word in prompt.to_lowercase().split(|letter: char| !letter.is_alphanumeric()) {
        let dash = usize::from(!slug.is_empty());
        let room = LETTERS - slug.chars().count();
        if word.is_empty() || room <= dash {
            continue;
        }
        if word.chars().count() + dash > room && !slug.is_empty() {
            break;
        }
        if dash == 1 {
            slug.push('-');
        }
        slug.extend(word.chars().take(room - dash));
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_become_names() {
        assert_eq!(slug("A red cup, on a table!"), "a-red-cup-on-a-table");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("кот и 猫"), "кот-и-猫");
        assert_eq!(slug("?!"), "");
        let long = slug(&"wonderful ".repeat(9));
        assert_eq!(long, "wonderful-wonderful-wonderful-wonderful");
        assert_eq!(slug(&"x".repeat(99)).len(), LETTERS);
    }

    #[test]
    fn numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::in_folder(folder.path());
        assert_eq!(files.next(7, "a cup"), folder.path().join("001-7-a-cup.png"));
        assert_eq!(files.next(8, "…"), folder.path().join("002-8.png"));
        std::fs::write(folder.path().join("041-7-a-cup.png"), "").unwrap();
        std::fs::write(folder.path().join("notes-1.txt"), "").unwrap();
        let mut files = Files::in_folder(folder.path());
        assert_eq!(files.next(7, "a cup"), folder.path().join("042-7-a-cup.png"));
    }
}
