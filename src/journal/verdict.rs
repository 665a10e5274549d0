//! The four things that can be said of an expectation or a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Ordered by what wins when several are combined: a violation that was found stays found, whatever else
/// went wrong; `error` beats `unknown`, and nothing but passes makes a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    /// A checker could not decide within its budget.
    Unknown,
    /// The tool or the infrastructure failed, or nothing was learned: says nothing about the image.
    Error,
    /// An expectation was violated.
    Fail,
}

impl Verdict {
    /// The verdict of a whole from those of its parts; a whole without parts is an error, not a pass.
    pub fn of_all(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        parts.into_iter().max().unwrap_or(Verdict::Error)
    }

    /// 0 pass, 1 fail, 3 unknown, 4 error.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Unknown => 3,
            Verdict::Error => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
            Verdict::Error => "error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, *};

    #[test]
    fn only_passes_make_a_pass() {
        assert_eq!(Verdict::of_all([Pass, Pass]), Pass);
        assert_eq!(Verdict::of_all([Pass, Unknown]), Unknown);
        assert_eq!(Verdict::of_all([Error, Unknown, Pass]), Error);
        assert_eq!(Verdict::of_all([Fail, Error, Unknown]), Fail);
        assert_eq!(Verdict::of_all([]), Error);
    }
}
