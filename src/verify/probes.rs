//! The steady state of a service: probes repeated on every node, and what they say together.
//!
//! A probe here only observes. Whether the service was good enough is judged later, from what was recorded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Target, of_role};
use crate::guest::probe::{Measurement, ProbeSpec, measure};
use crate::journal::Event;
use crate::units::Span;

/// A probe that says what steady state means, as a scenario writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteadyProbe {
    pub name: String,
    pub probe: ProbeSpec,
    /// Time from the start of one measurement to the start of the next, on each node.
    #[serde(default = "default_every")]
    pub every: Span,
    /// How many of the nodes must be well for the service to count as well.
    #[serde(default)]
    pub on: Needed,
    /// Measure only nodes of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// When it is measured.
    #[serde(default, skip_serializing_if = "Mode::is_continuous")]
    pub mode: Mode,
}

/// When a probe is measured, and when it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All the time. It must hold before the first fault, and again after the last.
    #[default]
    Continuous,
    /// Until it holds, before the first fault.
    Before,
    /// From the beginning of the timeline to its end. It need not hold; `expect` says how well it must do.
    During,
    /// Until it holds, after the timeline.
    After,
    /// Until it holds, before the first fault, and until it holds again, after the timeline.
    Around,
}

impl Mode {
    fn is_continuous(&self) -> bool {
        *self == Mode::Continuous
    }

    /// Must hold before the first fault.
    pub fn holds_before(self) -> bool {
        matches!(self, Mode::Continuous | Mode::Before | Mode::Around)
    }

    /// Is measured while faults are at work.
    pub fn watches(self) -> bool {
        matches!(self, Mode::Continuous | Mode::During)
    }

    /// Must hold after the last fault.
    pub fn holds_after(self) -> bool {
        matches!(self, Mode::Continuous | Mode::After | Mode::Around)
    }
}

/// How many nodes must be well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// Every node.
    #[default]
    Each,
    /// At least one node.
    Any,
    /// More than half of the nodes.
    Quorum,
}

fn default_every() -> Span {
    Span(Duration::from_secs(1))
}

impl Needed {
    /// Whether `well` nodes out of `all` are enough; none at all is never enough.
    pub fn enough(self, well: usize, all: usize) -> bool {
        match self {
            Needed::Each => well == all && all > 0,
            Needed::Any => well > 0,
            Needed::Quorum => well * 2 > all,
        }
    }

    fn text(self, all: usize) -> String {
        match self {
            Needed::Each => format!("all {all}"),
            Needed::Any => "1".to_owned(),
            Needed::Quorum => (all / 2 + 1).to_string(),
        }
    }
}

/// What the nodes said last: one slot a node, `None` until it was measured.
struct Board {
    needed: Needed,
    nodes: Vec<(String, Option<Measurement>)>,
}

impl Board {
    fn new(probe: &SteadyProbe, nodes: impl Iterator<Item = String>) -> Self {
        Board { needed: probe.on, nodes: nodes.map(|node| (node, None)).collect() }
    }

    /// What all nodes say together: nothing until each was measured once, then `Err` with who is unwell.
    fn verdict(&self) -> Option<Result<(), String>> {
        let mut well = 0;
        let mut unwell = Vec::new();
        for (node, last) in &self.nodes {
            let last = last.as_ref()?;
            match last.ok {
                true => well += 1,
                false => unwell.push(format!("{node}: {}", last.detail)),
            }
        }
        let all = self.nodes.len();
        if all == 0 {
            return Some(Err("there is no node to measure".to_owned()));
        }
        if self.needed.enough(well, all) {
            return Some(Ok(()));
        }
        let wanted = self.needed.text(all);
        let who = unwell.join("; ");
        Some(Err(format!("{well} of {all} nodes well, {wanted} needed ({who})")))
    }
}

/// Measures every node of every probe at the probe's interval until `stop` is cancelled, and records each
/// measurement.
///
/// Measurements of one node never overlap: a slow one makes the next start late, and missed ones are
/// skipped. Once every node of a probe was measured, each further measurement also records what the nodes
/// say together, as an [`Event::Probe`] without a node.
pub async fn run_probes(
    specs: &[SteadyProbe],
    targets: &[Target],
    record: Arc<dyn Fn(Event) + Send + Sync>,
    stop: CancellationToken,
) {
    // The set aborts its tasks when this future is dropped.
    let mut loops = JoinSet::new();
    for spec in specs {
        let chosen: Vec<Target> = of_role(targets, spec.role.as_deref()).cloned().collect();
        let names = chosen.iter().map(|target| target.node.clone());
        let board = Arc::new(Mutex::new(Board::new(spec, names)));
        for (slot, target) in chosen.into_iter().enumerate() {
            let watch = Watch {
                spec: spec.clone(),
                slot,
                target,
                board: Arc::clone(&board),
                record: Arc::clone(&record),
            };
            let stop = stop.clone();
            loops.spawn(async move {
                let _ = stop.run_until_cancelled(watch.repeat()).await;
            });
        }
    }
    while loops.join_next().await.is_some() {}
}

