//! `ovenproof check`: validate recipes and scenarios and print what they come to, touching nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Printer, fleets::table};
use crate::chaos::Scenario;
use crate::chaos::schedule::describe;
use crate::diagnostic::{BadFile, read_text};
use crate::recipe::Recipe;
use crate::seed::Seed;
use crate::units::Span;

/// Validate recipes and scenarios, and print the resolved plan or schedule. Touches nothing.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Recipes and scenarios.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The seed for schedules, instead of the scenario's own.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub fn run(args: &CheckArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    let mut bad: Vec<BadFile> = Vec::new();
    for file in &args.files {
        match check(file, args.seed, printer) {
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

fn check(path: &Path, seed: Option<u64>, printer: &Printer) -> Result<Value, BadFile> {
    let text = read_text(path)?;
    // A recipe is a template before it is YAML, so the kind of file is told by what only scenarios have.
    let is_scenario =
        text.lines().any(|line| ["fleet:", "steady:", "timeline:"].iter().any(|key| line.starts_with(key)));
    match is_scenario {
        true => scenario(&Scenario::parse(path, text)?, seed, printer),
        false => recipe(path, printer),
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
    let expectations: Vec<String> = scenario.expectations().iter().map(|e| e.title()).collect();
    printer.line(format!("  expects: {}", expectations.join("; ")));
    Ok(json!({
        "file": scenario.path,
        "scenario": spec.name,
        "digest": scenario.digest(),
        "seed": seed,
        "duration": Span(scenario.duration()),
        "schedule": schedule,
        "expectations": expectations,
    }))
}

fn recipe(path: &Path, printer: &Printer) -> Result<Value, BadFile> {
    let recipe = Recipe::load(path, &[])?;
    let plan = recipe.plan();
    let short = |id: &str| id.chars().take(12).collect::<String>();
    printer.line(format!(
        "{}: recipe `{}`, image {}",
        path.display(),
        plan.name,
        short(&plan.image.to_hex())
    ));
    let rows: Vec<Vec<String>> = plan
        .layers
        .iter()
        .map(|layer| {
            let about: String = layer.work.about().chars().take(70).collect();
            vec![
                format!("  {}", short(layer.id.as_str())),
                layer.recipe.clone(),
                layer.work.kind().to_owned(),
                about,
            ]
        })
        .collect();
    printer.line(table(&rows).join("\n"));
    let layers: Vec<&str> = plan.layers.iter().map(|layer| layer.id.as_str()).collect();
    Ok(json!({
        "file": path,
        "recipe": plan.name,
        "image": plan.image.to_hex().to_string(),
        "layers": layers,
    }))
}
