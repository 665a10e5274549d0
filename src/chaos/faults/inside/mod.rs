//! What faults inside a guest share: a thing that is held there under a lease.
//!
//! A fault is four pieces of shell ([`Work`]): one begins it, one looks whether it has taken effect, one ends
//! it, one looks whether it is gone. What holds it is a keeper in the guest that sets its timer first, then
//! begins, and ends it when the time is up or when it is told to; so nothing depends on whether the tool
//! lives or the guest can still be reached. Everything lies in a folder of its own in memory below `/run`,
//! by which it is known, and nothing else is touched. A guest needs `sh`, coreutils and util-linux.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::instance::{expect_state, ready};
use super::{Back, Fault, FaultError, Scene};
use crate::fleet::InstanceState;
use crate::guest::{ExecOutput, Session, SessionError};

const COMMON: &str = include_str!("common.sh");
const KEEP: &str = include_str!("keep.sh");
const SET: &str = include_str!("set.sh");
const BEGIN_HEAD: &str = "echo $$ > \"$dir/group\"\necho 0 > /proc/$$/oom_score_adj\ncd \"$dir\" || exit 1\n";
const END_HEAD: &str = include_str!("end_head.sh");
const HEAL: &str = include_str!("heal.sh");
const GONE: &str = include_str!("gone.sh");

/// What a person reads of the undo of every fault in a guest.
macro_rules! leased {
    ($what:literal) => {
        concat!(
            $what,
            " A timer in the guest, set before the fault, does so twenty seconds after its end if the tool cannot. \
             It is looked at in the guest afterwards."
        )
    };
}
pub(super) use leased;

/// What every fault in a guest says of EC2.
pub(super) const SAME: super::Ec2 = super::Ec2::By("The same, over SSH.");

/// After the planned end, before the guest itself ends it: for a tool that is late, not for one that died.
const GRACE: Duration = Duration::from_secs(20);
/// For one question to a guest, which may be busy because we made it so.
const ASK: Duration = Duration::from_secs(90);
/// For one attempt at a question that may be asked twice: a guest that was reset meanwhile lets the connection
/// hang.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Pause between two looks while there is no proof yet.
const LOOK: Duration = Duration::from_millis(300);
/// Where no here-document of ours ends by itself.
const MARK: &str = "OVENPROOF_END_OF_FILE";

/// What a fault does in a guest. All pieces know the functions of `common.sh` and the variables, and run in
/// the fault's folder but for `gone`, when that is no more.
pub(super) struct Work {
    pub(super) vars: Vec<(&'static str, String)>,
    /// Functions that the other pieces use.
    pub(super) setup: &'static str,
    /// Begins it and prints one line that `look` and `gone` get as arguments. What it leaves running is ended
    /// with it. Fails, with the reason, if it cannot be.
    pub(super) begin: &'static str,
    /// Succeeds when it has taken effect; prints how that is seen, or what is seen instead.
    pub(super) look: &'static str,
    /// Undoes what is not undone by the end of its processes. May run twice.
    pub(super) end: &'static str,
    /// Succeeds when nothing is left; prints how that is seen, or fails with what is left.
    pub(super) gone: &'static str,
}

/// A fault in some guests.
pub(super) struct Held {
    scene: Scene,
    work: Arc<Work>,
    guests: Vec<Guest>,
}

/// One guest, and what was seen in it.
struct Guest {
    name: String,
    session: Arc<dyn Session>,
    /// The boot id, known when it began.
    boot: String,
    /// What `begin` printed.
    before: String,
    /// What the last look saw.
    seen: String,
}

impl Held {
    pub(super) fn new(scene: Scene, work: Work) -> Box<Self> {
        let guests = scene.targets.iter().map(|name| Guest {
            name: name.clone(),
            session: scene.fleet.session(name),
            boot: String::new(),
            before: String::new(),
            seen: String::new(),
        });
        Box::new(Held { guests: guests.collect(), work: Arc::new(work), scene })
    }