/// One probe on one node.
struct Watch {
    spec: SteadyProbe,
    slot: usize,
    target: Target,
    board: Arc<Mutex<Board>>,
    record: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Watch {
    async fn repeat(&self) {
        let mut ticks = interval(self.spec.every.0.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let found =
                measure(&self.spec.probe, self.target.dialer.as_ref(), self.target.session.as_ref()).await;
            let latency_us = micros(found.latency);
            (self.record)(Event::Probe {
                probe: self.spec.name.clone(),
                node: Some(self.target.node.clone()),
                ok: found.ok,
                latency_us,
                detail: found.detail.clone(),
            });
            // Recorded under the lock, so that the order of the records is that of the changes.
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, last)) = board.nodes.get_mut(self.slot) {
                *last = Some(found);
            }
            if let Some(verdict) = board.verdict() {
                (self.record)(Event::Probe {
                    probe: self.spec.name.clone(),
                    node: None,
                    ok: verdict.is_ok(),
                    latency_us,
                    detail: verdict.err().unwrap_or_default(),
                });
            }
        }
    }
}

/// Measures every node of every probe once, all at the same time. The error names each probe that does
/// not hold and what its nodes said.
pub async fn holds(specs: &[SteadyProbe], targets: &[Target]) -> Result<(), String> {
    let mut boards: Vec<Board> = specs
        .iter()
        .map(|spec| {
            Board::new(spec, of_role(targets, spec.role.as_deref()).map(|target| target.node.clone()))
        })
        .collect();
    let mut rounds = JoinSet::new();
    for (board, spec) in specs.iter().enumerate() {
        for (slot, target) in of_role(targets, spec.role.as_deref()).cloned().enumerate() {
            let probe = spec.probe.clone();
            rounds.spawn(async move {
                let found = measure(&probe, target.dialer.as_ref(), target.session.as_ref()).await;
                (board, slot, found)
            });
        }
    }
    while let Some(finished) = rounds.join_next().await {
        let (board, slot, found) = finished.map_err(|error| format!("a probe crashed: {error}"))?;
        if let Some((_, last)) = boards.get_mut(board).and_then(|board| board.nodes.get_mut(slot)) {
            *last = Some(found);
        }
    }
    let complaints: Vec<String> = specs
        .iter()
        .zip(&boards)
        .filter_map(|(spec, board)| match board.verdict() {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(format!("{}: {why}", spec.name)),
            None => Some(format!("{}: a node was not measured", spec.name)),
        })
        .collect();
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(complaints.join("\n")),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::guest::fake::{FakeNode, Reply};

    /// Three nodes; the first is well only while `switch` is on, the third never.
    fn nodes(switch: &Arc<AtomicBool>) -> Vec<Target> {
        let on = Arc::clone(switch);
        let first = FakeNode {
            service: Some(Arc::new(move |_, _| match on.load(Ordering::Relaxed) {
                true => Reply::Answer(200, String::new()),
                false => Reply::Answer(500, String::new()),
            })),
        };
        let second = FakeNode { service: Some(Arc::new(|_, _| Reply::Answer(200, String::new()))) };
        [first, second, FakeNode::default()]
            .into_iter()
            .enumerate()
            .map(|(index, node)| Target {
                node: format!("etcd-{}", index + 1),
                role: "etcd".to_owned(),
                address: [10, 77, 0, 11].into(),
                dialer: Arc::new(node.clone()),
                session: Arc::new(node.clone()),
                further: Arc::new(move || Arc::new(node.clone())),
            })
            .collect()
    }

    fn probe(on: Needed) -> SteadyProbe {
        let probe = serde_json::from_str(r#"{"http":{"port":2379}}"#).unwrap();
        let name = "answers".to_owned();
        SteadyProbe {
            name,
            probe,
            every: Span(Duration::from_millis(10)),
            on,
            role: None,
            mode: Mode::Continuous,
        }
    }

    #[tokio::test]
    async fn a_round_names_who_is_unwell() {
        let nodes = nodes(&Arc::new(AtomicBool::new(true)));
        assert_eq!(holds(&[probe(Needed::Quorum), probe(Needed::Any)], &nodes).await, Ok(()));
        assert_eq!(
            holds(&[probe(Needed::Each)], &nodes).await.unwrap_err(),
            "answers: 2 of 3 nodes well, all 3 needed (etcd-3: connection refused)"
        );
        let elsewhere = SteadyProbe { role: Some("web".to_owned()), ..probe(Needed::Any) };
        assert_eq!(holds(&[elsewhere], &nodes).await.unwrap_err(), "answers: there is no node to measure");
    }

    #[tokio::test]
    async fn every_node_is_measured_again_and_again() {
        let switch = Arc::new(AtomicBool::new(true));
        let nodes = nodes(&switch);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (record, enough) = (Arc::clone(&seen), stop.clone());
        let record = move |event| {
            let Event::Probe { node, ok, .. } = event else { return };
            let mut seen = record.lock().unwrap();
            seen.push((node, ok));
            match seen.len() {
                60 => switch.store(false, Ordering::Relaxed),
                120 => enough.cancel(),
                _ => {}
            }
        };
        run_probes(&[probe(Needed::Quorum)], &nodes, Arc::new(record), stop).await;
        let seen = seen.lock().unwrap();
        let of = |node: Option<&str>| -> Vec<bool> {
            seen.iter().filter(|(name, _)| name.as_deref() == node).map(|(_, ok)| *ok).collect()
        };
        assert!(of(Some("etcd-2")).iter().all(|ok| *ok));
        assert!(of(Some("etcd-3")).iter().all(|ok| !*ok));
        // The service as a whole was well until the first node fell ill.
        for story in [of(Some("etcd-1")), of(None)] {
            assert!(story.first() == Some(&true) && story.last() == Some(&false), "{story:?}");
            assert!(story.is_sorted_by(|a, b| a >= b), "{story:?}");
        }
    }
}
