//! `ovenproof exec`: run a command on a node and take its output and its exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::{Failure, Printer, fleets};
use crate::fleet::{Fleet, InstanceState};
use crate::guest::ExitStatus;
use crate::units::Span;

/// Run a command on a server. Exits with the command's exit code, 255 if a signal killed it.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// NODE, or FLEET/NODE.
    node: String,
    /// How long it may take.
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    within: Span,
    /// The command and its arguments; a single word goes to the shell as it is.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// How often the fleet is asked whether the machine is still the one that the command runs on.
const LOOK: Duration = Duration::from_secs(1);

/// Returns, with the reason, when the machine is not the one any more that it was: whatever ran on it is gone,
/// and its connections stay silent for good.
async fn lost(fleet: &dyn Fleet, node: &str) -> String {
    let mut first = None;
    loop {
        match fleet.status(node).await {
            Err(error) => return error.to_string(),
            Ok(status) if status.state == InstanceState::Stopped => return "it is stopped".to_owned(),
            Ok(status) => {
                let before = first.get_or_insert((status.boots, status.incarnation.clone()));
                if *before != (status.boots, status.incarnation) {
                    return "it was reset, and the command is gone with what ran there".to_owned();
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub fn run(args: &ExecArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let command = match args.command.as_slice() {
        [script] => script.clone(),
        words => shlex::try_join(words.iter().map(String::as_str)).map_err(Failure::user)?,
    };
    let provider = fleets::open(printer)?;
    fleets::block_on(async {
        let (fleet, node) = fleets::find_node(&provider, &args.node).await?;
        let session = fleet.session(&node);
        let output = tokio::select! {
            output = session.exec(&command, Instant::now() + args.within.0) => {
                output.map_err(|error| Failure::infrastructure(format!("{node}: {error}")))?
            }
            why = lost(&*fleet, &node) => return Err(Failure::infrastructure(format!("{node}: {why}"))),
        };
        if printer.is_json() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            printer.json(&json!({
                "node": node, "status": output.status.to_string(),
                "stdout": text(&output.stdout), "stderr": text(&output.stderr),
            }));
        } else {
            printer.raw(&output.stdout, &output.stderr);
        }
        Ok(match output.status {
            ExitStatus::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
            ExitStatus::Signal(signal) => {
                printer.progress(format!("{node}: the command was killed by SIG{signal}"));
                ExitCode::from(255)
            }
        })
    })
}
