//! Limits for answers that are numbers. What is not a number is outside of every limit: garbage is never taken
//! for 0.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::excerpt;

/// Between which numbers an answer must lie; the limits themselves are inside. At least one is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at_least: Option<f64>,
    at_most: Option<f64>,
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.checked().map_err(de::Error::custom)
    }
}

impl Written {
    fn checked(self) -> Result<Limits, String> {
        let Written { at_least, at_most } = self;
        let all_finite = at_least.into_iter().chain(at_most).all(f64::is_finite);
        match (at_least, at_most) {
            (None, None) => Err("no limit is given, expected `at_least`, `at_most` or both".to_owned()),
            _ if !all_finite => Err("a limit must be a finite number".to_owned()),
            (Some(least), Some(most)) if least > most => {
                Err(format!("no number is at least {least} and at most {most}"))
            }
            _ => Ok(Limits { at_least, at_most }),
        }
    }
}

impl Limits {
    /// Judges an answer that is text; white space around the number does not count.
    pub(super) fn judge(self, what: &str, answer: &str) -> Result<(), String> {
        let number = answer.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let Some(number) = number else {
            return Err(format!("{what} is `{}`, expected a number {self}", excerpt(answer)));
        };
        let inside = self.at_least.is_none_or(|least| number >= least)
            && self.at_most.is_none_or(|most| number <= most);
        match inside {
            true => Ok(()),
            false => Err(format!("{what} is {number}, expected a number {self}")),
        }
    }

    /// Judges a member of a JSON document: a number, or a text that reads as one, as encoders write large ones.
    pub(super) fn judge_json(self, what: &str, found: &Value) -> Result<(), String> {
        match found {
            Value::String(text) => self.judge(what, text),
            other => self.judge(what, &other.to_string()),
        }
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) => write!(f, "from {least} to {most}"),
            (Some(least), None) => write!(f, "of at least {least}"),
            (None, Some(most)) => write!(f, "of at most {most}"),
            (None, None) => f.write_str("of any size"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_inside_and_what_is_no_number_is_outside() {
        let limits: Limits = serde_json::from_str(r#"{"at_least":0,"at_most":5.5}"#).unwrap();
        let says = |answer: &str| limits.judge("the answer", answer).err().unwrap_or_default();
        for well in ["0", "5.5", " 3\n", "1e0", "-0"] {
            assert_eq!(says(well), "");
        }
        assert_eq!(says("5.6"), "the answer is 5.6, expected a number from 0 to 5.5");
        assert_eq!(says("-1"), "the answer is -1, expected a number from 0 to 5.5");
        for garbage in ["", "five", "3 4", "NaN", "inf", "0x1", "1,5", "5ms"] {
            assert_eq!(says(garbage), format!("the answer is `{garbage}`, expected a number from 0 to 5.5"));
        }
        let json = |text: &str| limits.judge_json("`lag`", &serde_json::from_str(text).unwrap());
        assert!(json("3").is_ok() && json("\"3\"").is_ok());
        for garbage in ["null", "[3]", "true", "\"\"", "{}"] {
            assert!(json(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        let refuse = |text: &str| serde_json::from_str::<Limits>(text).unwrap_err().to_string();
        assert!(refuse("{}").starts_with("no limit is given, expected `at_least`, `at_most` or both"));
        assert!(refuse(r#"{"at_least":2,"at_most":1}"#).starts_with("no number is at least 2 and at most 1"));
        assert!(refuse(r#"{"at_leats":2}"#).contains("unknown field"));
    }
}
