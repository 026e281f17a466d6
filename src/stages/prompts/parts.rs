//! What decides a picture besides the network that draws it, part by part.

use super::{Prompts, TEXT, encoded};
use crate::{
    base::Value,
    manifest::prompts::{PromptLine, Wanted},
    pipeline::{KeyPart, Origin, Upstream},
    stages::Site,
};

/// Steps where nobody says how many: what the models were made for.
const STEPS: (u32, u32) = (20, 4);

/// How many steps a picture takes with a network that takes a guidance (dev), or none (schnell).
pub fn steps(wanted: &Wanted, takes_guidance: bool) -> u32 {
    wanted.steps.unwrap_or(if takes_guidance { STEPS.0 } else { STEPS.1 })
}

impl Prompts {
    /// The parts of a picture's key. The texts count as they are encoded, and as they are written, since
    /// the file of the picture names them.
    pub fn parts(
        &self,
        site: &Site,
        upstream: &Upstream<'_>,
        wanted: &Wanted,
        takes_guidance: bool,
    ) -> Vec<KeyPart> {
        let prompt = self.origin(site, wanted);
        let line = &self.lines[wanted.number - 1];
        let mut parts = Vec::new();
        let texts = [("prompt", Some(&wanted.prompt)), ("negative", wanted.negative.as_ref())];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            let origin = match (name, &line.negative) {
                ("negative", None) => site.origin(format!("{}.negative", self.table)),
                _ => prompt.clone(),
            };
            parts.push(KeyPart::new(name, Value::Text(text.clone()), origin));
            let encoding = encoded(upstream, text);
            parts.extend(encoding.map(|item| item.part(&format!("{name} encoding"), TEXT)));
        }
        let mut add = |name: &str, value: Value, own: fn(&PromptLine) -> bool| {
            let origin: Origin = match own(line) {
                true => prompt.clone(),
                false => site.origin(format!("{}.{name}", self.table)),
            };
            parts.push(KeyPart::new(name, value, origin));
        };
        let count = |count: u32| Value::Int(i64::from(count));
        add("width", count(wanted.width), |line| line.width.is_some());
        add("height", count(wanted.height), |line| line.height.is_some());
        add("steps", count(steps(wanted, takes_guidance)), |line| line.steps.is_some());
        if takes_guidance {
            add("guidance", Value::Float(wanted.guidance), |line| line.guidance.is_some());
        }
        add("cfg", Value::Float(wanted.cfg), |line| line.cfg.is_some());
        // Every bit of a seed counts, also where it is larger than a signed number.
        add("seed", Value::Int(wanted.seed.cast_signed()), |line| line.seed.is_some());
        parts
    }
}
