//! Checks values against the part of JSON Schema (draft-07) that the project's schemas use.
//!
//! A keyword that is not known here is an error, so that a schema cannot grow past what is checked.

use serde_json::{Map, Value};

/// Every way in which `value` is not as `schema` says, with its place; empty if it is valid.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    Checker { root: schema, faults: &mut faults }.check(schema, value, "$");
    faults
}

/// Fails, with all faults, unless `value` is as `schema` says.
#[track_caller]
pub fn assert_valid(schema: &Value, value: &Value) {
    let faults = faults(schema, value);
    assert!(faults.is_empty(), "{}\nin {value:#}", faults.join("\n"));
}

/// Keywords that say nothing about validity.
const NOTES: &[&str] =
    &["$schema", "title", "description", "default", "definitions", "format", "examples"];

struct Checker<'a> {
    root: &'a Value,
    faults: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, place: &str) {
        let rules = match schema {
            Value::Bool(true) => return,
            Value::Object(rules) => rules,
            _ => return self.fault(place, "nothing is allowed here"),
        };
        for (keyword, rule) in rules {
            self.keyword(keyword, rule, rules, value, place);
        }
    }

    fn keyword(
        &mut self,
        keyword: &str,
        rule: &Value,
        rules: &Map<String, Value>,
        value: &Value,
        place: &str,
    ) {
        match keyword {
            _ if NOTES.contains(&keyword) => {}
            "$ref" => {
                let pointer = rule.as_str().and_then(|name| name.strip_prefix('#'));
                let target = pointer.and_then(|pointer| self.root.pointer(pointer)).cloned();
                self.check(&target.expect("a $ref points into the schema"), value, place);
            }
            "type" => {
                let allowed = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !allowed.iter().any(|name| is_of(value, name.as_str().unwrap())) {
                    self.fault(place, &format!("{value} is not of type {rule}"));
                }
            }
            "const" if value != rule => self.fault(place, &format!("{value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                self.fault(place, &format!("{value} is none of {rule}"));
            }
            "const" | "enum" => {}
            "anyOf" | "oneOf" | "allOf" => {
                self.several(keyword, rule.as_array().unwrap(), value, place)
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) {
                    self.fault(place, &format!("{value} is below {rule}"));
                }
            }
            "minItems" | "maxItems" => {
                let most = keyword == "maxItems";
                let count = value.as_array().map(|items| items.len() as u64);
                let limit = rule.as_u64().unwrap();
                if count.is_some_and(|count| if most { count > limit } else { count < limit }) {
                    self.fault(place, &format!("{value} breaks {keyword} {rule}"));
                }
            }
            "required" => {
                let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                for name in names {
                    if value.is_object() && value.get(name).is_none() {
                        self.fault(place, &format!("lacks `{name}`"));
                    }
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(name) {
                        self.check(rule, inner, &format!("{place}.{name}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        self.check(rule, inner, &format!("{place}.{name}"));
                    }
                }
            }
            "items" => {
                for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(rule, inner, &format!("{place}[{index}]"));
                }
            }
            _ => panic!("the keyword `{keyword}` is not known to this check"),
        }
    }

    fn several(&mut self, keyword: &str, schemas: &[Value], value: &Value, place: &str) {
        let mut trials = Vec::new();
        for schema in schemas {
            let mut faults = Vec::new();
            Checker { root: self.root, faults: &mut faults }.check(schema, value, place);
            trials.push(faults);
        }
        let valid = trials.iter().filter(|faults| faults.is_empty()).count();
        let fine = match keyword {
            "anyOf" => valid > 0,
            "oneOf" => valid == 1,
            _ => valid == schemas.len(),
        };
        if !fine {
            self.fault(place, &format!("{valid} of {keyword} fit"));
            // The nearest miss tells most.
            self.faults.extend(
                trials
                    .into_iter()
                    .filter(|t| !t.is_empty())
                    .min_by_key(Vec::len)
                    .into_iter()
                    .flatten(),
            );
        }
    }

    fn fault(&mut self, place: &str, what: &str) {
        self.faults.push(format!("{place}: {what}"));
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("there is no type `{name}`"),
    }
}

#[test]
fn the_check_itself_finds_faults() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"$ref": "#/definitions/count"}, "b": {"oneOf": [{"const": "x"}, {"type": "null"}]}},
        "definitions": {"count": {"type": "integer", "minimum": 0}},
    });
    let of = |value: Value| faults(&schema, &value).len();
    assert_eq!(of(serde_json::json!({"a": 3, "b": null})), 0);
    assert_eq!(of(serde_json::json!({"b": "x"})), 1);
    assert_eq!(of(serde_json::json!({"a": -1, "c": 1})), 2);
    assert!(of(serde_json::json!({"a": "3", "b": "y"})) >= 2);
}
