//! `ovenproof images`: look into the local registry, and remove from it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, Printer};
use crate::fleet::FleetError;
use crate::fleet::ledger::Ledger;
use crate::fleet::qemu::gc::discard_useless_snapshots;
use crate::home::Home;
use crate::store::{Image, Promotion, Store};
use crate::units::Size;

mod diff;
mod export;
mod fsck;
mod gc;
mod publish;
mod show;

/// List, show or remove the images on this machine.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all images, the newest of each name first (the default).
    List,
    Show(show::ShowArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Publish(publish::PublishArgs),
    /// Remove images; one that a channel points at or a fleet runs from stays.
    #[command(visible_alias = "rm")]
    Remove {
        /// NAME, NAME:CHANNEL, or the first digits of an id.
        #[arg(required = true)]
        images: Vec<String>,
    },
    Gc(gc::GcArgs),
    Fsck(fsck::FsckArgs),
}

pub fn run(args: &ImagesArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let home = Home::from_env()?;
    let store = Store::open(&home)?;
    match &args.action {
        None | Some(Action::List) => list(&store, printer)?,
        Some(Action::Show(args)) => show::run(args, &store, printer)?,
        Some(Action::Diff(args)) => diff::run(args, &store, printer)?,
        Some(Action::Export(args)) => export::run(args, &store, &home, printer)?,
        Some(Action::Publish(args)) => publish::run(args, &store, &home, printer)?,
        Some(Action::Remove { images }) => remove(images, &store, &home, printer)?,
        Some(Action::Gc(args)) => gc::run(args, &store, &home, printer)?,
        Some(Action::Fsck(args)) => return fsck::run(args, &store, &home, printer),
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(images: &[String], store: &Store, home: &Home, printer: &Printer) -> Result<(), Failure> {
    let found = images.iter().map(|image| store.resolve(image)).collect::<Result<Vec<_>, _>>()?;
    let fleets = Ledger::of(home).fleets().map_err(FleetError::from)?;
    for image in &found {
        if let Some(fleet) = fleets.iter().find(|fleet| fleet.images.contains(image.id())) {
            let (name, fleet) = (image.id().short(), &fleet.name);
            return Err(Failure::user(format!("the fleet `{fleet}` runs from image {name}"))
                .hint(format!("`ovenproof down {fleet}` ends it")));
        }
    }
    for image in found {
        store.remove(image.id())?;
        printer.line(format!("removed {} {}", image.manifest.name, image.id().short()));
    }
    for sentence in discard_useless_snapshots(store)? {
        printer.line(sentence);
    }
    Ok(())
}

fn list(store: &Store, printer: &Printer) -> Result<(), Failure> {
    let images = store.list()?;
    let mut rows = Vec::new();
    for image in &images {
        rows.push((image, channels_of(store, image)?));
    }
    let documents = rows.iter().map(|(image, channels)| document(image, channels));
    printer.json(&documents.collect::<Vec<_>>());
    if images.is_empty() {
        printer.line("no images yet; `ovenproof bake RECIPE` makes one");
        return Ok(());
    }
    printer.line(format!("{:<16} {:<12} {:>8}  {:<20}  CHANNELS", "NAME", "ID", "SIZE", "BAKED"));
    for (image, channels) in &rows {
        let manifest = &image.manifest;
        let when: String = manifest.baked_at.chars().take(19).collect();
        printer.line(format!(
            "{:<16} {:<12} {:>8}  {when}Z  {}",
            manifest.name,
            manifest.id.short(),
            Size(manifest.stored_bytes).to_string(),
            channels.join(", ")
        ));
    }
    Ok(())
}

fn document(image: &Image, channels: &[String]) -> serde_json::Value {
    let manifest = &image.manifest;
    json!({
        "name": manifest.name,
        "id": manifest.id,
        "disk_bytes": manifest.disk_bytes,
        "stored_bytes": manifest.stored_bytes,
        "baked_at": manifest.baked_at,
        "channels": channels,
        "dir": image.dir,
    })
}

fn channels_of(store: &Store, image: &Image) -> Result<Vec<String>, Failure> {
    Ok(promotions_of(store, image)?.into_keys().collect())
}

/// The channels that point at an image, with why they do.
fn promotions_of(store: &Store, image: &Image) -> Result<BTreeMap<String, Promotion>, Failure> {
    let mut channels = store.channels(&image.manifest.name)?;
    channels.retain(|_, promotion| promotion.image == *image.id());
    Ok(channels)
}
