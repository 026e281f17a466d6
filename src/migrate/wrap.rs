//! Text in lines of a width.

/// Lines of at most `width` letters, but for longer words.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The same as comments of a manifest. A text of somebody else's file stays one, whatever letters are in it.
pub(super) fn commented(text: &str, width: usize) -> Vec<String> {
    let plain: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    wrapped(&plain, width - 2).into_iter().map(|line| format!("# {line}")).collect()
}
