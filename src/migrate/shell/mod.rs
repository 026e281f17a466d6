//! Shell scripts as far as they start programs: words, quotes, variables, continued lines. Nothing is run.
//!
//! The published command lines are broken in ways that a shell would not forgive: blanks behind the backslash at
//! the end of a line, no backslash before a line that begins with `--`, comments in between. They are read as
//! they were meant, and each such line is told.

mod variables;
mod words;

use std::{collections::BTreeMap, path::PathBuf};

use super::MigrateError;
pub(super) use words::is_script;

/// One word of a command, after quotes and variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Line of the script, from 1.
    pub(super) line: usize,
}

/// A program and what it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    /// The folder that `cd` lines before it lead to, from where the script starts.
    pub(super) folder: PathBuf,
    /// Variables that are exported, or stand before the program.
    pub(super) environment: BTreeMap<String, Word>,
}

/// Something that was not read to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) line: usize,
    pub(super) text: &'static str,
    /// What it is about, where that is a word of the script.
    pub(super) word: Option<String>,
}

/// All commands of a script.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    pub(super) notes: Vec<Note>,
}

/// Words of a script that stand before a command and are none.
const RESERVED: [&str; 12] =
    ["if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "!"];
/// Words that make variables of what follows.
const DECLARE: [&str; 5] = ["export", "declare", "local", "readonly", "typeset"];

/// Reads a script.
///
/// # Errors
/// A quote is never closed, or variables grow without end.
pub(super) fn read(name: &str, text: &str) -> Result<Script, MigrateError> {
    let mut reader =
        Reader { script: Script::default(), folder: PathBuf::new(), exported: BTreeMap::new() };
    words::split(name, text, &mut reader)?;
    Ok(reader.script)
}

/// Takes commands one by one, as the lines come.
struct Reader {
    script: Script,
    folder: PathBuf,
    exported: BTreeMap<String, Word>,
}

impl Reader {
    fn note(&mut self, line: usize, text: &'static str, word: Option<String>) {
        let note = Note { line, text, word };
        if !self.script.notes.contains(&note) {
            self.script.notes.push(note);
        }
    }

    /// A finished command; its assignments have been taken out.
    fn command(&mut self, mut words: Vec<Word>, own: Vec<(String, Word)>) {
        while words.first().is_some_and(|word| RESERVED.contains(&word.text.as_str())) {
            let word = words.remove(0);
            if ["if", "for", "while", "until", "case"].contains(&word.text.as_str()) {
                const READ: &str =
                    "conditions and loops are not followed; what stands in them is read once";
                self.note(word.line, READ, Some(word.text));
            }
        }
        let Some(first) = words.first() else { return };
        if first.text == "cd" || first.text == "pushd" {
            if let Some(folder) = words.get(1) {
                self.folder.push(&folder.text);
            }
            return;
        }
        let environment = self.exported.clone().into_iter().chain(own).collect();
        self.script.commands.push(Command { words, folder: self.folder.clone(), environment });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let script = read("x.sh", text).unwrap();
        let plain = |command: Command| command.words.into_iter().map(|word| word.text).collect();
        script.commands.into_iter().map(plain).collect()
    }

    fn one(text: &str) -> String {
        let all = words(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].join("|")
    }

    #[test]
    fn continued_lines() {
        for text in [
            "a --x 1 \\\n  --y 2\n",
            "a --x 1 \\  \n  --y 2\n",
            "a --x 1 \\\r\n--y 2\r\n",
            "a --x 1\n--y 2",
            "a --x 1 \\\n# why\n\n--y 2",
            "a --x 1 # why \\\n  --y 2",
            "a --x 1\\\n--y 2",
            "a --x \\ \n 1 --y 2 \\",
        ] {
            assert_eq!(one(text), "a|--x|1|--y|2", "{text:?}");
        }
        assert_eq!(
            one("accelerate launch\n  flux_train.py --x"),
            "accelerate|launch|flux_train.py|--x"
        );
        assert_eq!(words("a --x 1\nb --y 2").len(), 2);
        let notes = |text: &str| read("x.sh", text).unwrap().notes;
        assert_eq!(notes("a --x 1 \\\n  --y 2\n"), []);
        assert_eq!(notes("a --x 1 \\ \n --y 2").len(), 1);
        assert_eq!(notes("a --x 1\n\n --y 2")[0].line, 1);
    }

    #[test]
    fn quotes_and_variables() {
        assert_eq!(one("a 'b $X' \"c d\"e f\\ g"), "a|b $X|c de|f g");
        assert_eq!(one("M=/x; a $M \"${M}/y\" ${N:-z} '$M'"), "a|/x|/x/y|z|$M");
        assert_eq!(one("export A=\"--x 1\"\nb $A \"$A\""), "b|--x|1|--x 1");
        assert_eq!(one("A=(--x \"1 2\")\nA+=( --y\n 3 )\nb \"${A[@]}\""), "b|--x|1 2|--y|3");
        assert_eq!(one("b \"two\nlines\""), "b|two\nlines");
        let script = read("x.sh", "b $UNKNOWN $(date) `date`").unwrap();
        assert_eq!(script.notes.len(), 3, "{:?}", script.notes);
    }

    #[test]
    fn several_commands() {
        assert_eq!(words("a; b && c | d > log 2>&1 &\nif [ -f x ]; then e; fi").len(), 6);
        let script = read("x.sh", "cd sub\nCUDA_VISIBLE_DEVICES=1 a\nexport B=2\nc").unwrap();
        assert_eq!(script.commands[0].folder, PathBuf::from("sub"));
        assert_eq!(script.commands[0].environment["CUDA_VISIBLE_DEVICES"].text, "1");
        assert_eq!(script.commands[1].environment.keys().collect::<Vec<_>>(), ["B"]);
        assert_eq!(words("cat > x <<EOF\na b --c\nEOF\nd"), [vec!["cat"], vec!["d"]]);
    }

    #[test]
    fn what_never_ends_is_told() {
        assert!(matches!(read("x.sh", "a\nb 'c\nd"), Err(MigrateError::Quote { line: 2, .. })));
        let bomb = "A=xxxxxxxxxxxxxxxx\n".to_owned() + &"A=$A$A$A$A\n".repeat(40);
        assert!(matches!(read("x.sh", &bomb), Err(MigrateError::Variable { .. })));
        let words = "A=\"x x x x x x x x x x x x x x x x\"\n".to_owned() + &"B=($A $A)\n".repeat(3);
        assert!(read("x.sh", &words).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ab$\\\\'\"`{}()#<>&|;=+\\[\\]@ \n\r-]{0,60}") {
            let _ = read("x.sh", &text);
        }
    }
}
