//! `ovenproof bake`: bake a recipe, or find that nothing changed.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::{Failure, Printer, kind};
use crate::bake::{
    LayerNote, Moved, Options, Outcome, Progress, Reproduction, Secrets, bake, keep_locks, reproduce,
    require_locked,
};
use crate::home::Home;
use crate::recipe::Recipe;
use crate::store::{Origin, Store};
use crate::units::Size;

/// Bake an image from a recipe. Takes no time if nothing changed since it was last baked.
#[derive(Debug, Args)]
pub struct BakeArgs {
    /// The recipe: a path, or NAME for images/NAME.yaml.
    recipe: String,

    /// Give a variable of the recipe a value; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,

    #[command(flatten)]
    with: With,

    /// Fail unless lock files fix the version of every package.
    #[arg(long, conflicts_with = "update")]
    locked: bool,

    /// Take the newest packages that the archive has, and move the recipe's lock file to them. The recipes that
    /// it stands on have lock files of their own.
    #[arg(long)]
    update: bool,

    /// Then bake it twice more from nothing, and compare every byte; exits with 1 if they differ.
    #[arg(long)]
    verify_reproducible: bool,

    /// When a step fails, open a shell in its sandbox.
    #[arg(long)]
    shell: bool,
}

/// What `bake` and `gate` may be given for the steps of a recipe.
#[derive(Debug, Args)]
pub struct With {
    /// A secret for the steps that name it: from the environment variable NAME, or from a file. May be repeated.
    #[arg(long = "secret", value_name = "NAME[=FILE]")]
    secrets: Vec<String>,
}

impl With {
    /// Reads the secrets.
    pub fn secrets(&self) -> Result<Secrets, Failure> {
        let mut secrets = Secrets::default();
        for given in &self.secrets {
            let (name, value) = match given.split_once('=') {
                Some((name, file)) => {
                    let value = std::fs::read(file)
                        .map_err(|error| Failure::user(format!("--secret {name}: {file}: {error}")))?;
                    (name, value)
                }
                None => {
                    let value = std::env::var_os(given).ok_or_else(|| {
                        Failure::user(format!("--secret {given}: there is no such environment variable"))
                            .hint("give it a value, or name a file: `--secret NAME=FILE`")
                    })?;
                    (given.as_str(), value.into_vec())
                }
            };
            secrets.insert(name, value).map_err(Failure::user)?;
        }
        Ok(secrets)
    }
}

/// Remembers where a recipe lies, so that what its lock file stands for is kept.
pub fn remember(recipe: &Recipe, sets: &[(String, String)], store: &Store) -> Result<(), Failure> {
    let path = std::path::absolute(&recipe.path).map_err(Failure::infrastructure)?;
    Ok(store.set_origin(&recipe.name, &Origin { recipe: path, sets: sets.to_vec() })?)
}

/// Says which lock files were written, and what is another in them.
pub fn tell_locks(moved: &[Moved], printer: &Printer) {
    for Moved { path, changes, failed } in moved {
        match failed {
            Some(why) => printer.progress(format!("{} could not be written: {why}", path.display())),
            None => printer.progress(format!("{} written", path.display())),
        }
        changes.iter().for_each(|line| printer.progress(format!("  {line}")));
    }
}

/// Splits `NAME=VALUE`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub fn run(args: &BakeArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let recipe = kind::load_recipe(&args.recipe, &args.sets)?;
    let home = Home::from_env()?;
    let store = Store::open(&home)?;
    let mut plan = recipe.plan().clone();
    if args.update {
        plan.unlock(&recipe.name).map_err(Failure::infrastructure)?;
    }
    if args.locked {
        require_locked(&plan)?;
    }
    let options = Options { secrets: args.with.secrets()?, shell: args.shell };
    let baked = bake(&plan, &options, &store, &home, &mut Lines::new(printer))?;
    let moved = keep_locks(&recipe, &baked.plan);
    tell_locks(&moved, printer);
    remember(&recipe, &args.sets, &store)?;
    let manifest = &baked.image.manifest;
    let proof = match args.verify_reproducible {
        true => Some(reproduce(&baked.plan, &options, &store, &home, &mut Lines::new(printer))?),
        false => None,
    };
    printer.json(&json!({
        "name": manifest.name,
        "id": manifest.id,
        "reused": baked.reused,
        "disk": baked.image.disk(),
        "kernel": baked.image.kernel(),
        "disk_bytes": manifest.disk_bytes,
        "stored_bytes": manifest.stored_bytes,
        "layers": manifest.layers,
        "locks": moved.iter().map(|lock| json!({ "file": lock.path, "changes": lock.changes })).collect::<Vec<_>>(),
        "took_ms": started.elapsed().as_millis() as u64,
        "reproduced": proof,
    }));
    printer.line(format!(
        "{} {}  {} of {}, {}  {}",
        manifest.name,
        manifest.id.short(),
        Size(manifest.stored_bytes),
        Size(manifest.disk_bytes),
        if baked.reused { "reused".to_owned() } else { format!("{:.1}s", started.elapsed().as_secs_f64()) },
        baked.image.dir.display()
    ));
    let Some(Reproduction { differences, took_ms, .. }) = proof else { return Ok(ExitCode::SUCCESS) };
    if differences.is_empty() {
        let [one, other] = took_ms.map(|took| took as f64 / 1000.0);
        printer.line(format!(
            "reproducible: baked twice from nothing, in {one:.1}s and {other:.1}s, to the same bytes"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    printer.line("not reproducible: baked twice from nothing,");
    for difference in &differences {
        printer.line(format!("  {difference}"));
    }
    Ok(ExitCode::from(1))
}

/// One line a layer, when it is there.
#[derive(Debug)]
pub struct Lines<'a> {
    printer: &'a Printer,
}

impl<'a> Lines<'a> {
    pub fn new(printer: &'a Printer) -> Self {
        Lines { printer }
    }
}

impl Progress for Lines<'_> {
    fn finished(&mut self, layer: &LayerNote<'_>, outcome: Outcome) {
        let took = match outcome {
            Outcome::Reused => "reused".to_owned(),
            Outcome::Made(took) => format!("{:.1}s", took.as_secs_f64()),
        };
        let about: String = layer.about.chars().take(60).collect();
        self.printer.progress(format!("{:<10} {:<8} {about:<60} {took:>7}", layer.recipe, layer.kind));
    }
}
