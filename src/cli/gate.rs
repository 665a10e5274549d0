//! `ovenproof gate`: bake an image, put it through scenarios, and promote it if it comes through all.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::bake::{Lines, With, parse_set, remember, tell_locks};
use super::conduct::{Job, Manner, Pins, check_pins, conduct, exit_code, junit_of, load_all, verdict, write};
use super::{Failure, Printer, fleets, kind};
use crate::bake::{Options, bake, keep_locks};
use crate::home::Home;
use crate::journal::Verdict;
use crate::report::Run;
use crate::seed::Seed;
use crate::store::{Image, Store};

/// Bake an image, put it through scenarios, and move a channel to it only if it passes all of them.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// The recipe: a path, or NAME for images/NAME.yaml.
    recipe: String,

    /// A scenario that the image must pass; may be repeated. Every role of this image gets the one baked now.
    #[arg(long = "scenario", value_name = "SCENARIO", required = true, num_args = 1..)]
    scenarios: Vec<PathBuf>,

    /// The channel to move.
    #[arg(long, default_value = "stable")]
    channel: String,

    /// The seed, instead of the scenarios' own.
    #[arg(long, value_name = "N", value_parser = super::whole(0, u64::MAX))]
    seed: Option<u64>,

    /// Boot every instance, even if there is a snapshot of the fleet.
    #[arg(long)]
    cold: bool,

    /// Write JUnit XML over all runs to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Give a variable of the recipe a value; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,

    #[command(flatten)]
    with: With,
}

pub fn run(args: &GateArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let recipe = kind::load_recipe(&args.recipe, &args.sets)?;
    let scenarios = load_all(&args.scenarios)?;
    let name = &recipe.plan().name;
    // Each scenario, not only one of them: a gate that tests something else is no gate.
    for scenario in &scenarios {
        let pins = Pins::from([(name.clone(), String::new())]);
        check_pins(&pins, std::slice::from_ref(scenario))
            .map_err(|failure| failure.hint(format!("{} does not test it", scenario.path.display())))?;
    }
    let home = Home::from_env()?;
    let store = Store::open(&home)?;
    let options = Options { secrets: args.with.secrets()?, ..Options::default() };
    let baked = bake(recipe.plan(), &options, &store, &home, &mut Lines::new(printer))?;
    tell_locks(&keep_locks(&recipe, &baked.plan), printer);
    remember(&recipe, &args.sets, &store)?;
    let image = baked.image;
    let pins = Pins::from([(name.clone(), image.id().to_string())]);
    let jobs: Vec<Job> = scenarios
        .into_iter()
        .map(|scenario| {
            let seed = args.seed.map(Seed).or(scenario.spec.seed).unwrap_or_else(Seed::random);
            Job::new(scenario, seed, None, &pins, &store)
        })
        .collect::<Result<_, Failure>>()?;
    let wanted = jobs.len();
    let provider = fleets::open(printer)?;
    let manner = Manner { warm: !args.cold, pcap: false };
    let runs = fleets::block_on(conduct(jobs, manner, &provider, &home, printer))?;
    let xml = junit_of(&runs)?;
    if let Some(path) = &args.junit {
        write(path, &xml)?;
    }
    let verdict = verdict(&runs, wanted);
    let promoted = verdict == Verdict::Pass;
    let evidence = evidence(&image, &runs, &xml);
    if promoted {
        store.promote(name, &args.channel, image.id(), &evidence)?;
        printer.line(format!("{name}:{} now points at {}", args.channel, image.id().short()));
    } else {
        printer.line(format!("{verdict}: {name}:{} stays where it was", args.channel));
    }
    printer.json(&json!({
        "verdict": verdict,
        "promoted": promoted,
        "channel": args.channel,
        "evidence": evidence,
        "runs": runs,
    }));
    Ok(exit_code(verdict))
}

/// What was proven about the image, to be kept with the channel.
fn evidence(image: &Image, runs: &[Run], junit: &[u8]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "run": run.header.run,
                "scenario": run.header.scenario,
                "scenario_digest": run.header.scenario_digest,
                "seed": run.header.seed,
                "provider": run.header.provider,
                "images": run.header.images,
                "verdict": run.verdict,
            })
        })
        .collect();
    json!({
        "image": image.id(),
        "tool_version": env!("CARGO_PKG_VERSION"),
        "runs": runs,
        "junit_digest": blake3::hash(junit).to_hex().to_string(),
    })
}
