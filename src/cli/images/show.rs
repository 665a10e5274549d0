//! `ovenproof images show`: what an image is made of, and where it lies.

use clap::Args;
use serde_json::json;

use super::promotions_of;
use crate::cli::{Failure, Printer};
use crate::store::files::{FileKind, FileRecord};
use crate::store::{Image, Promotion, Store, sbom};
use crate::units::Size;

/// Show one image: what it is made of, and where it lies.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// NAME, NAME:CHANNEL, or the first digits of an id.
    image: String,

    /// Print its software bill of materials, in CycloneDX 1.6.
    #[arg(long, conflicts_with = "files")]
    sbom: bool,

    /// List every file in it, with mode, owner, size and digest.
    #[arg(long)]
    files: bool,
}

pub(super) fn run(args: &ShowArgs, store: &Store, printer: &Printer) -> Result<(), Failure> {
    let image = store.resolve(&args.image)?;
    match (args.sbom, args.files) {
        (true, _) => {
            let document = sbom::cyclonedx(&image);
            printer.json(&document);
            printer.line(format!("{document:#}"));
            Ok(())
        }
        (false, true) => files(&image.files()?, printer),
        (false, false) => manifest(&image, store, printer),
    }
}

fn files(files: &[FileRecord], printer: &Printer) -> Result<(), Failure> {
    printer.json(&files);
    for file in files {
        let kind = match file.kind {
            FileKind::File => '-',
            FileKind::Directory => 'd',
            FileKind::Link => 'l',
            FileKind::CharacterDevice => 'c',
            FileKind::BlockDevice => 'b',
            FileKind::Pipe => 'p',
            FileKind::Socket => 's',
        };
        let owner = format!("{}:{}", file.uid, file.gid);
        let digest = file.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or_default();
        let target = file.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        let FileRecord { mode, size, path, .. } = file;
        printer.line(format!("{kind}{mode:04o} {owner:>9} {size:>10} {digest:12} {path}{target}"));
    }
    Ok(())
}

fn manifest(image: &Image, store: &Store, printer: &Printer) -> Result<(), Failure> {
    let promotions = promotions_of(store, image)?;
    let channels: Vec<String> = promotions.keys().cloned().collect();
    printer.json(&json!({
        "manifest": image.manifest,
        "dir": image.dir,
        "channels": channels,
        "promotions": promotions,
    }));
    let manifest = &image.manifest;
    printer.line(format!("name      {}", manifest.name));
    printer.line(format!("id        {}", manifest.id));
    printer
        .line(format!("channels  {}", if channels.is_empty() { "none".into() } else { channels.join(", ") }));
    for (channel, promotion) in &promotions {
        evidence(channel, promotion, printer);
    }
    printer.line(format!("baked     {}", manifest.baked_at));
    printer.line(format!("disk      {}", image.disk().display()));
    printer.line(format!("          {} of {}", Size(manifest.stored_bytes), Size(manifest.disk_bytes)));
    printer.line(format!("kernel    {}", image.kernel().display()));
    printer.line(format!("          {}", manifest.kernel));
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

/// Says what a channel was moved by: a line for each run that stands for the image.
fn evidence(channel: &str, promotion: &Promotion, printer: &Printer) {
    printer.line(format!("{channel:<10}since {}", promotion.promoted_at));
    for run in promotion.evidence["runs"].as_array().into_iter().flatten() {
        let word = |key: &str| run[key].as_str().unwrap_or("?").to_owned();
        let seed = &run["seed"];
        printer.line(format!(
            "          {}  {}, seed {seed}, run {}",
            word("verdict"),
            word("scenario"),
            word("run")
        ));
    }
}
