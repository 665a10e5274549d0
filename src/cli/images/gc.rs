//! `ovenproof images gc`: what nobody will ask for again goes.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use crate::cli::{Failure, Printer};
use crate::fleet::FleetError;
use crate::fleet::ledger::Ledger;
use crate::home::Home;
use crate::recipe::Recipe;
use crate::store::{ImageId, Store};
use crate::units::Size;

/// Remove images that no name, channel, fleet or lock file needs, layers that no image stands on, and unfinished work.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The images that the lock files beside the recipes stand for, whatever was baked from them since. A recipe that has gone,
/// or is no longer one, needs nothing.
fn locked(store: &Store) -> Result<Vec<ImageId>, Failure> {
    let mut images = Vec::new();
    for name in store.names()? {
        let Some(origin) = store.origin(&name)? else { continue };
        if let Ok(recipe) = Recipe::load(&origin.recipe, &origin.sets)
            && recipe.plan().open().is_none()
        {
            images.push(ImageId::from_hash(recipe.plan().image));
        }
    }
    Ok(images)
}

pub(super) fn run(args: &GcArgs, store: &Store, home: &Home, printer: &Printer) -> Result<(), Failure> {
    let _alone = store.alone(|| printer.progress("waiting for a bake that is under way"))?;
    let fleets = Ledger::of(home).fleets().map_err(FleetError::from)?;
    let mut needed: BTreeSet<_> = fleets.into_iter().flat_map(|fleet| fleet.images).collect();
    needed.extend(locked(store)?);
    let garbage = store.garbage(&needed)?;
    if !args.dry_run {
        store.collect(&garbage)?;
    }
    printer.json(&json!({ "dry_run": args.dry_run, "removed": garbage }));
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for (id, name) in &garbage.images {
        printer.line(format!("{verb} image {} {}", id.short(), name.as_deref().unwrap_or("(damaged)")));
    }
    for id in &garbage.layers {
        printer.line(format!("{verb} layer {}", id.get(..12).unwrap_or(id)));
    }
    if garbage.unfinished > 0 {
        printer.line(format!("{verb} {} pieces of unfinished work", garbage.unfinished));
    }
    printer.line(match garbage.is_empty() {
        true => "nothing to remove".to_owned(),
        false => format!("{verb} {} in all", Size(garbage.bytes)),
    });
    Ok(())
}
