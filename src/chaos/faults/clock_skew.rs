//! `clock.skew`: the time of day is wrong.
//!
//! Proof: the guest's clock against the guest's own clock that nobody sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work};
use super::{About, Documented, Fault, FaultKind, Scene, Takes, clock};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Span;

/// To which side the clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It shows a time that is still to come.
    #[default]
    Forward,
    /// It shows a time that has passed.
    Back,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockSkew {
    pub target: Target,
    /// How wrong the clock is, at least 100ms.
    pub by: Span,
    /// To which side the clock is wrong.
    #[serde(default)]
    pub direction: Direction,
}

const BEGIN: &str = r#"
offset=$(offset) || exit 1
echo "$offset" > offset
stopped=$(leave_clock)
set_clock $((offset + sign * by)) || exit 1
echo "$offset" $stopped
"#;

const LOOK: &str = r#"
now=$(offset) || exit 1
off=$((now - $1)) wrong=$((now - $1 - sign * by))
echo "its clock is off by $off ms"
[ "${wrong#-}" -le $((by / 4)) ]
"#;

impl Documented for ClockSkew {
    const ABOUT: About = About {
        details: "As with a wrong hardware clock or a time server that lies: certificates are not yet or no longer \
                  valid, leases end too early or too late, the last write is not the last. It jumps when the fault \
                  begins and back when it ends; clocks that only count are not touched.",
        example: "clock.skew: { target: { one: web }, by: 2h, direction: back }",
        local: "The clock is set in the guest; what keeps it (systemd-timesyncd, chrony, ntpd) is stopped meanwhile.",
        ec2: SAME,
        proof: "The guest's clock has moved by that much, within a quarter, against its clock that nobody can set.",
        undo: clock::UNDO,
    };
}

impl FaultKind for ClockSkew {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("clock")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        clock::check(self.by)
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let sign = match self.direction {
            Direction::Forward => "1",
            Direction::Back => "-1",
        };
        let vars = vec![("by", self.by.0.as_millis().to_string()), ("sign", sign.to_owned())];
        Held::new(
            scene,
            Work { vars, setup: "", begin: BEGIN, look: LOOK, end: clock::END, gone: clock::GONE },
        )
    }
}