    /// What every script begins with.
    fn head(&self, guest: &Guest) -> Result<String, FaultError> {
        let lease = self.scene.lasts.unwrap_or_default() + GRACE;
        let mut head = String::new();
        let given = [
            ("id", self.scene.fault.clone()),
            ("dir", format!("/run/ovenproof/{}", self.scene.fault)),
            ("lease", lease.as_secs().to_string()),
            ("boot", guest.boot.clone()),
        ];
        // Known to be there, so that a typing error in a script is no empty word.
        let unset = ["service", "process"].map(|name| (name, String::new()));
        for (name, value) in unset.iter().chain(&given).chain(&self.work.vars) {
            let value = shlex::try_quote(value).map_err(|error| FaultError::Instance(error.to_string()))?;
            head.push_str(&format!("{name}={value}\n"));
        }
        Ok(head + COMMON + self.work.setup)
    }

    /// A script for a guest, with a first line that says what it is.
    fn script(&self, what: &str, guest: &Guest, parts: &[&str]) -> Result<String, FaultError> {
        Ok(format!("# ovenproof {} {what}\n{}{}", self.scene.fault, self.head(guest)?, parts.concat()))
    }

    /// Puts the pieces into the guest, sets the timer and begins.
    fn set(&self, guest: &Guest) -> Result<String, FaultError> {
        let head = self.head(guest)?;
        let folder = format!("/run/ovenproof/{}", self.scene.fault);
        let known = format!(". \"{folder}/known\"\n");
        let files = [
            ("known", head),
            ("begin", [&known, BEGIN_HEAD, self.work.begin].concat()),
            ("end", [&known, END_HEAD, self.work.end, "\ncd / && rm -rf \"$dir\"\n"].concat()),
            ("keep", [&known, KEEP].concat()),
        ];
        let mut script =
            format!("# ovenproof {} begin\numask 077\nmkdir -p /run/ovenproof\n", self.scene.fault);
        script.push_str(&format!("mkdir \"{folder}\" || exit 1\n"));
        for (name, body) in files {
            script.push_str(&format!("cat > \"{folder}/{name}\" <<'{MARK}'\n{body}\n{MARK}\n"));
        }
        Ok(script + &known + SET)
    }

