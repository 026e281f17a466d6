//! Values as a manifest writes them.

use serde_json::Value as Json;

use super::flags::Takes;

/// A text in quotes, on one line whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    // TOML has all escapes of JSON, and one control letter more.
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The value of a flag, as it stands behind `key = `.
///
/// # Errors
/// Why it is none, in words.
pub(super) fn of_text(takes: Takes, text: &str) -> Result<String, String> {
    match takes {
        Takes::Switch => Ok("true".to_owned()),
        Takes::Number => number(text).ok_or_else(|| format!("`{text}` is no number")),
        Takes::Size => {
            let sides: Option<Vec<u32>> =
                text.split([',', 'x']).map(|side| side.trim().parse().ok()).collect();
            match sides.as_deref() {
                Some([side]) => Ok(side.to_string()),
                Some([width, height]) => Ok(format!("[{width}, {height}]")),
                _ => Err(format!("`{text}` is neither a side nor width and height")),
            }
        }
        Takes::Text | Takes::Path | Takes::Words => Ok(quoted(text)),
    }
}

/// A number as TOML writes it, in the spelling of its writer where TOML has it too.
pub(super) fn number(text: &str) -> Option<String> {
    let text = text.trim();
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let reads = |text: &str| {
        let table: Option<toml::Table> = format!("x = {text}").parse().ok();
        let number = table.and_then(|table| match table.get("x") {
            Some(toml::Value::Integer(whole)) => Some(*whole as f64),
            Some(toml::Value::Float(number)) => Some(*number),
            _ => None,
        });
        number == Some(value)
    };
    [text.trim_start_matches('+').to_owned(), format!("{value:?}")]
        .into_iter()
        .find(|text| reads(text))
}

/// A value of a configuration.
///
/// # Errors
/// It is nothing that a key of a manifest takes.
pub(super) fn of_json(value: &Json) -> Result<String, String> {
    match value {
        Json::Bool(value) => Ok(value.to_string()),
        Json::Number(value) => {
            number(&value.to_string()).ok_or_else(|| format!("{value} is too large"))
        }
        Json::String(text) => Ok(quoted(text)),
        Json::Array(values) => {
            let values: Result<Vec<_>, _> = values.iter().map(of_json).collect();
            Ok(format!("[{}]", values?.join(", ")))
        }
        Json::Object(_) | Json::Null => Err("it is a table".to_owned()),
    }
}

/// A value of `--optimizer_args`, which is Python: `True`, `1e-3`, `(0.9,0.999)`, `None`.
pub(super) fn of_python(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = text.strip_prefix(['(', '[']).and_then(|text| text.strip_suffix([')', ']']));
    if inner.is_some() || text.contains(',') {
        let parts = inner.unwrap_or(text).split(',').map(str::trim).filter(|part| !part.is_empty());
        let numbers: Option<Vec<_>> = parts.map(number).collect();
        return numbers.map(|numbers| format!("[{}]", numbers.join(", ")));
    }
    match text {
        "True" | "true" => Some("true".to_owned()),
        "False" | "false" => Some("false".to_owned()),
        _ => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling_where_they_can() {
        let all = ["5e-5", "1e-05", ".5", "1.", "+3", "3.1582", "1E-3", "007"].map(number);
        let expected = ["5e-5", "1e-05", "0.5", "1.0", "3", "3.1582", "1E-3", "7.0"];
        assert_eq!(all.map(Option::unwrap), expected);
        assert_eq!(["nan", "inf", "fast", "", "1e999"].map(number), [const { None }; 5]);
    }

    #[test]
    fn values_of_python() {
        let all =
            ["False", "(1e-30, 1e-3)", "0.9,0.999", "0.01"].map(|text| of_python(text).unwrap());
        assert_eq!(all, ["false", "[1e-30, 1e-3]", "[0.9, 0.999]", "0.01"]);
        assert_eq!(of_python("lambda: 3"), None);
    }

    #[test]
    fn sizes() {
        let of = |text| of_text(Takes::Size, text);
        assert_eq!([of("512"), of("512,768")].map(Result::unwrap), ["512", "[512, 768]"]);
        assert!(of("1,2,3").is_err() && of("large").is_err());
    }
}
