//! `clock.strobe`: the time of day jumps to and fro.
//!
//! Proof: readings of the guest's clock that are apart by what it jumps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work};
use super::{About, Documented, Fault, FaultKind, Scene, Takes, clock};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockStrobe {
    pub target: Target,
    /// How far it jumps ahead of the true time, at least 100ms.
    pub by: Span,
    /// How long it stays ahead, and how long right, in turn; at least 50ms.
    #[serde(default = "half_a_second")]
    pub every: Span,
}

fn half_a_second() -> Span {
    Span(Duration::from_millis(500))
}

const SHORTEST: Duration = Duration::from_millis(50);

const BEGIN: &str = r#"
offset=$(offset) || exit 1
echo "$offset" > offset
stopped=$(leave_clock)
set_clock "$offset" || exit 1
while set_clock $((offset + by)); do sleep "$every"; set_clock "$offset"; sleep "$every"; done > /dev/null 2>&1 &
echo "$offset" $stopped
"#;

const LOOK: &str = r#"
least= most=
for reading in 1 2 3 4 5 6 7 8 9 10 11 12; do
  now=$(offset) || exit 1
  now=$((now - $1))
  [ -n "$least" ] && [ "$now" -ge "$least" ] || least=$now
  [ -n "$most" ] && [ "$now" -le "$most" ] || most=$now
  sleep "$pause"
done
echo "its clock was off by $least ms and by $most ms"
[ $((most - least)) -ge $((by / 2)) ]
"#;

impl Documented for ClockStrobe {
    const ABOUT: About = About {
        details: "As with two time servers that disagree: whoever measures a duration by the time of day gets \
                  durations below nothing and beyond all limits.",
        example: "clock.strobe: { target: { one: web }, by: 5s, every: 200ms }",
        local: "A loop in the guest sets its clock; what keeps it (systemd-timesyncd, chrony, ntpd) is stopped \
                meanwhile.",
        ec2: SAME,
        proof: "Of twelve readings of the guest's clock, two are apart by at least half of `by` more than by its \
                clock that nobody can set.",
        undo: clock::UNDO,
    };
}

impl FaultKind for ClockStrobe {
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
        if self.every.0 < SHORTEST {
            return Err(format!("a clock cannot be set more often than every {}", Span(SHORTEST)));
        }
        clock::check(self.by)
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let seconds = |span: Duration| format!("{:.3}", span.as_secs_f64());
        let vars = vec![
            ("by", self.by.0.as_millis().to_string()),
            ("every", seconds(self.every.0)),
            // Never in step with the jumps.
            ("pause", seconds(self.every.0.min(Duration::from_secs(1)) * 3 / 8)),
        ];
        Held::new(
            scene,
            Work { vars, setup: "", begin: BEGIN, look: LOOK, end: clock::END, gone: clock::GONE },
        )
    }
}