    /// Runs the script that `make` writes in every guest at once; what came of each, in order of the guests. One
    /// that may run twice is tried again when the connection broke, and when a machine that runs was slow to take one.
    async fn everywhere(
        &self,
        twice: bool,
        make: impl Fn(&Guest) -> Result<String, FaultError>,
    ) -> Result<Vec<Result<ExecOutput, SessionError>>, FaultError> {
        let deadline = Instant::now() + ASK;
        let mut asking = JoinSet::new();
        for (index, guest) in self.guests.iter().enumerate() {
            let (script, session) = (make(guest)?, Arc::clone(&guest.session));
            let (fleet, name) = (Arc::clone(&self.scene.fleet), guest.name.clone());
            asking.spawn(async move {
                loop {
                    let limit = if twice { deadline.min(Instant::now() + ATTEMPT) } else { deadline };
                    let answer = session.exec(&script, limit).await;
                    let again = match &answer {
                        Err(SessionError::TimedOut | SessionError::Lost(_)) => true,
                        Err(SessionError::Connect(_)) if Instant::now() >= limit => {
                            let status = fleet.status(&name).await;
                            status.is_ok_and(|status| status.state == InstanceState::Running)
                        }
                        _ => false,
                    };
                    if !(twice && again && Instant::now() < deadline) {
                        return (index, answer);
                    }
                }
            });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Whether the whole instance is down by another fault, which ended this one.
    async fn is_off(&self, guest: &Guest) -> Result<bool, FaultError> {
        Ok(self.scene.fleet.status(&guest.name).await?.state == InstanceState::Stopped)
    }
}

/// Refuses a path that would mean something else in each folder.
pub(super) fn absolute(path: &str) -> Result<(), String> {
    match path.starts_with('/') && !path.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(format!("`{path}` is not an absolute path")),
    }
}

/// What a script said, or why it failed.
fn said(guest: &Guest, answer: Result<ExecOutput, SessionError>) -> Result<String, FaultError> {
    let output = answer.map_err(|error| FaultError::Instance(format!("{}: {error}", guest.name)))?;
    if output.success() {
        return Ok(output.text());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let reason = if complaint.is_empty() { output.status.to_string() } else { complaint };
    Err(FaultError::Instance(format!("{}: {reason}", guest.name)))
}

#[async_trait]
impl Fault for Held {
    async fn inject(&mut self) -> Result<(), FaultError> {
        for guest in &self.guests {
            expect_state(&self.scene, &guest.name, InstanceState::Running).await?;
        }
        let answers = self.everywhere(false, |guest| self.set(guest)).await?;
        let mut result = Ok(());
        for (guest, answer) in self.guests.iter_mut().zip(answers) {
            match said(guest, answer) {
                Ok(text) => {
                    let (boot, before) = text.split_once('\n').unwrap_or((&text, ""));
                    (guest.boot, guest.before) = (boot.to_owned(), before.trim().replace('\n', " "));
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn prove(&mut self) -> Result<String, FaultError> {
        loop {
            let look = |guest: &Guest| {
                let before = &guest.before;
                let lost = "cd \"$dir\" || fail \"it has ended by itself\"";
                self.script("look", guest, &[lost, &format!("\nset -- {before}\n"), self.work.look])
            };
            let answers = self.everywhere(true, look).await?;
            let mut proven = true;
            for (guest, answer) in self.guests.iter_mut().zip(answers) {
                // A guest that does not answer now may do so at the next look.
                let Ok(output) = answer else {
                    guest.seen = "it does not answer".to_owned();
                    proven = false;
                    continue;
                };
                guest.seen = output.text();
                if !output.success() {
                    guest.seen.push_str(String::from_utf8_lossy(&output.stderr).trim());
                    proven = false;
                }
            }
            if proven {
                return Ok(self.seen());
            }
            sleep(LOOK).await;
        }
    }

    fn seen(&self) -> String {
        let seen = self.guests.iter().filter(|guest| !guest.seen.is_empty());
        seen.map(|guest| format!("{}: {}", guest.name, guest.seen)).collect::<Vec<_>>().join("; ")
    }

    async fn heal(&mut self) -> Result<(), FaultError> {
        let answers = self.everywhere(true, |guest| self.script("heal", guest, &[HEAL])).await?;
        let mut result = Ok(());
        for (guest, answer) in self.guests.iter().zip(answers) {
            if let Err(error) = said(guest, answer)
                && !self.is_off(guest).await?
            {
                result = result.and(Err(error));
            }
        }
        result
    }

    async fn verify_healed(&mut self) -> Result<String, FaultError> {
        let gone = |guest: &Guest| {
            let before = &guest.before;
            self.script("gone", guest, &[GONE, &format!("set -- {before}\n"), self.work.gone])
        };
        let answers = self.everywhere(true, gone).await?;
        let mut evidence = Vec::new();
        for (guest, answer) in self.guests.iter().zip(answers) {
            evidence.push(match said(guest, answer) {
                Ok(text) => format!("{}: {text}", guest.name),
                Err(_) if self.is_off(guest).await? => format!("{} is off, which ended it", guest.name),
                Err(error) => return Err(error),
            });
        }
        Ok(evidence.join("; "))
    }

    async fn back(&mut self) -> Result<Back, FaultError> {
        let mut up = Vec::new();
        for guest in &self.guests {
            // Whoever took a whole instance waits for it.
            if self.scene.fleet.status(&guest.name).await?.state == InstanceState::Running {
                up.push(guest.name.clone());
            }
        }
        match ready(&self.scene, &up).await {
            Err(FaultError::Fleet(crate::fleet::FleetError::Start { .. })) => Ok(Back::Ready(Vec::new())),
            Ok(Back::Ready(_)) => Ok(Back::Ready(Vec::new())),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::END_HEAD;

    #[test]
    fn the_end_kills_all_that_the_fault_has_left_running() {
        let dir = tempfile::tempdir().unwrap();
        let sh = |script: &str| {
            let output = Command::new("sh").arg("-c").arg(script).env("dir", dir.path()).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let begin = "setsid sh -c 'echo $$ > \"$dir/group\"; sleep 1000 & echo $!' < /dev/null 2> /dev/null";
        // What is left keeps no pipe of ours open.
        let left = sh(&begin.replace("sleep 1000 &", "sleep 1000 > /dev/null &"));
        let alive = format!("test -e /proc/{} && echo alive", left.trim());
        assert_eq!(sh(&alive).trim(), "alive");
        assert_eq!(sh(&format!("{END_HEAD}\necho ended")).trim(), "ended");
        assert_eq!(sh(&alive), "");
    }
}
