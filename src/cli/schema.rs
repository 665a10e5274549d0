//! `ovenproof schema`, `completions` and `man`: what editors, shells and man pages need.

use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, Failure, Printer};
use crate::chaos::ScenarioSpec;
use crate::fleet::spec::FleetFile;
use crate::recipe::RecipeFile;

/// Print the JSON Schema of a kind of file, by which editors complete and check it; or the IAM policy that EC2 needs.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The kind of file; `iam-policy` is the least that an AWS account must allow, made from the calls that the tool makes.
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Recipe,
    Scenario,
    Fleet,
    #[cfg(feature = "ec2")]
    IamPolicy,
}

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Print the manual page.
#[derive(Debug, Args)]
pub struct ManArgs {}

pub fn run(args: &SchemaArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let schema = match args.kind {
        Kind::Recipe => schemars::schema_for!(RecipeFile).to_value(),
        Kind::Scenario => schemars::schema_for!(ScenarioSpec).to_value(),
        Kind::Fleet => schemars::schema_for!(FleetFile).to_value(),
        #[cfg(feature = "ec2")]
        Kind::IamPolicy => crate::aws::calls::policy(),
    };
    let text = serde_json::to_vec_pretty(&schema).map_err(Failure::infrastructure)?;
    printer.raw(&[text.as_slice(), b"\n"].concat(), &[]);
    Ok(ExitCode::SUCCESS)
}

pub fn completions(args: &CompletionsArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ovenproof", &mut script);
    printer.raw(&script, &[]);
    Ok(ExitCode::SUCCESS)
}

pub fn man(_: &ManArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    printer.raw(&page, &[]);
    Ok(ExitCode::SUCCESS)
}
