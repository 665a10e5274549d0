//! Asking the service who leads.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::guest::probe::{ProbeSpec, measure};
use crate::verify::Target;

/// Pause between two rounds.
const AGAIN: Duration = Duration::from_millis(250);

/// The one node of `role` for which `probe` passes. Asks until exactly one says so or `until` has come;
/// the error says what they said last.
pub(super) async fn find(
    probe: &ProbeSpec,
    targets: &[Target],
    role: &str,
    until: Instant,
) -> Result<String, String> {
    loop {
        let mut round = JoinSet::new();
        for target in targets.iter().filter(|target| target.role == role).cloned() {
            let probe = probe.clone();
            round.spawn(async move {
                let found = measure(&probe, target.dialer.as_ref(), target.session.as_ref()).await;
                found.ok.then_some(target.node)
            });
        }
        let mut leaders: Vec<String> = round.join_all().await.into_iter().flatten().collect();
        match leaders.len() {
            1 => return Ok(leaders.remove(0)),
            _ if Instant::now() < until => sleep(AGAIN).await,
            0 => return Err(format!("no instance of {role} says that it leads")),
            _ => {
                leaders.sort();
                return Err(format!("{} all say that they lead {role}", leaders.join(", ")));
            }
        }
    }
}
