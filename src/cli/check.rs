//! `ovenproof check`: validate recipes and scenarios and print what they come to, touching nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::kind::Kind;
use super::{Failure, Printer, bake::parse_set, fleets::table};
use crate::chaos::Scenario;
use crate::chaos::faults::FaultSpec;
use crate::chaos::schedule::{Step, describe};
use crate::diagnostic::{BadFile, read_text};
use crate::fleet::qemu;
use crate::recipe::Recipe;
use crate::seed::Seed;
use crate::units::Span;

/// Check recipes and scenarios, and print what they would do. Starts and creates nothing.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Recipes and scenarios.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The seed for schedules, instead of the scenario's own.
    #[arg(long, value_name = "N", value_parser = super::whole(0, u64::MAX))]
    seed: Option<u64>,

    /// Give a variable of the recipes a value; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
}

pub fn run(args: &CheckArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    let mut bad: Vec<BadFile> = Vec::new();
    for file in &args.files {
        match check(file, args, printer) {
            Ok(value) => found.push(value),
            Err(error) => bad.push(error),
        }
    }
    printer.json(&found);
    match bad.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Failure::user(bad.iter().map(BadFile::to_string).collect::<Vec<_>>().join("\n\n"))),
    }
}

fn check(path: &Path, args: &CheckArgs, printer: &Printer) -> Result<Value, BadFile> {
    let text = read_text(path)?;
    match Kind::of(&text) {
        Some(Kind::Scenario) => scenario(&Scenario::parse(path, text)?, args.seed, printer),
        Some(Kind::Fleet) => {
            Err(BadFile::whole(path, "is a fleet file; recipes and scenarios can be checked")
                .help(format!("`ovenproof up {}` checks it before it starts the fleet", path.display())))
        }
        _ => recipe(path, &args.sets, printer),
    }
}

fn scenario(scenario: &Scenario, seed: Option<u64>, printer: &Printer) -> Result<Value, BadFile> {
    let spec = &scenario.spec;
    let seed = seed.map(Seed).or(spec.seed).unwrap_or_else(Seed::random);
    let schedule = scenario.schedule(seed)?;
    printer.line(format!("{}: scenario `{}`", scenario.path.display(), spec.name));
    let rows: Vec<Vec<String>> = scenario
        .roster
        .0
        .iter()
        .map(|seat| {
            let image = spec.fleet.get(&seat.role).map(|role| role.image.to_string()).unwrap_or_default();
            vec![format!("  {}", seat.name), format!("image {image}"), format!("zone {}", seat.zone)]
        })
        .collect();
    printer.line(table(&rows).join("\n"));
    printer.line(format!("  seed {seed}, chaos for {}", Span(scenario.duration())));
    if !schedule.is_empty() {
        printer.line(describe(&schedule));
    }
    let abilities = abilities(&spec.timeline);
    if !abilities.is_empty() {
        let row = |ability: &Ability| {
            vec![
                format!("    {}", ability.fault),
                ability.skipped.clone().unwrap_or_else(|| "possible".to_owned()),
            ]
        };
        printer.line(format!("  on {}:", qemu::NAME));
        printer.line(table(&abilities.iter().map(row).collect::<Vec<_>>()).join("\n"));
    }
    let expectations: Vec<String> = scenario.expectations().iter().map(|e| e.title()).collect();
    printer.line(format!("  expects: {}", expectations.join("; ")));
    Ok(json!({
        "file": scenario.path,
        "scenario": spec.name,
        "digest": scenario.digest(),
        "seed": seed,
        "duration": Span(scenario.duration()),
        "schedule": schedule,
        "provider": { "name": qemu::NAME, "faults": abilities },
        "expectations": expectations,
    }))
}

/// Whether the provider can do a fault.
#[derive(Serialize)]
struct Ability {
    fault: &'static str,
    /// Why not: a run would skip it, and could not pass.
    skipped: Option<String>,
}

/// The faults that a timeline uses, each once.
fn abilities(timeline: &[Step]) -> Vec<Ability> {
    let mut used: Vec<&FaultSpec> = timeline.iter().map(|step| &step.inject.value).collect();
    used.sort_by_key(|fault| fault.name());
    used.dedup_by_key(|fault| fault.name());
    let ability = |fault: &FaultSpec| Ability {
        fault: fault.name(),
        skipped: qemu::capable(fault.kind().needs()).err().map(|why| format!("skipped: {why}")),
    };
    used.into_iter().map(ability).collect()
}

fn recipe(path: &Path, sets: &[(String, String)], printer: &Printer) -> Result<Value, BadFile> {
    let recipe = Recipe::load(path, sets)?;
    let plan = recipe.plan();
    // Without a lock file, no id is known from the first layer on that installs packages.
    let settled = plan.open().unwrap_or(plan.layers.len());
    let short = |id: &str| id.chars().take(12).collect::<String>();
    printer.line(format!(
        "{}: recipe `{}`, image {}",
        path.display(),
        plan.name,
        if settled < plan.layers.len() { "open".to_owned() } else { short(&plan.image.to_hex()) }
    ));
    let rows: Vec<Vec<String>> = plan
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            let about: String = layer.work.about().chars().take(70).collect();
            vec![
                format!("  {}", if index < settled { short(layer.id.as_str()) } else { "open".to_owned() }),
                layer.recipe.clone(),
                layer.work.kind().to_owned(),
                about,
            ]
        })
        .collect();
    printer.line(table(&rows).join("\n"));
    let layers: Vec<&str> = plan.layers.iter().take(settled).map(|layer| layer.id.as_str()).collect();
    Ok(json!({
        "file": path,
        "recipe": plan.name,
        "image": plan.open().is_none().then(|| plan.image.to_hex().to_string()),
        "layers": layers,
    }))
}
