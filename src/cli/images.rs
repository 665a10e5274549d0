//! `ovenproof images`: look into the local registry, and remove from it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, Printer};
use crate::home::Home;
use crate::store::{Image, Store};
use crate::units::Size;

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
    /// Show one image: what it is made of, and where it lies.
    Show {
        /// NAME, NAME:CHANNEL, or the first digits of an id.
        image: String,
    },
    /// Remove images; one that a channel points at stays.
    Rm {
        /// NAME, NAME:CHANNEL, or the first digits of an id.
        #[arg(required = true)]
        images: Vec<String>,
    },
}

pub fn run(args: &ImagesArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    let store = Store::open(&Home::from_env()?)?;
    match &args.action {
        None | Some(Action::List) => list(&store, printer)?,
        Some(Action::Show { image }) => show(&store.resolve(image)?, &store, printer)?,
        Some(Action::Rm { images }) => {
            let found = images.iter().map(|image| store.resolve(image)).collect::<Result<Vec<_>, _>>()?;
            for image in found {
                store.remove(image.id())?;
                printer.line(format!("removed {} {}", image.manifest.name, image.id().short()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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

fn show(image: &Image, store: &Store, printer: &Printer) -> Result<(), Failure> {
    let channels = channels_of(store, image)?;
    printer.json(&json!({ "manifest": image.manifest, "dir": image.dir, "channels": channels }));
    let manifest = &image.manifest;
    printer.line(format!("name      {}", manifest.name));
    printer.line(format!("id        {}", manifest.id));
    printer
        .line(format!("channels  {}", if channels.is_empty() { "none".into() } else { channels.join(", ") }));
    printer.line(format!("baked     {}", manifest.baked_at));
    printer.line(format!("disk      {}", image.disk().display()));
    printer.line(format!("          {} of {}", Size(manifest.stored_bytes), Size(manifest.disk_bytes)));
    printer.line(format!("kernel    {}", image.kernel().display()));
    printer.line(format!("          {}", manifest.kernel_cmdline));
    let instance = &manifest.instance;
    printer.line(format!("instance  {} memory, {} cpus", instance.memory, instance.cpus));
    printer.line(format!("packages  {}", manifest.packages.len()));
    for package in &manifest.packages {
        printer.line(format!("          {} {}", package.name, package.version));
    }
    printer.line("layers");
    for (name, took) in &manifest.timings_ms {
        printer.line(format!("          {name}  {:.1}s", *took as f64 / 1000.0));
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
    let channels = store.channels(&image.manifest.name)?;
    Ok(channels
        .into_iter()
        .filter(|(_, promotion)| promotion.image == *image.id())
        .map(|(channel, _)| channel)
        .collect())
}
