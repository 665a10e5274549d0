//! `instance.panic`: the kernel crashes.
//!
//! Proof: its last words on the console. Afterwards it is another boot, for the provider and for the guest.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::instance::{booted_anew, bring_back, expect_state, rebooted};
use super::{About, Back, Documented, Ec2, Fault, FaultError, FaultKind, Scene};
use crate::chaos::target::Target;
use crate::fleet::{Capability, InstanceAction, InstanceState, InstanceStatus};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Panic {
    pub target: Target,
}

impl Documented for Panic {
    const ABOUT: About = About {
        details: "As with a bug in a driver: nothing is shut down. Whether the machine then boots again by itself or \
                  hangs is up to the image (`kernel.panic`), and is said in the journal.",
        example: "instance.panic: { target: { one: web } }",
        local: "`c` is written to /proc/sysrq-trigger in the guest.",
        ec2: Ec2::By("The same, over SSH."),
        proof: "The guest's console says that its kernel panicked; afterwards the provider counts another boot, and the \
                guest has another boot id.",
        undo: "A machine that hangs is reset. If its kernel would wait forever, it is told before the crash to boot \
               again soon after the end, should the tool have died.",
    };
}

impl FaultKind for Panic {
    fn target(&self) -> &Target {
        &self.target
    }

    fn needs(&self) -> Capability {
        Capability::Reboot
    }

    fn arm(&self, scene: Scene) -> Box<dyn Fault> {
        Box::new(Crash { scene, crashed: Vec::new() })
    }
}

/// For the one command that crashes the guest.
const ASK: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(300);
/// After the planned end, a guest that would hang forever boots by itself.
const GRACE: Duration = Duration::from_secs(30);
const LAST_WORDS: &str = "Kernel panic";

struct Crash {
    scene: Scene,
    crashed: Vec<Crashed>,
}

/// An instance just before its crash.
struct Crashed {
    name: String,
    status: InstanceStatus,
    /// Bytes that its console had printed.
    console: usize,
    /// How long its kernel waits until it boots again, as the image has it; 0: forever.
    waits: String,
}

#[async_trait]
impl Fault for Crash {
    async fn inject(&mut self) -> Result<(), FaultError> {
        for name in &self.scene.targets {
            let status = expect_state(&self.scene, name, InstanceState::Running).await?;
            let console = self.scene.fleet.console(name).await?.len();
            self.crashed.push(Crashed { name: name.clone(), status, console, waits: String::new() });
        }
        let limit = (self.scene.lasts.unwrap_or_default() + GRACE).as_secs();
        // A moment later, so that the answer still gets out.
        let command = format!(
            "[ -w /proc/sysrq-trigger ] || {{ echo 'its kernel has no sysrq' >&2; exit 1; }}\n\
             cat /proc/sys/kernel/panic\n\
             [ \"$(cat /proc/sys/kernel/panic)\" -ne 0 ] || echo {limit} > /proc/sys/kernel/panic\n\
             setsid sh -c 'sleep 0.3; echo c > /proc/sysrq-trigger' > /dev/null 2>&1 < /dev/null &"
        );
        for crashed in &mut self.crashed {
            let session = self.scene.fleet.session(&crashed.name);
            let failed = |why: String| FaultError::Instance(format!("{}: {why}", crashed.name));
            let output = session.exec(&command, Instant::now() + ASK).await;
            let output = output.map_err(|error| failed(error.to_string()))?;
            if !output.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            crashed.waits = output.text();
        }
        Ok(())
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        for crashed in &self.crashed {
            loop {
                let console = self.scene.fleet.console(&crashed.name).await?;
                let new = String::from_utf8_lossy(console.get(crashed.console..).unwrap_or_default());
                if new.contains(LAST_WORDS) {
                    break;
                }
                sleep(LOOK).await;
            }
        }
        Ok(format!("the console of {} says `{LAST_WORDS}`", self.scene.targets.join(", ")))
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        let mut result = Ok(());
        // Only those that were told to crash.
        let told = self.crashed.iter().filter(|crashed| !crashed.waits.is_empty());
        for Crashed { name, status: before, .. } in told {
            let healed = match self.scene.fleet.status(name).await {
                Ok(now) if now.state != InstanceState::Running || now.boots > before.boots => Ok(()),
                Ok(_) => self.scene.fleet.act(name, InstanceAction::Reboot).await,
                Err(error) => Err(error),
            };
            result = result.and(healed.map_err(FaultError::from));
        }
        result.and(bring_back(&self.scene, InstanceState::Stopped, InstanceAction::Start).await)
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        let mut evidence = Vec::new();
        for Crashed { name, status, waits, .. } in &self.crashed {
            let boot = rebooted(&self.scene, name, status).await?;
            evidence.push(match waits.as_str() {
                "0" => format!("{boot}: its kernel would have hung (kernel.panic = 0)"),
                waits => format!("{boot}: its kernel boots again by itself (kernel.panic = {waits})"),
            });
        }
        Ok(evidence.join("; "))
    }

    async fn back(&mut self) -> Result<Back, FaultError> {
        booted_anew(&self.scene).await
    }
}
