//! `resource.cpu`: processes that have nothing to do take the CPU.
//!
//! Proof: the CPU time that the guest gave them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Share;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    pub target: Target,
    /// How much of each core is asked for; other processes get their share of it as the scheduler sees fit.
    #[serde(default = "all")]
    pub load: Share,
    /// On how many cores; without it, on all that the instance has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u16>,
}

fn all() -> Share {
    Share(1.0)
}

const BEGIN: &str = r#"
: "${cores:=$(nproc)}"
[ "$cores" -le "$(nproc)" ] || fail "it has only $(nproc) cores, not $cores"
hogs=
for core in $(seq "$cores"); do
  (while :; do :; done) &
  hogs="$hogs $!"
done
echo "$cores$hogs"
[ "$percent" -ge 100 ] || while kill -CONT $hogs; do
  sleep "0.$(printf %03d $((percent * 5)))"
  kill -STOP $hogs
  sleep "0.$(printf %03d $((500 - percent * 5)))"
done > /dev/null 2>&1 &
"#;

const LOOK: &str = r#"
cores=$1 && shift
used() { sum=0; for hog; do examine "$hog" && sum=$((sum + used)); done; echo "$sum"; }
used=$(used "$@") at=$(ticks)
sleep 1
took=$((($(used "$@") - used) * 100 / ($(ticks) - at)))
echo "the load got $took% of a core for a second, $((cores * percent))% were asked for"
# A third: the service and the guest's own work want their share.
[ "$((took * 3))" -ge "$((cores * percent))" ]
"#;

const GONE: &str = "echo 'the load is gone'";

impl Documented for Cpu {
    const ABOUT: About = About {
        details: "As when a neighbour, a backup or a loop takes the CPU: what the service does takes longer, \
                  and time limits are met that never were before.",
        example: "resource.cpu: { target: { one: web }, load: 80% }",
        local: "Busy loops in the guest, as ordinary as the service's own processes; a load below 100% stops \
                them for a part of every half second.",
        ec2: SAME,
        proof: "In one second the guest gives the loops at least a third of the CPU time that was asked for.",
        undo: leased!("The loops are killed."),
    };
}

impl FaultKind for Cpu {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("CPU")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        if self.load.0 < 0.01 || self.cores == Some(0) {
            return Err("a load of nothing changes nothing".to_owned());
        }
        Ok(())
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let vars = vec![
            ("cores", self.cores.map(|cores| cores.to_string()).unwrap_or_default()),
            ("percent", format!("{:.0}", self.load.0 * 100.0)),
        ];
        Held::new(scene, Work { vars, setup: "", begin: BEGIN, look: LOOK, end: "", gone: GONE })
    }
}
