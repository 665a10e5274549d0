//! The exec client: operations that are commands, in the instance or on this machine.
//!
//! A command that ran to its end tells by its exit code what became of the operation; one that did not, may
//! have done anything.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::template::{Templates, variables};
use super::{Load, with_operations};
use crate::diagnostic::{BadFile, Located};
use crate::guest::{Session, SessionError};
use crate::verify::workload::client::{Answer, Client, ClientKind, Site};
use crate::verify::workload::operation::{Request, Shape};
use crate::verify::workload::{WorkloadKind, WorkloadSpec};

/// Longer output is not an answer.
const MAX_OUTPUT: usize = 1 << 20;

with_operations! {
    /// A service that is used by commands.
    ///
    /// Commands are Tera templates with the variables `key`, `node`, and those of the operation: `value`; for
    /// `cas` also `expected`; for `transfer` `from`, `to` and `amount`; for the `setup` of a bank `accounts` and
    /// `balance`. The filter `quote` makes text one word of a shell.
    pub struct ExecClientSpec of ExecOperation {
        /// Where the commands run.
        #[serde(default)]
        pub on: Place,
        /// Exit codes by which a command promises that it did nothing. Any other than 0 leaves open whether the
        /// operation happened.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub fail_exit: Vec<i32>,
    }
}

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the instance, over the management path, which faults never touch.
    #[default]
    Node,
    /// On this machine, in the folder in which ovenproof was started.
    Host,
}

/// How one operation is done: exit code 0 acknowledges it, and standard output is its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecOperation {
    /// Run with `sh -c`.
    pub command: Located<String>,
    /// Exit codes that say that what was asked for does not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_exit: Vec<i32>,
    /// Exit codes that say that `cas` found something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatch_exit: Vec<i32>,
}

struct ExecKind {
    shared: Arc<Shared>,
}

struct Shared {
    spec: ExecClientSpec,
    templates: Templates,
}

impl Load for ExecClientSpec {
    fn load(&self, workload: &WorkloadSpec, path: &Path, text: &str) -> Result<Arc<dyn ClientKind>, BadFile> {
        let mut templates = Templates::new();
        let kind = workload.kind.kind();
        let mix = workload.mix.as_ref().map(|mix| &mix.value);
        for operation in kind.operations(mix).iter().chain([&kind.setup()]) {
            if let Some(how) = self.operation(&operation.f) {
                templates.add(&operation.f, &how.command, operation, path, text)?;
            }
        }
        Ok(Arc::new(ExecKind { shared: Arc::new(Shared { spec: self.clone(), templates }) }))
    }
}

impl ClientKind for ExecKind {
    fn can(&self, _: WorkloadKind, f: &str) -> bool {
        self.shared.spec.operation(f).is_some()
    }

    fn client(&self, _: WorkloadKind) -> Box<dyn Client> {
        Box::new(ExecClient { shared: Arc::clone(&self.shared), sessions: HashMap::new() })
    }
}

struct ExecClient {
    shared: Arc<Shared>,
    /// One of its own for each node: commands on a session wait for each other.
    sessions: HashMap<String, Arc<dyn Session>>,
}

/// How a command ended.
enum End {
    /// It was never started.
    NotStarted(String),
    /// It was started, and nobody saw its end.
    Unseen(String),
    Exited {
        code: Option<i32>,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
}

#[async_trait]
impl Client for ExecClient {
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer {
        let shared = Arc::clone(&self.shared);
        let Some(how) = shared.spec.operation(request.f()) else {
            return Answer::fail(format!("the client has no {}", request.f()));
        };
        let command = match shared.templates.render(request.f(), &variables(request, &site.here.node)) {
            Ok(command) => command,
            Err(error) => return Answer::fail(format!("template: {error}")),
        };
        let end = match shared.spec.on {
            Place::Host => on_host(&command, deadline).await,
            Place::Node => self.on_node(site, &command, deadline).await,
        };
        match end {
            End::NotStarted(why) => Answer::fail(why),
            End::Unseen(why) => Answer::lost(request, why),
            End::Exited { code, stdout, stderr } => {
                how.answer(&shared.spec.fail_exit, request, code, &stdout, &stderr)
            }
        }
    }
}

impl ExecClient {
    async fn on_node(&mut self, site: Site<'_>, command: &str, deadline: Instant) -> End {
        let session =
            self.sessions.entry(site.here.node.clone()).or_insert_with(|| (site.here.further)()).clone();
        match session.exec(command, deadline).await {
            Ok(output) => {
                let code = match output.status {
                    crate::guest::ExitStatus::Code(code) => Some(code),
                    crate::guest::ExitStatus::Signal(_) => None,
                };
                End::Exited { code, stdout: output.stdout, stderr: output.stderr }
            }
            Err(error @ (SessionError::Connect(_) | SessionError::HostKey)) => {
                End::NotStarted(error.to_string())
            }
            Err(error) => End::Unseen(error.to_string()),
        }
    }
}

/// The command's whole process group ends with the deadline.
async fn on_host(command: &str, deadline: Instant) -> End {
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return End::NotStarted(format!("sh: {error}")),
    };
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    match timeout_at(deadline, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            End::Exited { code: output.status.code(), stdout: output.stdout, stderr: output.stderr }
        }
        Ok(Err(error)) => End::Unseen(error.to_string()),
        Err(_) => {
            // What the shell had started; an error means that nothing is left of it.
            let _ =
                group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
            End::Unseen("no answer before the deadline".to_owned())
        }
    }
}

impl ExecOperation {
    fn answer(
        &self,
        fail_exit: &[i32],
        request: &Request,
        code: Option<i32>,
        stdout: &[u8],
        stderr: &[u8],
    ) -> Answer {
        let shape = request.operation.answer;
        let complaint = || {
            let text = String::from_utf8_lossy(stderr);
            let line: String = text.trim().lines().next().unwrap_or_default().chars().take(200).collect();
            match code {
                Some(code) => format!("exit code {code}: {line}"),
                None => format!("killed by a signal: {line}"),
            }
        };
        let read = match code {
            Some(0) if stdout.len() > MAX_OUTPUT => {
                Err(format!("the output is longer than {MAX_OUTPUT} bytes"))
            }
            Some(0) if shape == Shape::Flag => Ok(json!(true)),
            Some(0) => shape.of_text(&String::from_utf8_lossy(stdout)),
            Some(code) if shape == Shape::Flag && self.mismatch_exit.contains(&code) => Ok(json!(false)),
            Some(code) if self.absent_exit.contains(&code) && shape != Shape::Nothing => shape.of_json(None),
            Some(code) if fail_exit.contains(&code) => return Answer::fail(complaint()),
            _ => Err(complaint()),
        };
        match read {
            // A command that finds nothing prints nothing.
            Ok(serde_json::Value::String(text)) if text.is_empty() => Answer::ok(serde_json::Value::Null),
            Ok(output) => Answer::ok(output),
            Err(why) => Answer::lost(request, why),
        }
    }
}
