//! `ovenproof images gc`: what nobody will ask for again goes.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

#[cfg(feature = "ec2")]
use crate::cli::fleets::block_on;
use crate::cli::{Failure, Printer};
use crate::fleet::FleetError;
use crate::fleet::ledger::Ledger;
use crate::fleet::qemu::gc::discard_useless_snapshots;
use crate::home::Home;
use crate::recipe::Recipe;
use crate::store::gc::Garbage;
use crate::store::{ImageId, Store};
use crate::units::Size;

/// Remove images that no name, channel, fleet or lock file needs, layers that no image stands on, and unfinished work.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,

    /// Look in the AWS account too: AMIs that this home made go, with their snapshots, when their image is no longer
    /// in the store.
    #[arg(long)]
    ec2: bool,

    /// A region to look in; may be given again. [default: that of the environment, and all that this home has used]
    #[arg(long = "region", value_name = "REGION", requires = "ec2")]
    regions: Vec<String>,
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
        for sentence in discard_useless_snapshots(store)? {
            printer.line(sentence);
        }
    }
    if args.ec2 {
        return remote(args, store, &garbage, home, printer);
    }
    printer.json(&json!({ "dry_run": args.dry_run, "removed": garbage }));
    print(args, &garbage, printer);
    Ok(())
}

/// What goes from the account, after what went from the store.
#[cfg(feature = "ec2")]
fn remote(
    args: &GcArgs,
    store: &Store,
    garbage: &Garbage,
    home: &Home,
    printer: &Printer,
) -> Result<(), Failure> {
    use crate::aws::remains;
    use crate::bake::ami::leftovers::unneeded;
    use crate::cli::gc::ec2::{KINDS, clients, sentence};
    print(args, garbage, printer);
    let mut kept: BTreeSet<ImageId> = store.ids()?.into_iter().collect();
    for (id, _) in &garbage.images {
        kept.remove(id);
    }
    let found = block_on(async {
        let mut all = Vec::new();
        for aws in clients(&args.regions, home).await? {
            let found = unneeded(&aws, home, &kept).await?;
            if !args.dry_run {
                remains::remove(KINDS, &aws, &found).await?;
            }
            all.extend(found);
        }
        Ok(all)
    })?;
    for leftover in &found {
        printer.line(sentence(leftover, args.dry_run));
    }
    printer.json(&json!({ "dry_run": args.dry_run, "removed": garbage, "removed_from_ec2": found }));
    Ok(())
}

#[cfg(not(feature = "ec2"))]
fn remote(args: &GcArgs, _: &Store, _: &Garbage, _: &Home, _: &Printer) -> Result<(), Failure> {
    let _ = &args.regions;
    Err(crate::cli::no_ec2())
}

fn print(args: &GcArgs, garbage: &Garbage, printer: &Printer) {
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
}
