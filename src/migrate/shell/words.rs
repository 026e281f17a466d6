//! From text to words: one pass over the letters, in which variables are put in as they come.

use std::{iter::Peekable, str::Chars};

use super::{
    super::MigrateError,
    DECLARE, Reader, Word,
    variables::{Variables, assignment, is_name},
};

const BLANK_BEHIND: &str =
    "blanks behind the backslash end the command in a shell; the next line is read as a part of it";
const NO_BACKSLASH: &str =
    "without a backslash the command ends here in a shell; the next line is read as a part of it";
const JOINED: &str =
    "without a blank a shell joins this word to the next line; they are read as two";
const UNKNOWN: &str = "the script does not say what this variable holds; it is read as it stands";
const COMMAND: &str =
    "what this command prints is not known, since nothing is run; it is read as it stands";

/// Gives each command to the reader.
///
/// # Errors
/// A quote is never closed, or a variable grows without end.
pub(super) fn split(name: &str, text: &str, reader: &mut Reader) -> Result<(), MigrateError> {
    let letters = text.trim_start_matches('\u{feff}').chars().peekable();
    let mut splitter = Splitter {
        name,
        letters,
        line: 1,
        words: Vec::new(),
        own: Vec::new(),
        list: None,
        variables: Variables::default(),
        here: Vec::new(),
        reader,
    };
    splitter.run()
}

struct Splitter<'a> {
    name: &'a str,
    letters: Peekable<Chars<'a>>,
    line: usize,
    /// Words of the command so far.
    words: Vec<Word>,
    /// Assignments before its program.
    own: Vec<(String, Word)>,
    /// The list that is being assigned, `NAME=( … )`: its name, whether it is added, its values.
    list: Option<(String, bool, Vec<String>)>,
    variables: Variables,
    /// Ends of texts that follow the line, `<<END`.
    here: Vec<String>,
    reader: &'a mut Reader,
}

