//! What every kind of client must be able to do: one operation on one key, tried once.

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use super::WorkloadKind;
use super::operation::Request;
use crate::journal::OpOutcome;
use crate::verify::Target;

/// How an operation ended, as the journal holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) outcome: OpOutcome,
    /// What the operation's shape says; null for one that only acknowledges.
    pub(super) output: Value,
    pub(super) detail: String,
    /// The node that was asked, when the client chose another one than it was told.
    pub(super) node: Option<String>,
}

impl Answer {
    pub(super) fn ok(output: Value) -> Self {
        Answer { outcome: OpOutcome::Ok, output, detail: String::new(), node: None }
    }

    /// It certainly did not happen.
    pub(super) fn fail(detail: impl Into<String>) -> Self {
        Answer { outcome: OpOutcome::Fail, output: Value::Null, detail: detail.into(), node: None }
    }

    /// It may have reached the service, and its answer never came or makes no sense: it may have happened.
    /// What only looks changed nothing, so it may as well not have.
    pub(super) fn lost(request: &Request, detail: impl Into<String>) -> Self {
        match request.operation.looks {
            true => Answer::fail(detail),
            false => Answer { outcome: OpOutcome::Indeterminate, ..Answer::fail(detail) },
        }
    }

    #[must_use]
    pub(super) fn from(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }
}

/// The nodes as a client sees them.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    /// The node to ask.
    pub(super) here: &'a Target,
    /// Every node of the workload's role, `here` among them.
    pub(super) role: &'a [Target],
    /// Every node of the fleet.
    pub(super) all: &'a [Target],
}

/// A way to talk to the service, made from the scenario once; adding one is a file beside the others and a
/// line in their list.
pub(super) trait ClientKind: Send + Sync {
    /// Whether it can do the operation `f` of `kind`; `setup` is one of them.
    fn can(&self, kind: WorkloadKind, f: &str) -> bool;

    /// A client without a connection.
    fn client(&self, kind: WorkloadKind) -> Box<dyn Client>;
}

/// One client; it keeps its connection from operation to operation as long as it is good.
#[async_trait]
pub(super) trait Client: Send {
    /// Tries once, before `deadline`. A client that was connected to another node connects anew.
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer;
}
