//! `ovenproof run`: put fleets through scenarios.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::conduct::{Job, Manner, Pins, check_pins, conduct, exit_code, junit_of, load_all, verdict, write};
use super::{Failure, Printer, bake::parse_set, fleets, report};
use crate::chaos::Scenario;
use crate::home::Home;
use crate::journal::event::{RunStarted, ScheduledFault};
use crate::journal::{self, Event};
use crate::seed::Seed;
use crate::store::Store;

/// Put fleets through scenarios and judge how they came through.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenario files.
    #[arg(value_name = "SCENARIO", required_unless_present = "replay")]
    scenarios: Vec<PathBuf>,

    /// The seed, instead of the scenario's own.
    #[arg(long, value_name = "N", value_parser = super::whole(0, u64::MAX))]
    seed: Option<u64>,

    /// Run each scenario K times, each time with the next seed.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = super::whole(1, 1000))]
    repeat: u64,

    /// Boot every instance, even if there is a snapshot of the fleet.
    #[arg(long)]
    cold: bool,

    /// Record every frame between the servers as `network.pcap` in the run's folder, for tcpdump or Wireshark.
    #[arg(long)]
    pcap: bool,

    /// Write JUnit XML over all runs to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Share the runs out among N machines, and make those of machine I (from 1 to N).
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<(usize, usize)>,

    /// Repeat an earlier run, named by its id, its folder or its journal: the same faults at the same times,
    /// the same images. No scenario need be given, because the run kept its own.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["seed", "repeat", "shard", "images"])]
    replay: Option<String>,

    /// Use another image: for a role, or instead of an image that scenarios name. May be repeated.
    #[arg(long = "image", value_name = "ROLE_OR_IMAGE=IMAGE", value_parser = parse_set)]
    images: Vec<(String, String)>,
}

/// Reads `I/N`, with I from 1 to N.
fn parse_shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i, n)),
        _ => Err("expected I/N with I from 1 to N, such as 1/4".to_owned()),
    }
}

pub fn run(args: &RunArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    let jobs = match &args.replay {
        Some(journal) => vec![replay(journal, &args.scenarios, &home)?],
        None => jobs(args, &home)?,
    };
    let wanted = jobs.len();
    let provider = fleets::open(printer)?;
    let manner = Manner { warm: !args.cold, pcap: args.pcap };
    let runs = fleets::block_on(conduct(jobs, manner, &provider, &home, printer))?;
    if let Some(path) = &args.junit {
        write(path, &junit_of(&runs)?)?;
    }
    printer.json(&runs);
    Ok(exit_code(verdict(&runs, wanted)))
}

fn jobs(args: &RunArgs, home: &Home) -> Result<Vec<Job>, Failure> {
    let scenarios = load_all(&args.scenarios)?;
    let pins: Pins = args.images.iter().cloned().collect();
    check_pins(&pins, &scenarios)?;
    let mut turns = Vec::new();
    for scenario in scenarios {
        let first = args.seed.map(Seed).or(scenario.spec.seed).unwrap_or_else(Seed::random);
        for nth in 0..args.repeat {
            turns.push((scenario.clone(), Seed(first.0.wrapping_add(nth))));
        }
    }
    let all = turns.len();
    if let Some((i, n)) = args.shard {
        let dealt = turns.into_iter().enumerate().filter(|(turn, _)| turn % n == i - 1);
        turns = dealt.map(|(_, turn)| turn).collect();
        if turns.is_empty() {
            return Err(Failure::user(format!(
                "there is nothing to do for shard {i}/{n}: the runs to share out number {all}"
            )));
        }
    }
    let store = Store::open(home)?;
    turns.into_iter().map(|(scenario, seed)| Job::new(scenario, seed, None, &pins, &store)).collect()
}

/// The run that `reference` names, once more: its scenario as it was then, its schedule, its images.
fn replay(reference: &str, scenarios: &[PathBuf], home: &Home) -> Result<Job, Failure> {
    let path = report::find(home, reference)?;
    let entries = journal::read(&path)?;
    let mut header: Option<RunStarted> = None;
    let mut schedule: Option<Vec<ScheduledFault>> = None;
    for entry in entries {
        match entry.event {
            Event::RunStarted(started) => header = Some(started),
            Event::Scheduled { steps } => schedule = Some(steps),
            _ => {}
        }
    }
    let (Some(header), Some(schedule)) = (header, schedule) else {
        return Err(Failure::user(format!("{}: the run ended before it had a schedule", path.display())));
    };
    let file = match scenarios {
        [] => path.parent().unwrap_or(Path::new(".")).join("scenario.yaml"),
        [one] => one.clone(),
        _ => return Err(Failure::user("a replay is of one scenario")),
    };
    let scenario = Scenario::load(&file)?;
    if scenario.digest() != header.scenario_digest {
        return Err(Failure::user(format!("{} is not the scenario of that run", file.display())));
    }
    let pins: Pins = header.images.into_iter().collect();
    Job::new(scenario, Seed(header.seed), Some(schedule), &pins, &Store::open(home)?)
}

#[cfg(test)]
mod tests {
    use super::parse_shard;

    #[test]
    fn a_shard_is_one_of_several() {
        assert_eq!(parse_shard("2/4"), Ok((2, 4)));
        for text in ["0/4", "5/4", "1", "1/0", "a/b", ""] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }
}
