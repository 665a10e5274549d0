//! `process.kill`: processes end, once or again and again.
//!
//! Proof: they are gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{Held, SAME, Work, leased};
use super::processes::Which;
use super::{About, Documented, Fault, FaultKind, Lasts, Scene, Takes};
use crate::chaos::target::{Roster, Target};
use crate::fleet::Capability;
use crate::units::Span;

/// A signal by which a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// It ends at once and learns nothing of it.
    #[default]
    Kill,
    /// It is asked to end, and may tidy up.
    Term,
    /// As by Ctrl-C.
    Int,
    /// It ends and leaves a core dump where that is allowed.
    Quit,
    /// As after a failed assertion.
    Abrt,
    /// As after access to memory that is not its own.
    Segv,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessKill {
    pub target: Target,
    /// Which processes: `{ name: NAME }` or `{ service: UNIT }`.
    pub which: Which,
    /// What ends them.
    #[serde(default)]
    pub signal: Signal,
    /// Again and again with this pause, for as long as the step's `for` says; without it, once, and the step has
    /// no `for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

const BEGIN: &str = r#"
found=$(processes)
[ -n "$found" ] || fail "there is no process of $whose"
for one in $found; do kill -s "$signal" "${one%:*}" || exit 1; done
echo $found
[ -z "$every" ] || while sleep "$every"; do
  for one in $(processes); do kill -s "$signal" "${one%:*}"; done
done > /dev/null 2>&1 &
"#;

const LOOK: &str = r#"
for one; do ! alive "$one" || { echo "process ${one%:*} of $whose lives on"; exit 1; }; done
echo "of $whose, $# ended by SIG$signal, and there are $(processes | wc -l) now"
"#;

const GONE: &str = "echo 'nobody is killed any more'";

impl Documented for ProcessKill {
    const ABOUT: About = About {
        details: "As when a process crashes or runs into a limit: whether it is started again, and how soon, is up \
                  to the image. With `every` it crashes again and again, until its service manager gives up on it.",
        example: "process.kill: { target: { one: web }, which: { service: nginx } }",
        local: "A signal, sent in the guest.",
        ec2: SAME,
        proof: "Every process that got the signal is gone from the guest.",
        undo: leased!(
            "Once, it is over when they are gone; the loop of `every` is killed. Whoever should have been \
                       started again must be ready."
        ),
    };
}

impl FaultKind for ProcessKill {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Session
    }

    fn lasts(&self) -> Lasts {
        match self.every {
            Some(_) => Lasts::While,
            None => Lasts::Once,
        }
    }

    fn takes(&self) -> Takes {
        Takes::Part("processes")
    }

    fn check(&self, _: &[String], _: &Roster) -> Result<(), String> {
        if self.every.is_some_and(|every| every.0.is_zero()) {
            return Err("between two kills there must be a pause".to_owned());
        }
        self.which.check()
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        let signal = match self.signal {
            Signal::Kill => "KILL",
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Abrt => "ABRT",
            Signal::Segv => "SEGV",
        };
        let mut vars = self.which.vars();
        vars.push(("signal", signal.to_owned()));
        let pause = self.every.map(|every| format!("{:.3}", every.0.as_secs_f64()));
        vars.push(("every", pause.unwrap_or_default()));
        Held::new(scene, Work { vars, setup: "", begin: BEGIN, look: LOOK, end: "", gone: GONE })
    }
}