/// A word that is being read.
#[derive(Default)]
struct Building {
    text: String,
    line: usize,
    /// Whether there is a word, which may be empty: `""`.
    begun: bool,
    /// Whether a quote or a variable was in it, so that it is no assignment by accident.
    plain_until: Option<usize>,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), MigrateError> {
        while let Some(letter) = self.letters.peek().copied() {
            match letter {
                ' ' | '\t' | '\r' => self.skip(),
                '#' => self.comment(),
                '\n' => self.end_of_line()?,
                ')' if self.list.is_some() => {
                    self.skip();
                    self.end_list()?;
                }
                ';' | '&' | '|' | '(' | ')' => {
                    self.skip();
                    if letter == '&' && self.letters.peek() == Some(&'>') {
                        self.redirect()?;
                    } else {
                        self.end_command()?;
                    }
                }
                '<' | '>' => self.redirect()?,
                _ => self.word()?,
            }
        }
        if self.list.is_some() {
            return Err(MigrateError::Quote {
                script: self.name.to_owned(),
                line: self.line,
                quote: '(',
            });
        }
        self.end_command()
    }

    fn skip(&mut self) {
        if self.letters.next() == Some('\n') {
            self.line += 1;
        }
    }

    fn comment(&mut self) {
        while self.letters.peek().is_some_and(|letter| *letter != '\n') {
            self.skip();
        }
    }

    /// What stands on the lines that follow, beyond blanks, empty lines and comments.
    fn ahead(&self) -> String {
        let mut rest = self.letters.clone();
        loop {
            match rest.peek() {
                Some(blank) if blank.is_whitespace() => {
                    rest.next();
                }
                Some('#') => while rest.next().is_some_and(|letter| letter != '\n') {},
                _ => break rest.take_while(|letter| !letter.is_whitespace()).take(256).collect(),
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), MigrateError> {
        let line = self.line;
        self.skip();
        let here = std::mem::take(&mut self.here);
        here.iter().for_each(|end| self.skip_text(end));
        if self.list.is_some() {
            return Ok(());
        }
        if self.words.is_empty() {
            return self.end_command();
        }
        let next = self.ahead();
        let is_flag = next
            .strip_prefix("--")
            .is_some_and(|name| name.starts_with(|letter: char| letter.is_ascii_alphabetic()));
        let launches = self
            .words
            .iter()
            .any(|word| ["accelerate", "python", "python3"].contains(&word.text.as_str()))
            && !self.words.iter().any(|word| is_script(&word.text));
        if is_flag || launches && is_script(&next) {
            self.reader.note(line, NO_BACKSLASH, None);
            self.skip_to_next_word();
            return Ok(());
        }
        self.end_command()
    }

    /// Past blanks, empty lines and comments.
    fn skip_to_next_word(&mut self) {
        while let Some(letter) = self.letters.peek().copied() {
            match letter {
                '#' => self.comment(),
                _ if letter.is_whitespace() => self.skip(),
                _ => break,
            }
        }
    }

    /// A text of the script that is fed to a program.
    fn skip_text(&mut self, end: &str) {
        loop {
            let mut line = String::new();
            while self.letters.peek().is_some_and(|letter| *letter != '\n') {
                line.extend(self.letters.next());
            }
            let last = self.letters.peek().is_none();
            self.skip();
            if last || line.trim() == end {
                return;
            }
        }
    }

    /// `> file`, `2>&1`, `<<END`: neither the sign nor what follows it is a word of the command.
    fn redirect(&mut self) -> Result<(), MigrateError> {
        let mut sign = String::new();
        while self.letters.peek().is_some_and(|letter| "<>&|-".contains(*letter)) {
            sign.extend(self.letters.next());
        }
        while self.letters.peek().is_some_and(|letter| " \t".contains(*letter)) {
            self.skip();
        }
        // `2>` begins with a word that is a number.
        if self.words.last().is_some_and(|word| word.text == "2" || word.text == "1")
            && sign.starts_with('>')
        {
            self.words.pop();
        }
        let before = self.words.len();
        if self.letters.peek().is_some_and(|letter| !"\n;&|#".contains(*letter)) {
            self.word()?;
        }
        let target = self.words.split_off(before.min(self.words.len()));
        if sign.trim_end_matches('-') == "<<" {
            self.here.extend(target.into_iter().map(|word| word.text));
        }
        Ok(())
    }

    fn word(&mut self) -> Result<(), MigrateError> {
        let mut word = Building { line: self.line, ..Building::default() };
        while let Some(letter) = self.letters.peek().copied() {
            match letter {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | ')' => break,
                '(' if self.begins_list(&word) => return Ok(()),
                '(' => break,
                '\\' => {
                    self.skip();
                    if !self.backslash(&mut word) {
                        break;
                    }
                }
                '\'' | '"' => {
                    self.skip();
                    word.plain_until.get_or_insert(word.text.len());
                    self.quoted(letter, &mut word)?;
                }
                '$' => {
                    self.skip();
                    self.variable(&mut word, false)?;
                }
                '`' => {
                    self.skip();
                    self.printed('`', &mut word);
                }
                _ => {
                    self.skip();
                    word.begun = true;
                    word.text.push(letter);
                }
            }
        }
        self.finish(word);
        Ok(())
    }

    /// Behind a backslash outside of quotes: whether the word may go on.
    fn backslash(&mut self, word: &mut Building) -> bool {
        let line = self.line;
        let mut ahead = self.letters.clone();
        let mut blanks = 0;
        while ahead.peek().is_some_and(|letter| " \t\r".contains(*letter)) {
            blanks += usize::from(ahead.next() != Some('\r'));
        }
        match ahead.next() {
            Some('\n') => {
                while self.letters.peek().is_some_and(|letter| *letter != '\n') {
                    self.skip();
                }
                self.skip();
                if blanks > 0 {
                    self.reader.note(line, BLANK_BEHIND, None);
                }
                let joins = self.letters.peek().is_some_and(|letter| !letter.is_whitespace());
                if word.begun && joins && self.letters.peek() == Some(&'-') {
                    self.reader.note(line, JOINED, None);
                    return false;
                }
                word.begun
            }
            None => word.begun,
            Some(_) => {
                word.plain_until.get_or_insert(word.text.len());
                word.begun = true;
                if let Some(letter) = self.letters.next() {
                    word.text.push(letter);
                }
                true
            }
        }
    }

    fn quoted(&mut self, quote: char, word: &mut Building) -> Result<(), MigrateError> {
        let line = self.line;
        word.begun = true;
        while let Some(letter) = self.letters.peek().copied() {
            self.skip();
            match letter {
                _ if letter == quote => return Ok(()),
                '\r' if self.letters.peek() == Some(&'\n') => {}
                '$' if quote == '"' => self.variable(word, true)?,
                '`' if quote == '"' => self.printed('`', word),
                '\\' if quote == '"' => match self.letters.peek().copied() {
                    Some('\n') => self.skip(),
                    Some(escaped) if "\"\\$`".contains(escaped) => {
                        self.skip();
                        word.text.push(escaped);
                    }
                    _ => word.text.push('\\'),
                },
                _ => word.text.push(letter),
            }
        }
        Err(MigrateError::Quote { script: self.name.to_owned(), line, quote })
    }

    /// Behind a `$`: puts the value in, which outside of quotes may be several words.
    fn variable(&mut self, word: &mut Building, quoted: bool) -> Result<(), MigrateError> {
        let line = self.line;
        let (name, otherwise, written) = match self.letters.peek().copied() {
            Some('{') => {
                self.skip();
                let mut inner = String::new();
                while let Some(letter) = self.letters.next_if(|letter| !"}\n".contains(*letter)) {
                    inner.push(letter);
                }
                self.letters.next_if_eq(&'}');
                let name = inner.trim_end_matches("[@]").trim_end_matches("[*]");
                let (name, otherwise) = match name.split_once(":-").or_else(|| name.split_once('-'))
                {
                    Some((name, otherwise)) => (name.to_owned(), Some(otherwise.to_owned())),
                    None => (name.to_owned(), None),
                };
                (name, otherwise, format!("${{{inner}}}"))
            }
            Some('(') => {
                self.skip();
                self.printed(')', word);
                return Ok(());
            }
            _ => {
                let mut name = String::new();
                let letter = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
                while let Some(letter) = self.letters.next_if(letter) {
                    name.push(letter);
                }
                let written = format!("${name}");
                (name, None, written)
            }
        };
        let (assigns, begins) = (self.is_assignment(word), word.text.len());
        word.plain_until.get_or_insert(begins);
        let values = self.variables.get(&name).map(<[String]>::to_vec);
        let Some(values) = values.or(otherwise.map(|text| vec![text])) else {
            word.begun = true;
            word.text += &written;
            if is_name(&name) {
                self.reader.note(line, UNKNOWN, Some(written));
            }
            return Ok(());
        };
        let values: Vec<String> = match quoted || assigns {
            true => values,
            false => values
                .iter()
                .flat_map(|value| value.split_whitespace().map(str::to_owned))
                .collect(),
        };
        for (index, value) in values.iter().enumerate() {
            if index > 0 && !assigns {
                let done =
                    std::mem::replace(word, Building { line: self.line, ..Building::default() });
                word.plain_until = Some(0);
                self.finish(done);
            } else if index > 0 {
                word.text.push(' ');
            }
            word.begun = true;
            word.text += value;
        }
        self.not_endless(word, line)
    }

    fn not_endless(&self, word: &Building, line: usize) -> Result<(), MigrateError> {
        let endless = || MigrateError::Variable { script: self.name.to_owned(), line };
        if word.text.len() > 1 << 18 || self.words.len() > 1 << 14 {
            Err(endless())
        } else {
            Ok(())
        }
    }

    /// `$(…)` or `` `…` ``: kept as it stands.
    fn printed(&mut self, end: char, word: &mut Building) {
        let line = self.line;
        let mut text = if end == ')' { "$(".to_owned() } else { "`".to_owned() };
        let mut depth = 1;
        while depth > 0
            && let Some(letter) = self.letters.next_if(|letter| *letter != '\n')
        {
            depth += i32::from(letter == '(' && end == ')') - i32::from(letter == end);
            text.push(letter);
        }
        word.plain_until.get_or_insert(word.text.len());
        word.begun = true;
        word.text += &text;
        self.reader.note(line, COMMAND, Some(text));
    }

    /// Whether the word is the value of a variable so far.
    fn is_assignment(&self, word: &Building) -> bool {
        let plain = &word.text[..word.plain_until.unwrap_or(word.text.len()).min(word.text.len())];
        let declares =
            self.words.first().is_some_and(|first| DECLARE.contains(&first.text.as_str()));
        (self.words.is_empty() || declares) && self.list.is_none() && assignment(plain).is_some()
    }

    /// `NAME=(` begins a list.
    fn begins_list(&mut self, word: &Building) -> bool {
        let Some((name, adds, "")) = assignment(&word.text) else { return false };
        if !self.is_assignment(word) {
            return false;
        }
        self.list = Some((name.to_owned(), adds, Vec::new()));
        self.skip();
        true
    }

    fn end_list(&mut self) -> Result<(), MigrateError> {
        let Some((name, adds, values)) = self.list.take() else { return Ok(()) };
        self.assign(&name, values, adds, self.line)
    }

    fn assign(
        &mut self,
        name: &str,
        values: Vec<String>,
        adds: bool,
        line: usize,
    ) -> Result<(), MigrateError> {
        let endless = || MigrateError::Variable { script: self.name.to_owned(), line };
        if self.variables.assign(name, values, adds) { Ok(()) } else { Err(endless()) }
    }

    fn finish(&mut self, word: Building) {
        if !word.begun {
            return;
        }
        let assigns = self.is_assignment(&word);
        let done = Word { text: word.text, line: word.line };
        match &mut self.list {
            Some((.., values)) => values.push(done.text),
            None if assigns && self.words.is_empty() => {
                let (name, value) = done.text.split_once('=').unwrap_or_default();
                self.own.push((name.to_owned(), Word { text: value.to_owned(), line: done.line }));
            }
            None => self.words.push(done),
        }
    }

    /// Assignments count once the command is over: in `A=1 program $A` the shell puts in the old value.
    fn end_command(&mut self) -> Result<(), MigrateError> {
        let words = std::mem::take(&mut self.words);
        let own = std::mem::take(&mut self.own);
        let declares = words.first().is_some_and(|first| DECLARE.contains(&first.text.as_str()));
        if declares {
            for word in &words[1..] {
                let Some((name, adds, value)) = assignment(&word.text) else { continue };
                self.assign(name, vec![value.to_owned()], adds, word.line)?;
                if words[0].text == "export" {
                    let value = Word { text: value.to_owned(), line: word.line };
                    self.reader.exported.insert(name.to_owned(), value);
                }
            }
            return Ok(());
        }
        if words.is_empty() {
            for (name, value) in own {
                let (plain, adds) =
                    name.strip_suffix('+').map_or((&*name, false), |plain| (plain, true));
                let text = match (adds, self.variables.get(plain)) {
                    (true, Some(old)) => old.join(" ") + &value.text,
                    _ => value.text,
                };
                self.assign(plain, vec![text], false, value.line)?;
            }
            return Ok(());
        }
        self.reader.command(words, own);
        Ok(())
    }
}

/// Whether a word names a program in Python.
pub(in super::super) fn is_script(word: &str) -> bool {
    word.ends_with(".py")
}
