//! The command probe: exit code and output of a command in the instance.

use tokio::time::Instant;

use super::{ExecProbe, excerpt};
use crate::guest::Session;

/// Runs the command once; the error says in words what was wrong.
pub(super) async fn check(probe: &ExecProbe, session: &dyn Session, deadline: Instant) -> Result<(), String> {
    let output = session.exec(&probe.command, deadline).await.map_err(|error| error.to_string())?;
    if !output.success() {
        let said = excerpt(&String::from_utf8_lossy(&output.stderr));
        let said = if said.is_empty() { String::new() } else { format!(" (`{said}`)") };
        return Err(format!("{}, expected exit code 0{said}", output.status));
    }
    let text = output.text();
    if let Some(part) = probe.contains.as_ref().filter(|part| !text.contains(*part)) {
        return Err(format!("the output is `{}`, expected it to contain `{part}`", excerpt(&text)));
    }
    probe.number.map_or(Ok(()), |limits| limits.judge("the output", &text))
}
