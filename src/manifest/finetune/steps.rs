//! A number of steps: a count, or a share of all steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Steps {
    /// So many.
    Count(u32),
    /// This share of all steps, below 1.
    Share(#[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))] f64),
    /// The same in hundredths: `"10%"`.
    Percent(String),
}

impl Steps {
    /// The share of all steps, where it is one: `None` for a count, and for a text that says none
    /// between 0% and 100%.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        match self {
            Self::Count(_) => None,
            Self::Share(share) => Some(*share),
            Self::Percent(text) => {
                let number: f64 = text.trim().strip_suffix('%')?.trim().parse().ok()?;
                // Through decimal digits, so that "10%" is the number that 0.1 is.
                let share: f64 = format!("{number}e-2").parse().ok()?;
                (share > 0.0 && share < 1.0).then_some(share)
            }
        }
    }

    /// Whether it says no steps at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::Count(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_shares() {
        let share = |text: &str| Steps::Percent(text.to_owned()).share();
        assert_eq!([share("10%"), share("2.5 %"), share("7%")], [0.1, 0.025, 0.07].map(Some));
        for wrong in ["10", "%", "-5%", "100%", "0%", "ten%", "nan%", "inf%"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
    }
}
