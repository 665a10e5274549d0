//! Where the seconds go between asking for a fleet and having it.
//!
//! What happens outside the guests is measured by the provider while it happens; what happens inside them
//! is asked of them when all is over, so that nothing waits for the asking.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::provider::Fleet;
use crate::guest::Session;

/// For one guest to say when it did what.
const ASK: Duration = Duration::from_secs(20);
/// Ends with the time since the kernel began, so that what was said can be placed on our clock.
const QUESTION: &str = "systemctl show -p UserspaceTimestampMonotonic -p FinishTimestampMonotonic && \
                        read up idle </proc/uptime && echo Uptime=$up";

/// A stretch of the way, in the order in which they are walked: a booted fleet has the first two and those
/// from `firmware` on, a restored one the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Folder, keys, supervisor, switch, disks and the processes of all machines.
    Start,
    /// Memory and devices of all machines come from the snapshot.
    Restore,
    /// All machines go on, and know the time.
    Clock,
    /// From the start of the machine to the first instruction of its kernel.
    Firmware,
    /// Until the kernel hands over to the first process of the system.
    Kernel,
    /// Until the service manager has started everything, or the service is ready before that.
    Userspace,
    /// From then until the service is ready.
    Service,
    /// In a restored fleet: until the service is known to be ready again.
    Readiness,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Start => "start",
            Stage::Restore => "restore",
            Stage::Clock => "clock",
            Stage::Firmware => "firmware",
            Stage::Kernel => "kernel",
            Stage::Userspace => "userspace",
            Stage::Service => "service",
            Stage::Readiness => "readiness",
        })
    }
}

/// How long one stage took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub stage: Stage,
    /// `None`: the fleet as a whole.
    pub node: Option<String>,
    pub took_us: u64,
}

impl Timing {
    pub fn new(stage: Stage, node: Option<&str>, took: Duration) -> Self {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Timing { stage, node: node.map(str::to_owned), took_us }
    }

    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }
}

/// All stages of a fleet that was created just before `created` and whose nodes were `ready` so long after,
/// by stage, then node. A guest that cannot say what it did is left out.
pub async fn timings(fleet: &dyn Fleet, created: Instant, ready: &BTreeMap<String, Duration>) -> Vec<Timing> {
    let mut all = fleet.timings();
    if fleet.restored() {
        all.extend(ready.iter().map(|(node, took)| Timing::new(Stage::Readiness, Some(node), *took)));
        return all;
    }
    let mut asking = JoinSet::new();
    for (node, ready) in ready {
        let (session, node, ready) = (fleet.session(node), node.clone(), *ready);
        asking.spawn(async move { boot(session.as_ref(), &node, created, ready).await });
    }
    all.extend(asking.join_all().await.into_iter().flatten().flatten());
    all.sort_by(|a, b| (a.stage, &a.node).cmp(&(b.stage, &b.node)));
    all
}

async fn boot(session: &dyn Session, node: &str, created: Instant, ready: Duration) -> Option<Vec<Timing>> {
    let output = session.exec(QUESTION, Instant::now() + ASK).await.ok()?;
    let stages = stages(&output.text(), created.elapsed(), ready)?;
    Some(stages.map(|(stage, took)| Timing::new(stage, Some(node), took)).to_vec())
}

/// The stages of a boot, from what a guest `said` at the time `now`; times count from the machine's start.
fn stages(said: &str, now: Duration, ready: Duration) -> Option<[(Stage, Duration); 4]> {
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let stamp = |name| value(name)?.parse().ok().map(Duration::from_micros);
    let uptime = Duration::try_from_secs_f64(value("Uptime")?.parse().ok()?).ok()?;
    let firmware = now.saturating_sub(uptime);
    let userspace = firmware + stamp("UserspaceTimestampMonotonic")?;
    // Zero: not all is started yet.
    let finish = stamp("FinishTimestampMonotonic").filter(|finish| !finish.is_zero());
    let started = finish.map_or(ready, |finish| (firmware + finish).min(ready)).max(userspace);
    Some([
        (Stage::Firmware, firmware),
        (Stage::Kernel, userspace.saturating_sub(firmware)),
        (Stage::Userspace, started.saturating_sub(userspace)),
        (Stage::Service, ready.saturating_sub(started)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(said: &str, now: u64, ready: u64) -> Option<Vec<u128>> {
        let stages = stages(said, Duration::from_millis(now), Duration::from_millis(ready))?;
        Some(stages.iter().map(|(_, took)| took.as_millis()).collect())
    }

    #[test]
    fn what_a_guest_says_is_placed_between_start_and_readiness() {
        let said = "UserspaceTimestampMonotonic=4000000\nFinishTimestampMonotonic=20000000\nUptime=38.50\n";
        assert_eq!(millis(said, 40_000, 30_000), Some(vec![1500, 4000, 16_000, 8500]));
        // Ready before everything else was.
        assert_eq!(millis(said, 40_000, 15_000), Some(vec![1500, 4000, 9500, 0]));
    }

    #[test]
    fn a_guest_that_is_not_done_or_says_nothing_is_no_reason_to_fail() {
        let said = "UserspaceTimestampMonotonic=4000000\nFinishTimestampMonotonic=0\nUptime=9.5\n";
        assert_eq!(millis(said, 10_000, 9000), Some(vec![500, 4000, 4500, 0]));
        assert_eq!(millis("", 10_000, 9000), None);
        assert_eq!(millis("Uptime=soon\n", 10_000, 9000), None);
    }
}
