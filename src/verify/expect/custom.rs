//! A command of the user's own that judges the history.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::known::{Complaint, Known};
use super::{Expect, Finding};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;

/// More output is cut.
const MAX_OUTPUT: u64 = 64 << 10;

/// A command on this machine that judges the operations, which it reads from standard input, one JSON object a
/// line as in the journal. Exit code 0 is a pass, 1 a failure, 3 unknown; any other is an error. The first line of
/// its output is the message, the rest the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// What is expected, as reports name it.
    pub name: String,
    /// Run with `sh -c`, in the folder in which ovenproof was started.
    pub command: String,
    /// After this it is killed, and the verdict is unknown.
    #[serde(default = "one_minute")]
    pub timeout: Span,
}

fn one_minute() -> Span {
    Span(Duration::from_secs(60))
}

impl Expect for Custom {
    fn title(&self) -> String {
        self.name.clone()
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        match self.name.trim().is_empty() {
            true => Err(Complaint::new("an expectation of your own needs a name")),
            false => known.has_workload_for(&format!("`{}`", self.name)),
        }
    }

    fn judge(&self, facts: &Facts<'_>, budget: Budget) -> Finding {
        if let Some(why) = facts.too_little("operation", &facts.attempts(None)) {
            return Finding::new(Verdict::Error, why);
        }
        let mut input = Vec::new();
        for op in &facts.ops {
            // Writing to memory cannot fail, and a record is made of what JSON can hold.
            let _ = serde_json::to_writer(&mut input, op);
            input.push(b'\n');
        }
        match self.run(input, self.timeout.0.min(budget.time)) {
            Ok(finding) => finding,
            Err(error) => Finding::new(Verdict::Error, format!("the command could not be run: {error}")),
        }
    }
}

impl Custom {
    fn run(&self, input: Vec<u8>, limit: Duration) -> std::io::Result<Finding> {
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // A command that does not read its input to the end ends the writing; that is its own affair.
        let writing = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
        let reading = thread::spawn(move || read(stdout));
        let complaining = thread::spawn(move || read(stderr));
        let ended = wait(&child, limit)?;
        if !ended && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // What it had started ends with it; an error means that nothing is left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        let _ = writing.join();
        let said = reading.join().unwrap_or_default();
        let complaint = complaining.join().unwrap_or_default();
        if !ended {
            return Ok(
                Finding::new(Verdict::Unknown, format!("no verdict within {}", Span(limit))).detailed(said)
            );
        }
        let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
        let verdict = match status.code() {
            Some(0) => Verdict::Pass,
            Some(1) => Verdict::Fail,
            Some(3) => Verdict::Unknown,
            _ => Verdict::Error,
        };
        let message = match (verdict, first.trim()) {
            (Verdict::Error, _) => format!("the command ended with {status}: {}", complaint.trim()),
            (_, "") => format!("the command ended with {status}"),
            (_, first) => first.to_owned(),
        };
        Ok(Finding::new(verdict, message).detailed(rest.trim_end()))
    }
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // Half an answer is better than none. What is beyond the limit is read and forgotten, so that the
        // command can end.
        let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether it ended within `limit`.
fn wait(child: &Child, limit: Duration) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(true) };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return Ok(false) };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
