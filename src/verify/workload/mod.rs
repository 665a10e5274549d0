//! Workloads: clients that use the service while it is broken, and record what they were promised.
//!
//! A workload knows how to choose operations and how to read answers; it never decides whether the answers
//! were right. Its one duty towards the checkers is honesty: an operation is recorded as failed only if it
//! certainly did not happen.

mod client;
mod http;
mod register;
mod run;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use http::{Decode, HttpCas, HttpClientSpec, HttpMethod, HttpRead, HttpWrite};
pub use run::{Sink, Used, final_reads, run_workload};

use crate::diagnostic::{BadFile, Located};
use crate::units::{Rate, Span};
use client::ClientKind;

/// A workload, as a scenario writes it.
///
/// The keys are `NAME-SLOT-GENERATION`; they must not exist when the workload starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Letters, digits, `-` and `_`; the kind by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Located<String>>,
    pub kind: WorkloadKind,
    pub client: ClientSpec,
    /// Use only nodes of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Clients at work at the same time, each with at most one operation under way.
    #[serde(default = "default_clients")]
    pub clients: NonZeroU16,
    /// Registers in use at the same time.
    #[serde(default = "default_keys")]
    pub keys: NonZeroU16,
    /// Operations started by all clients together, as far as the service keeps up.
    #[serde(default = "default_rate")]
    pub rate: Rate,
    /// After so many operations a register is left alone and a fresh one takes its place, so that histories
    /// stay short enough to be judged.
    #[serde(default = "default_ops_per_key")]
    pub ops_per_key: NonZeroU32,
    /// How often each operation is chosen; reads and writes alike by default, with half as many `cas`
    /// where the client has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Located<Mix>>,
    /// Limit for one operation, from connecting to the end of the answer.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Registers that are read, written and compared-and-set; every written value is written once.
    Register,
}

impl WorkloadKind {
    fn name(self) -> &'static str {
        match self {
            WorkloadKind::Register => "register",
        }
    }
}

/// How clients talk to the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientSpec {
    Http(HttpClientSpec),
}

/// Relative weights of the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    #[serde(default)]
    pub read: u16,
    #[serde(default)]
    pub write: u16,
    #[serde(default)]
    pub cas: u16,
}

fn default_clients() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(4)
}

fn default_keys() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(7)
}

fn default_rate() -> Rate {
    Rate(50.0)
}

fn default_ops_per_key() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(199)
}

fn default_timeout() -> Span {
    Span(Duration::from_secs(5))
}

/// A workload that is ready to run: checked, its templates compiled.
#[derive(Clone)]
pub struct Workload {
    name: String,
    spec: WorkloadSpec,
    mix: Mix,
    client: Arc<dyn ClientKind>,
}

impl Workload {
    /// Checks what parsing could not; `path` and `text` are those of the file that `spec` came from.
    pub fn load(spec: &WorkloadSpec, path: &Path, text: &str) -> Result<Self, BadFile> {
        let name = spec.name.as_ref().map_or(spec.kind.name(), |name| name.value.as_str());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            let at = spec.name.as_ref().and_then(|name| name.at);
            return Err(BadFile::at(path, text, at, format!("`{name}` cannot be part of a key"))
                .help("a workload's name has only letters, digits, `-` and `_`"));
        }
        let client: Arc<dyn ClientKind> = match &spec.client {
            ClientSpec::Http(http) => Arc::new(http::HttpKind::load(http, path, text)?),
        };
        let default = Mix { read: 2, write: 2, cas: u16::from(client.has_cas()) };
        let mix = spec.mix.as_ref().map_or(default, |mix| mix.value);
        let at = spec.mix.as_ref().and_then(|mix| mix.at);
        if mix.read == 0 || mix.write == 0 {
            return Err(BadFile::at(path, text, at, "a mix without reads or without writes proves nothing")
                .help("give both `read` and `write` a weight above 0"));
        }
        if mix.cas > 0 && !client.has_cas() {
            return Err(BadFile::at(path, text, at, "the mix asks for `cas`, but the client has no `cas`"));
        }
        Ok(Workload { name: name.to_owned(), spec: spec.clone(), mix, client })
    }

    /// Unique among the workloads of a scenario, if the scenario is right; the scenario checks it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
