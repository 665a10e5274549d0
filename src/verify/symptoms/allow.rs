//! Exceptions that a scenario makes for known trouble: each with a reason, and with a day on which it ends.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Trouble that is known and does not fail a run, until a certain day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Text that the line must contain, letter by letter.
    pub pattern: String,
    /// The last day on which the exception holds; from the next day on (UTC) the trouble counts again.
    pub until: Day,
    /// Why it may be, for whoever reads the report.
    pub reason: String,
}

/// A day, written `2026-12-31` and in no other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub Date);

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a day, expected one such as `2026-12-31`");
        let shaped = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        let date: Option<Date> = shaped.then(|| text.parse().ok()).flatten();
        date.map(Day).ok_or_else(bad)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Day {
    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_one_way() {
        assert_eq!("2026-12-31".parse::<Day>().unwrap().to_string(), "2026-12-31");
        assert!("2026-12-31".parse::<Day>().unwrap() < "2027-01-01".parse().unwrap());
        for text in [
            "20261231",
            "2026-12-31T00:00",
            "2026-13-01",
            "2026-02-30",
            "26-12-31",
            "31.12.2026",
            "tomorrow",
            "",
        ] {
            let said = text.parse::<Day>().unwrap_err();
            assert_eq!(said, format!("`{text}` is not a day, expected one such as `2026-12-31`"));
        }
    }
}
