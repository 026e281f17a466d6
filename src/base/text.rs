//! Words for people: the nearest name to a misspelt one, plurals, sizes of files.

/// The candidate that `word` was most likely meant to be, if one is near enough.
///
/// Nearness is the number of letters to add, drop, change or swap; `-` and `_` count as one letter,
/// and so do `A` and `a`. One mistake in three letters is near enough; so is the beginning of the word,
/// where only one candidate begins with it.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = folded(word);
    let limit = (word.len() / 3).max(1);
    let candidates = candidates.into_iter().collect::<Vec<_>>();
    let near = candidates
        .iter()
        .map(|candidate| (distance(&word, &folded(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance);
    let mut begun = candidates.iter().filter(|candidate| folded(candidate).starts_with(&word));
    match (near, begun.next(), begun.next()) {
        (Some((_, near)), ..) => Some(near),
        (None, Some(only), None) if word.len() > 1 => Some(only),
        _ => None,
    }
}

/// The candidates that are most like `word`, at most `count`: first those that share a whole word with
/// it (`wildcard` and `enable_wildcard`), then by their letters.
#[must_use]
pub fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let word = folded(word);
    let shares = |candidate: &[char]| {
        let mut words = candidate.split(|letter| *letter == '_');
        words.any(|part| part.len() > 2 && word.split(|letter| *letter == '_').any(|of| of == part))
    };
    let mut ranked = candidates
        .into_iter()
        .map(|candidate| {
            let letters = folded(candidate);
            ((!shares(&letters), distance(&word, &letters)), candidate)
        })
        .collect::<Vec<_>>();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// As far as it could be a name: to compare a whole file that stands for one takes its time.
fn folded(word: &str) -> Vec<char> {
    const LONGEST: usize = 64;
    let letters = word.chars().take(LONGEST).flat_map(char::to_lowercase);
    letters.map(|letter| if letter == '-' { '_' } else { letter }).collect()
}

/// Edit distance in which a swap of two neighbours is one step.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let change = last[column] + usize::from(a != b);
            let mut least = change.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == to[column - 1] && from[row - 1] == *b {
                least = least.min(before_last[column - 1] + 1);
            }
            current.push(least);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

/// `1 item`, `3 items`, `0 entries`, `2 batches`, `2 epochs`.
#[must_use]
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        return format!("1 {noun}");
    }
    let stem = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        Some(stem) => format!("{count} {stem}ies"),
        // Its `ch` is a `k`.
        None if noun.ends_with("epoch") => format!("{count} {noun}s"),
        None if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => {
            format!("{count} {noun}es")
        }
        None => format!("{count} {noun}s"),
    }
}

/// `512 B`, `1.5 KiB`, `23.8 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // Before it would be printed as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Reads what [`bytes`] writes, and `500MB`, `2 TB`, `10G`, `4096`: with a B but no i in powers of 1000, else of
/// 1024.
///
/// # Errors
/// It is no such size, in words.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write it as 500MB or 200GiB".to_owned();
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_uppercase();
    let letter = unit.chars().next().unwrap_or('B');
    let power = "BKMGTP".find(letter).ok_or_else(wrong)?;
    let base: f64 = match unit.get(1..).unwrap_or_default() {
        "B" if power > 0 => 1000.0,
        "" | "IB" => 1024.0,
        _ => return Err(wrong()),
    };
    Ok((number * base.powi(power as i32)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_units() {
        let read = |text| parse_bytes(text).unwrap();
        assert_eq!(["0", "4096", "12B", "1.5 KiB"].map(read), [0, 4096, 12, 1536]);
        assert_eq!(["500MB", "2 tb", "1G"].map(read), [500_000_000, 2_000_000_000_000, 1 << 30]);
        assert_eq!(parse_bytes(&bytes(3 << 30)), Ok(3 << 30));
        for wrong in ["", "GB", "1 X", "1BB", "-1MB", "1MiBs", "1.2.3M"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_slip_finds_its_word_and_another_word_does_not() {
        let keys = ["num_beams", "min_length", "max_length"];
        assert_eq!(did_you_mean("num_beam", keys), Some("num_beams"));
        assert_eq!(did_you_mean("num-Baems", keys), Some("num_beams"));
        assert_eq!(did_you_mean("max_lenght", keys), Some("max_length"));
        assert_eq!(did_you_mean("temperature", keys), None);
        assert_eq!(did_you_mean("", keys), None);
    }

    #[test]
    fn the_beginning_of_one_word_finds_it_and_of_two_does_not() {
        let keys = ["clip_l", "t5xxl", "top_p", "top_k"];
        assert_eq!(did_you_mean("t5", keys), Some("t5xxl"));
        assert_eq!(did_you_mean("clip", keys), Some("clip_l"));
        assert_eq!(did_you_mean("to", keys), None);
        assert_eq!(did_you_mean("c", keys), None);
    }

    #[test]
    fn a_shared_word_is_nearer_than_letters() {
        let keys = ["aspect", "recursive", "enable_wildcard", "resolution"];
        assert_eq!(nearest("wildcard", keys, 1), ["enable_wildcard"]);
        assert_eq!(nearest("resolutions", keys, 2)[0], "resolution");
    }

    #[test]
    fn the_nearest_wins_and_the_first_of_equals() {
        assert_eq!(did_you_mean("tad", ["tab", "tag"]), Some("tab"));
        assert_eq!(did_you_mean("tagg", ["tab", "tag"]), Some("tag"));
    }

    #[test]
    fn plurals() {
        let nouns = ["item", "entry", "batch", "key", "class", "epoch"];
        let said = nouns.map(|noun| plural(2, noun));
        assert_eq!(said, ["2 items", "2 entries", "2 batches", "2 keys", "2 classes", "2 epochs"]);
        assert_eq!(plural(1, "entry"), "1 entry");
    }
}
