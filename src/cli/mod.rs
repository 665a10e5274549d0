//! The command line: arguments in, printing out, no logic.
//!
//! One file a command, each with an `Args` (whose doc comments are the help) and a `run`. [`failure`] is the
//! one place that turns errors into exit codes and hints.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bake;
pub mod check;
pub mod check_history;
mod conduct;
pub mod cp;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod failure;
pub mod faults;
mod fleets;
pub mod gate;
pub mod gc;
pub mod heal;
pub mod images;
pub mod inventory;
mod kind;
pub mod list;
pub mod logs;
pub mod printer;
pub mod report;
pub mod run;
pub mod schema;
pub mod ssh;
pub mod supervise;
pub mod up;
pub mod volumes;
mod warnings;

pub use failure::Failure;
pub use printer::Printer;

/// Bakes machine images and proves that they survive.
#[derive(Debug, Parser)]
#[command(name = "ovenproof", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 pass, 1 an expectation failed, 2 usage or a bad file, \
                        3 unknown (a checker could not decide), 4 error (the tool or the infrastructure).")]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bake(bake::BakeArgs),
    Images(images::ImagesArgs),
    Check(check::CheckArgs),
    CheckHistory(check_history::CheckHistoryArgs),
    Run(run::RunArgs),
    Gate(gate::GateArgs),
    Report(report::Args),
    Up(up::UpArgs),
    Down(down::DownArgs),
    List(list::ListArgs),
    Volumes(volumes::VolumesArgs),
    Ssh(ssh::SshArgs),
    Exec(exec::ExecArgs),
    Logs(logs::LogsArgs),
    Cp(cp::CpArgs),
    Heal(heal::HealArgs),
    Gc(gc::GcArgs),
    Faults(faults::FaultsArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    Completions(schema::CompletionsArgs),
    Man(schema::ManArgs),
    #[command(name = crate::fleet::qemu::SUPERVISE, hide = true)]
    Supervise(supervise::SuperviseArgs),
    #[command(name = crate::bake::inventory::INVENTORY, hide = true)]
    Inventory(inventory::InventoryArgs),
}

/// Reads a whole number between `least` and `most`, and says so where there is none.
fn whole(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ if most == u64::MAX => Err(format!("expected a whole number from {least}")),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}

/// What a build without the feature `ec2` says when it is asked for EC2.
#[cfg(not(feature = "ec2"))]
fn no_ec2() -> Failure {
    Failure::user("this ovenproof was built without EC2")
        .hint("build it with the feature `ec2`, which is on by default")
}

/// Parses the command line, runs the command, maps what came of it to an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let printer = Printer::new(cli.json);
    warnings::show();
    let result: Result<ExitCode, Failure> = match cli.command {
        Command::Bake(args) => bake::run(&args, &printer),
        Command::Images(args) => images::run(&args, &printer),
        Command::Check(args) => check::run(&args, &printer),
        Command::CheckHistory(args) => check_history::run(&args, &printer),
        Command::Run(args) => run::run(&args, &printer),
        Command::Gate(args) => gate::run(&args, &printer),
        Command::Report(args) => report::run(&args, &printer),
        Command::Up(args) => up::run(&args, &printer),
        Command::Down(args) => down::run(&args, &printer),
        Command::List(args) => list::run(&args, &printer),
        Command::Volumes(args) => volumes::run(&args, &printer),
        Command::Ssh(args) => ssh::run(&args, &printer),
        Command::Exec(args) => exec::run(&args, &printer),
        Command::Logs(args) => logs::run(&args, &printer),
        Command::Cp(args) => cp::run(&args, &printer),
        Command::Heal(args) => heal::run(&args, &printer),
        Command::Gc(args) => gc::run(&args, &printer),
        Command::Faults(args) => faults::run(&args, &printer),
        Command::Doctor(args) => doctor::run(&args, &printer),
        Command::Schema(args) => schema::run(&args, &printer),
        Command::Completions(args) => schema::completions(&args, &printer),
        Command::Man(args) => schema::man(&args, &printer),
        Command::Supervise(args) => supervise::run(&args),
        Command::Inventory(args) => inventory::run(&args),
    };
    result.unwrap_or_else(|failure| failure.report(&printer))
}
