//! One measurement of one instance: does it answer as it should, right now?
//!
//! Recipes use probes to say when an instance is ready, scenarios to say what steady state means. A probe
//! never retries and never waits for anything but its own time limit: who repeats it, and what a miss
//! means, is decided above.

mod exec;
mod http;
mod number;
mod postgres;
mod redis;
mod tcp;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use number::Limits;

use super::{Dialer, Session};
use crate::units::Span;

/// What to ask one instance, and what answer counts as good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSpec {
    /// An HTTP request from the side of the clients.
    Http(HttpProbe),
    /// A TCP connection from the side of the clients.
    Tcp(TcpProbe),
    /// A command in the instance, over the management path.
    Exec(ExecProbe),
    /// A statement to PostgreSQL from the side of the clients.
    Postgres(PostgresProbe),
    /// A command to Redis, or to a sentinel, from the side of the clients.
    Redis(RedisProbe),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    pub port: u16,
    #[serde(default = "root_path")]
    pub path: String,
    /// Limit for the whole exchange.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    #[serde(default)]
    pub expect: HttpExpect,
}

/// All that is given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpExpect {
    #[serde(default = "ok_status")]
    pub status: u16,
    /// Text that the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Members that the JSON body must have, compared exactly; a key is a member's name, or a JSON
    /// pointer when it starts with `/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// Members that must be numbers within limits, named as in `json`; a text that reads as a number is one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, Limits>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    pub port: u16,
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Text that the first bytes sent by the service must start with, such as `SSH-2.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecProbe {
    /// Run with `sh -c`; exit code 0 is good.
    pub command: String,
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Text that standard output must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Standard output must be one number within these limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Limits>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresProbe {
    #[serde(default = "postgres_port")]
    pub port: u16,
    #[serde(default = "postgres_name")]
    pub user: String,
    #[serde(default = "postgres_name")]
    pub database: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Any error that it ends in is bad.
    #[serde(default = "select_one")]
    pub query: String,
    /// Limit for connection, login and answer together.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// What the first value of the first row must be, as text, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The first value of the first row must be a number within these limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Limits>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisProbe {
    #[serde(default = "redis_port")]
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The words of the command; any error that it is answered with is bad.
    #[serde(default = "ping")]
    pub command: Vec<String>,
    /// Limit for connection and answer together.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// What the answer must be, as text, exactly; the items of a list a line each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Text that the answer must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// The answer must be a number within these limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Limits>,
}

impl ProbeSpec {
    /// The port of the service that it asks; `None` for a command.
    pub fn port(&self) -> Option<u16> {
        match self {
            ProbeSpec::Http(probe) => Some(probe.port),
            ProbeSpec::Tcp(probe) => Some(probe.port),
            ProbeSpec::Postgres(probe) => Some(probe.port),
            ProbeSpec::Redis(probe) => Some(probe.port),
            ProbeSpec::Exec(_) => None,
        }
    }
}

/// What one measurement found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    pub ok: bool,
    /// From the start to the answer, or to giving up.
    pub latency: Duration,
    /// What was wrong, such as `status 503, expected 200`; empty when all was well.
    pub detail: String,
}

/// Measures once, within the probe's own time limit. What clients could ask goes through `dialer`, where faults
/// apply; commands go through `session`, where they do not.
pub async fn measure(spec: &ProbeSpec, dialer: &dyn Dialer, session: &dyn Session) -> Measurement {
    let start = Instant::now();
    let outcome = match spec {
        ProbeSpec::Http(probe) => http::check(probe, dialer, start + probe.timeout.0).await,
        ProbeSpec::Tcp(probe) => tcp::check(probe, dialer, start + probe.timeout.0).await,
        ProbeSpec::Exec(probe) => exec::check(probe, session, start + probe.timeout.0).await,
        ProbeSpec::Postgres(probe) => postgres::check(probe, dialer, start + probe.timeout.0).await,
        ProbeSpec::Redis(probe) => redis::check(probe, dialer, start + probe.timeout.0).await,
    };
    let latency = start.elapsed();
    Measurement { ok: outcome.is_ok(), latency, detail: outcome.err().unwrap_or_default() }
}

/// Text from a service, cut to what fits into one line of a report.
fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    let line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS + 1).collect();
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

impl Default for HttpExpect {
    fn default() -> Self {
        HttpExpect { status: ok_status(), contains: None, json: BTreeMap::new(), numbers: BTreeMap::new() }
    }
}

fn root_path() -> String {
    "/".to_owned()
}

fn ok_status() -> u16 {
    200
}

fn postgres_port() -> u16 {
    5432
}

fn postgres_name() -> String {
    "postgres".to_owned()
}

fn select_one() -> String {
    "SELECT 1".to_owned()
}

fn redis_port() -> u16 {
    6379
}

fn ping() -> Vec<String> {
    vec!["PING".to_owned()]
}

fn default_timeout() -> Span {
    Span(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::guest::fake::{FakeNode, Reply};

    #[tokio::test]
    async fn each_kind_says_what_was_wrong() {
        let up = FakeNode { service: Some(Arc::new(|_, _| Reply::Answer(503, "no leader".to_owned()))) };
        let down = FakeNode::default();
        for (probe, up_says, down_says) in [
            (r#"{"http":{"port":2379}}"#, "status 503, expected 200 (`no leader`)", "connection refused"),
            (r#"{"tcp":{"port":22}}"#, "", "connection refused"),
            (
                r#"{"tcp":{"port":22,"banner":"SSH","timeout":"20ms"}}"#,
                "sent `` and no more, expected `SSH`",
                "connection refused",
            ),
            (r#"{"exec":{"command":"echo well"}}"#, "", ""),
            (
                r#"{"exec":{"command":"echo well","contains":"fine"}}"#,
                "the output is `well`, expected it to contain `fine`",
                "the output is `well`, expected it to contain `fine`",
            ),
            (r#"{"exec":{"command":"echo 7","number":{"at_most":7}}}"#, "", ""),
            (
                r#"{"exec":{"command":"echo well","number":{"at_most":7}}}"#,
                "the output is `well`, expected a number of at most 7",
                "the output is `well`, expected a number of at most 7",
            ),
            (
                r#"{"exec":{"command":"fals"}}"#,
                "exit code 1, expected exit code 0 (`no such command`)",
                "exit code 1, expected exit code 0 (`no such command`)",
            ),
        ] {
            let spec: ProbeSpec = serde_json::from_str(probe).unwrap();
            for (node, says) in [(&up, up_says), (&down, down_says)] {
                let found = measure(&spec, node, node).await;
                assert_eq!((found.ok, found.detail.as_str()), (says.is_empty(), says), "{probe}");
            }
        }
    }
}
