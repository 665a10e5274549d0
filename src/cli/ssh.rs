//! `ovenproof ssh`: a shell on a node, through the `ssh` command of this machine.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Args;

use super::{Failure, Printer, fleets};

/// Open a shell on a server, or run a command on it with your terminal attached.
#[derive(Debug, Args)]
pub struct SshArgs {
    /// NODE, or FLEET/NODE.
    node: String,
    /// What to run instead of a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

pub fn run(args: &SshArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let provider = fleets::open(printer)?;
    let arguments = fleets::block_on(async {
        let (fleet, node) = fleets::find_node(&provider, &args.node).await?;
        Ok(provider.ssh_arguments(&fleet.plan().name, &node).await?)
    })?;
    // Returns only if there is no such command.
    let error = Command::new("ssh").args(arguments).args(&args.command).exec();
    Err(Failure::infrastructure(format!("cannot run ssh: {error}"))
        .hint("on Debian, the package `openssh-client` has it; `ovenproof exec` needs no ssh"))
}
