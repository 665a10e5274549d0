//! What the services of every instance logged, kept for whoever has to understand a run that did not pass.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::{Fleet, InstanceState};
use crate::guest::ExecOutput;

/// For all instances together: a guest that no longer answers has only its console, which the provider keeps.
const LIMIT: Duration = Duration::from_secs(30);
const COMMAND: &str = "journalctl --no-pager --output short-iso-precise --lines 5000";

/// Asks an instance for something; one that cannot answer, as its provider knows, is not waited for.
pub(super) async fn ask(
    fleet: &dyn Fleet,
    node: &str,
    command: &str,
    deadline: Instant,
) -> Result<ExecOutput, String> {
    let silent = |state| format!("it is {}", format!("{state:?}").to_lowercase());
    match fleet.status(node).await {
        Ok(status) if status.state != InstanceState::Running => Err(silent(status.state)),
        Ok(_) | Err(_) => {
            fleet.session(node).exec(command, deadline).await.map_err(|error| error.to_string())
        }
    }
}

/// Writes `NODE.journal.log` into `dir` for every instance that still answers.
pub(super) async fn collect(fleet: &Arc<dyn Fleet>, dir: &Path) {
    let deadline = Instant::now() + LIMIT;
    let mut reading = JoinSet::new();
    for node in &fleet.plan().nodes {
        let (fleet, name) = (Arc::clone(fleet), node.name.clone());
        reading.spawn(async move {
            let read = ask(fleet.as_ref(), &name, COMMAND, deadline).await;
            (name, read)
        });
    }
    while let Some(read) = reading.join_next().await {
        let Ok((name, Ok(output))) = read else { continue };
        let file = dir.join(format!("{name}.journal.log"));
        let kept = async {
            tokio::fs::create_dir_all(dir).await?;
            tokio::fs::write(&file, &output.stdout).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, file = %file.display(), "service log not kept");
        }
    }
}
