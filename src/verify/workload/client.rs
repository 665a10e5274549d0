//! What every kind of client must be able to do: one operation on one register of one node.

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::guest::Dialer;
use crate::journal::OpOutcome;

/// An operation on a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RegisterOp {
    Read,
    Write(i64),
    /// Sets `value` if the register holds `expected`.
    Cas {
        expected: i64,
        value: i64,
    },
}

impl RegisterOp {
    /// The operation's name in its model.
    pub(super) fn f(self) -> &'static str {
        match self {
            RegisterOp::Read => "read",
            RegisterOp::Write(_) => "write",
            RegisterOp::Cas { .. } => "cas",
        }
    }

    /// What was asked, as the journal holds it.
    pub(super) fn input(self) -> Value {
        match self {
            RegisterOp::Read => Value::Null,
            RegisterOp::Write(value) => json!(value),
            RegisterOp::Cas { expected, value } => json!([expected, value]),
        }
    }

    /// The outcome of an operation that may have reached the service and whose answer never came or makes
    /// no sense. A read changes nothing, so it may as well not have happened.
    fn lost(self) -> OpOutcome {
        match self {
            RegisterOp::Read => OpOutcome::Fail,
            RegisterOp::Write(_) | RegisterOp::Cas { .. } => OpOutcome::Indeterminate,
        }
    }
}

/// How an operation ended, as the journal holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) outcome: OpOutcome,
    /// The value read (null: the register does not exist); whether a `cas` found what it expected; null
    /// for a write.
    pub(super) output: Value,
    pub(super) detail: String,
}

impl Answer {
    pub(super) fn ok(output: Value) -> Self {
        Answer { outcome: OpOutcome::Ok, output, detail: String::new() }
    }

    /// It certainly did not happen.
    pub(super) fn fail(detail: impl Into<String>) -> Self {
        Answer { outcome: OpOutcome::Fail, output: Value::Null, detail: detail.into() }
    }

    /// It may have happened.
    pub(super) fn lost(op: RegisterOp, detail: impl Into<String>) -> Self {
        Answer { outcome: op.lost(), output: Value::Null, detail: detail.into() }
    }
}

/// A way to talk to the service, made from the scenario once; adding one is a file beside this and a line
/// in [`ClientSpec`](super::ClientSpec).
pub(super) trait ClientKind: Send + Sync {
    fn has_cas(&self) -> bool;

    /// A client without a connection.
    fn client(&self) -> Box<dyn Client>;
}

/// One client; it keeps its connection from operation to operation as long as it is good.
#[async_trait]
pub(super) trait Client: Send {
    /// Tries once, before `deadline`. A client that was connected to another node connects anew.
    async fn invoke(
        &mut self,
        node: &str,
        dialer: &dyn Dialer,
        key: &str,
        op: RegisterOp,
        deadline: Instant,
    ) -> Answer;
}
