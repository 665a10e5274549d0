//! `process.pause`: processes stand still while the rest of the instance goes on.
//!
//! Proof: their state in the guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::processes::Which;
use super::{About, Documented, Fault, FaultKind, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessPause {
    pub target: Target,
    /// Which processes: `{ name: NAME }` or `{ service: UNIT }`. Those that start later are not paused.
    pub which: Which,
}

const BEGIN: &str = r#"
found=$(processes)
[ -n "$found" ] || fail "there is no process of $whose"
echo $found > paused
for one in $found; do kill -s STOP "${one%:*}" || exit 1; done
echo $found
"#;

const LOOK: &str = r#"
for one; do
  alive "$one" || { echo "process ${one%:*} of $whose has ended"; exit 1; }
  case $state in [Tt]) ;; *) echo "process ${one%:*} of $whose is in state $state"; exit 1 ;; esac
done
echo "of $whose, $# stand still (state T)"
"#;

const END: &str = r#"
[ ! -e paused ] || for one in $(cat paused); do ! alive "$one" || kill -s CONT "${one%:*}"; done
"#;

const GONE: &str = r#"
for one; do
  alive "$one" || continue
  case $state in [Tt]) fail "process ${one%:*} of $whose still stands still" ;; esac
done
echo "nothing of $whose stands still"
"#;

impl Documented for ProcessPause {
    const ABOUT: About = About {
        details: "As with a garbage collector that stops the world, or a process that waits for a disk that does not \
                  answer: connections stay open and are accepted by the kernel, and nobody answers. Afterwards the \
                  process goes on with what it believed then.",
        example: "process.pause: { target: { one: web }, which: { service: nginx } }",
        local: "SIGSTOP and SIGCONT, sent in the guest.",
        ec2: SAME,
        proof: "The guest's kernel says that every one of them is stopped (state T).",
        undo: leased!("SIGCONT, to those that it stopped."),
    };
}

impl FaultKind for ProcessPause {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn takes(&self) -> Takes {
        Takes::Part("processes")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        self.which.check()
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let vars = self.which.vars();
        Held::new(scene, Work { vars, setup: "", begin: BEGIN, look: LOOK, end: END, gone: GONE })
    }
}
