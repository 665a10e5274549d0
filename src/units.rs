//! Quantities a person writes in a file: durations, sizes, rates and shares.
//!
//! Each type parses from and prints to one spelling (`20s`, `1G`, `50/s`, `99%`), and nothing else is
//! accepted: a bare number is an error, because a file that says `for: 20` leaves the reader guessing.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A quantity that could not be read; the text is a full sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what}, expected {expected}")]
pub struct BadUnit {
    found: String,
    what: &'static str,
    expected: &'static str,
}

/// A span of time: `250ms`, `20s`, `1.5m`, `2h`; resolution one microsecond, at most 365 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// A number of bytes: `512K`, `1.5G`, `64M`, `100B`; powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// Events per second: `50/s`, `3/m`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

/// Bytes per second, written in bits (`10Mbit/s`, powers of 1000) or bytes (`256KiB/s`, powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bandwidth(pub u64);

/// A share of a whole, written in percent (`99.5%`), held as a fraction between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(pub f64);

/// Splits `1.5GiB` into the number and what follows it; the number is finite and not negative.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value: f64 = number.parse().ok()?;
    value.is_finite().then_some((value, unit.trim_start()))
}

impl FromStr for Span {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit {
            found: text.to_owned(),
            what: "duration",
            expected: "a number and a unit such as `250ms`, `20s`, `5m` or `1h`",
        };
        let (value, unit) = split(text.trim()).ok_or_else(bad)?;
        let micros_per_unit = match unit {
            "us" | "µs" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            "m" | "min" => 60e6,
            "h" => 3600e6,
            "d" => 86_400e6,
            _ => return Err(bad()),
        };
        let micros = value * micros_per_unit;
        // 365 days: longer than any run, short enough that sums of spans never overflow.
        if micros > 365.0 * 86_400e6 {
            return Err(bad());
        }
        Ok(Span(Duration::from_micros(micros.round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as u64;
        let units = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
        for (size, unit) in units {
            if micros >= size && micros.is_multiple_of(size) {
                return write!(f, "{}{unit}", micros / size);
            }
        }
        match micros {
            0 => write!(f, "0s"),
            m if m >= 1_000_000 => write!(f, "{}s", m as f64 / 1e6),
            m if m >= 1_000 => write!(f, "{}ms", m as f64 / 1e3),
            m => write!(f, "{m}us"),
        }
    }
}

impl FromStr for Size {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit {
            found: text.to_owned(),
            what: "size",
            expected: "a number and a unit such as `512M`, `1.5G` or `4096B`",
        };
        let (value, unit) = split(text.trim()).ok_or_else(bad)?;
        let shift = match unit {
            "B" => 0,
            "K" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            "T" | "TiB" => 40,
            _ => return Err(bad()),
        };
        let bytes = value * (1_u64 << shift) as f64;
        if bytes > (1_u64 << 53) as f64 {
            return Err(bad());
        }
        Ok(Size(bytes.round() as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            let size = 1_u64 << shift;
            if self.0 >= size {
                let whole = self.0.is_multiple_of(size);
                return match whole {
                    true => write!(f, "{}{unit}", self.0 / size),
                    false => write!(f, "{:.1}{unit}", self.0 as f64 / size as f64),
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Rate {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit {
            found: text.to_owned(),
            what: "rate",
            expected: "a number above zero and a unit of time such as `50/s` or `30/m`",
        };
        let (value, unit) = split(text.trim()).ok_or_else(bad)?;
        let per_second = match unit {
            "/s" => value,
            "/m" | "/min" => value / 60.0,
            "/h" => value / 3600.0,
            _ => return Err(bad()),
        };
        (per_second > 0.0 && per_second <= 1e6).then_some(Rate(per_second)).ok_or_else(bad)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            r if r >= 1.0 || r * 60.0 < 1.0 => write!(f, "{r}/s"),
            r => write!(f, "{}/m", r * 60.0),
        }
    }
}

/// The units of [`Bandwidth`], in bytes, from the largest of each kind.
const BANDWIDTHS: [(&str, f64); 8] = [
    ("Gbit/s", 125e6),
    ("Mbit/s", 125e3),
    ("Kbit/s", 125.0),
    ("bit/s", 0.125),
    ("GiB/s", (1_u64 << 30) as f64),
    ("MiB/s", (1_u64 << 20) as f64),
    ("KiB/s", 1024.0),
    ("B/s", 1.0),
];

impl FromStr for Bandwidth {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit {
            found: text.to_owned(),
            what: "bandwidth",
            expected: "a number and a unit such as `10Mbit/s` or `256KiB/s`, at least a byte a second",
        };
        let (value, unit) = split(text.trim()).ok_or_else(bad)?;
        let (_, bytes) = BANDWIDTHS.iter().find(|(known, _)| *known == unit).ok_or_else(bad)?;
        let total = (value * bytes).round();
        (1.0..=1e15).contains(&total).then_some(Bandwidth(total as u64)).ok_or_else(bad)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = BANDWIDTHS.iter().find(|(_, bytes)| *bytes >= 1.0 && self.0 as f64 % bytes == 0.0);
        match whole {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 as f64 / bytes),
            None => write!(f, "{}B/s", self.0),
        }
    }
}

impl FromStr for Share {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit {
            found: text.to_owned(),
            what: "percentage",
            expected: "a number from 0 to 100 and a percent sign, such as `99.5%`",
        };
        match split(text.trim()).ok_or_else(bad)? {
            (value, "%") if value <= 100.0 => Ok(Share(value / 100.0)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a millionth of a percent, so that 0.07 prints as 7% and not 7.000000000000001%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// Serde and JSON Schema through `FromStr` and `Display`: one spelling everywhere.
macro_rules! spelled {
    ($type:ty, $name:literal, $pattern:literal, $about:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}

spelled!(
    Span,
    "Duration",
    r"^\d+(\.\d+)?(us|µs|ms|s|m|min|h|d)$",
    "A duration such as 250ms, 20s, 5m or 1h."
);
spelled!(
    Size,
    "Size",
    r"^\d+(\.\d+)?(B|K|M|G|T|KiB|MiB|GiB|TiB)$",
    "A size such as 512M or 1.5G, powers of 1024."
);
spelled!(Rate, "Rate", r"^\d+(\.\d+)?/(s|m|min|h)$", "Events per time such as 50/s or 30/m.");
spelled!(
    Bandwidth,
    "Bandwidth",
    r"^\d+(\.\d+)?([KMG]?bit|B|[KMG]iB)/s$",
    "A bandwidth such as 10Mbit/s or 256KiB/s."
);
spelled!(Share, "Percentage", r"^\d+(\.\d+)?%$", "A percentage from 0% to 100%.");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("250ms".parse::<Span>().unwrap().0, Duration::from_millis(250));
        assert_eq!("1.5m".parse::<Span>().unwrap().0, Duration::from_secs(90));
        assert_eq!("1.5G".parse::<Size>().unwrap().0, 3 << 29);
        assert_eq!("10Mbit/s".parse::<Bandwidth>().unwrap().0, 1_250_000);
        assert_eq!("1.5KiB/s".parse::<Bandwidth>().unwrap().0, 1536);
        assert_eq!("30/m".parse::<Rate>().unwrap().0, 0.5);
        assert_eq!("99.5%".parse::<Share>().unwrap().0, 0.995);
    }

    #[test]
    fn refuses_bare_numbers_and_unknown_units() {
        for text in ["20", "20 secnds", "s", "", "-1s", "1e9h", "NaNs", "infs"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["1", "1GB", "-1G", "9999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["50", "0/s", "50/x"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["10", "10Mbit", "0bit/s", "1MB/s", "1/s"] {
            assert!(text.parse::<Bandwidth>().is_err(), "{text}");
        }
        for text in ["101%", "0.5", "%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(micros in 0_u64..365 * 86_400_000_000, share in 0_u32..=10_000) {
            let span = Span(Duration::from_micros(micros));
            let again: Span = span.to_string().parse().unwrap();
            // Seconds with a fraction are printed as f64: exact to the microsecond up to a year.
            prop_assert_eq!(again, span);
            let bandwidth = Bandwidth(micros + 1);
            prop_assert_eq!(bandwidth.to_string().parse::<Bandwidth>().unwrap(), bandwidth);
            let share = Share(f64::from(share) / 10_000.0);
            prop_assert!((share.to_string().parse::<Share>().unwrap().0 - share.0).abs() < 1e-9);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,12}") {
            let _ = text.parse::<Span>();
            let _ = text.parse::<Size>();
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Bandwidth>();
            let _ = text.parse::<Share>();
        }
    }
}
