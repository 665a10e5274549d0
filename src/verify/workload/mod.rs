//! Workloads: clients that use the service while it is broken, and record what they were promised.
//!
//! A workload knows how to choose operations ([`kinds`]) and how to read answers ([`clients`]); it never decides
//! whether the answers were right. Its one duty towards the checkers is honesty: an operation is recorded as
//! failed only if it certainly did not happen.

mod client;
mod clients;
mod guard;
mod kinds;
mod operation;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use clients::*;
pub use kinds::WorkloadKind;
pub use run::{NotClosed, Sink, Used, close, prepare, run_workload};

use crate::diagnostic::{BadFile, Located};
use crate::units::{Rate, Span};
use client::ClientKind;
use kinds::{Menu, Setting};

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
    pub client: Located<ClientSpec>,
    /// Use only nodes of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Clients at work at the same time, each with at most one operation under way.
    #[serde(default = "default_clients")]
    pub clients: NonZeroU16,
    /// Each client stays at its node, also when that does not answer, instead of going on to the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stay: bool,
    /// Keys in use at the same time; the accounts of a bank.
    #[serde(default = "default_keys")]
    pub keys: NonZeroU16,
    /// How operations spread over the keys.
    #[serde(default, skip_serializing_if = "Spread::is_even")]
    pub spread: Spread,
    /// Operations started by all clients together, as far as the service keeps up.
    #[serde(default = "default_rate")]
    pub rate: Rate,
    /// Each client rests so long after every answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Span>,
    /// After so many operations a key is left alone and a fresh one takes its place, so that histories
    /// stay short enough to be judged.
    #[serde(default = "default_ops_per_key")]
    pub ops_per_key: NonZeroU32,
    /// How often each operation is chosen, by its name; without it, as suits the kind and the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Located<Mix>>,
    /// Limit for one operation, from connecting to the end of the answer.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

/// Relative weights of the operations, by name.
pub type Mix = BTreeMap<String, u16>;

/// How operations spread over the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Every key as often as any other.
    #[default]
    Even,
    /// Half of the operations go to the first eighth of the keys.
    Skewed,
}

impl Spread {
    fn is_even(&self) -> bool {
        *self == Spread::Even
    }
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
    menu: Menu,
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
        let client = spec.client.load(spec, path, text)?;
        let menu = menu(spec, client.as_ref(), path, text)?;
        Ok(Workload { name: name.to_owned(), spec: spec.clone(), menu, client })
    }

    /// Unique among the workloads of a scenario, if the scenario is right; the scenario checks it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> WorkloadKind {
        self.spec.kind
    }

    fn setting(&self) -> Setting<'_> {
        Setting { name: &self.name, spec: &self.spec, menu: self.menu.clone() }
    }
}

/// What the clients choose from: the operations that the kind has, the client can do and the mix wants.
fn menu(spec: &WorkloadSpec, client: &dyn ClientKind, path: &Path, text: &str) -> Result<Menu, BadFile> {
    let (kind, how) = (spec.kind.name(), spec.client.name());
    let mix = spec.mix.as_ref().map(|mix| &mix.value);
    let about_mix =
        |message: String| BadFile::at(path, text, spec.mix.as_ref().and_then(|mix| mix.at), message);
    let operations = spec.kind.kind().operations(mix);
    let known: Vec<&str> = operations.iter().map(|operation| operation.f.as_ref()).collect();
    if let Some(stranger) = mix.into_iter().flatten().find(|(f, _)| !known.contains(&f.as_str())) {
        return Err(about_mix(format!("the kind `{kind}` has no operation `{}`", stranger.0))
            .suggest(stranger.0, known.iter().copied())
            .help(format!("expected one of `{}`", known.join("`, `"))));
    }
    let setup = spec.kind.kind().setup();
    for operation in operations.iter().chain([&setup]).filter(|operation| operation.needed) {
        if !client.can(spec.kind, &operation.f) {
            let message =
                format!("the `{how}` client has no `{}`, which the kind `{kind}` needs", operation.f);
            return Err(BadFile::at(path, text, spec.client.at, message));
        }
    }
    let mut chosen = Vec::new();
    for operation in operations {
        let asked = mix.map(|mix| mix.get(operation.f.as_ref()).copied().unwrap_or_default());
        let can = client.can(spec.kind, &operation.f);
        if asked == Some(0) && operation.needed {
            return Err(about_mix(format!("a mix without `{}` proves nothing", operation.f))
                .help(format!("give `{}` a weight above 0", operation.f)));
        }
        if asked.is_some_and(|weight| weight > 0) && !can {
            return Err(about_mix(format!(
                "the mix asks for `{}`, but the client has no `{0}`",
                operation.f
            )));
        }
        if can {
            let weight = asked.unwrap_or(operation.weight);
            chosen.push((Arc::new(operation), weight));
        }
    }
    if chosen.iter().all(|(_, weight)| *weight == 0) {
        return Err(about_mix(format!("nothing is left to do for the kind `{kind}`"))
            .help("give an operation a weight above 0 in `mix`"));
    }
    Ok(Menu(chosen))
}
