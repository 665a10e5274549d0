//! `resource.memory`: a process that does nothing takes the memory.
//!
//! Proof: what the kernel says is available, or that it had to kill.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Share;

/// Whom the kernel kills first when there is no memory left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// Any process but the load, as the kernel sees fit: most likely the service.
    #[default]
    Service,
    /// The load itself, so that this is a short attack of pressure and the service may live.
    Load,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub target: Target,
    /// How much of the memory is in use when the load has what it wants, all other processes counted in.
    pub fill: Share,
    /// Whom the kernel kills first when there is no memory left.
    #[serde(default)]
    pub victim: Victim,
}

const BEGIN: &str = r#"
available=$(memory MemAvailable)
take=$((available - $(memory MemTotal) * (100 - percent) / 100))
[ "$take" -gt 0 ] || fail "more than $percent% of its memory is in use already"
killed=$(grep -s '^oom_kill ' /proc/vmstat)
# What does not end with a line break, tail keeps until it has seen the end.
{ head -c "${take}K" /dev/zero; exec sleep 2147483647; } | {
  echo "$score" > /proc/self/oom_score_adj
  exec tail -n 1
} > /dev/null &
echo "$! $available ${killed#* }"
"#;

const LOOK: &str = r#"
killed=$(grep -s '^oom_kill ' /proc/vmstat)
if [ ! -e "/proc/$1" ]; then
  [ "${killed#* }" -gt "${3:-0}" ] || fail "the load has ended by itself"
  echo "the kernel has killed the load for want of memory"
  exit 0
fi
total=$(memory MemTotal) available=$(memory MemAvailable)
echo "$((available / 1024)) MiB of $((total / 1024)) are available, $(($2 / 1024)) were before"
[ "$available" -le $((total * (104 - percent) / 100)) ]
"#;

const GONE: &str = r#"
[ ! -e "/proc/$1" ] || fail "the load is still there"
echo "the load is gone, $(($(memory MemAvailable) / 1024)) MiB are available"
"#;

impl Documented for Memory {
    const ABOUT: About = About {
        details: "As when something in the same machine leaks. Up to some 90% the kernel gives up its caches and \
                  everything that reads files gets slow; near 100% it kills processes, and `victim` says whom.",
        example: "resource.memory: { target: { one: web }, fill: 90% }",
        local: "A process in the guest that holds as much as is missing to `fill` when it begins.",
        ec2: SAME,
        proof: "The memory that the guest's kernel says is available has fallen to what `fill` leaves, within 4% \
                of the whole, or the kernel has counted a kill for want of memory.",
        undo: leased!("The process is killed."),
    };
}

impl FaultKind for Memory {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("memory")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        match self.fill.0 < 0.1 {
            true => Err("less than 10% of the memory is never in use; give `fill` more".to_owned()),
            false => Ok(()),
        }
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let score = match self.victim {
            Victim::Service => "-1000",
            Victim::Load => "1000",
        };
        let vars = vec![("percent", format!("{:.0}", self.fill.0 * 100.0)), ("score", score.to_owned())];
        Held::new(scene, Work { vars, setup: "", begin: BEGIN, look: LOOK, end: "", gone: GONE })
    }
}
