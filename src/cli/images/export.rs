//! `ovenproof images export`: an image as a file for other hypervisors and clouds.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValue;
use serde_json::json;

use crate::bake::export::{DiskFormat, export};
use crate::cli::{Failure, Printer};
use crate::home::Home;
use crate::store::Store;
use crate::units::Size;

/// Write an image's disk to a file that other hypervisors and clouds read.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// NAME, NAME:CHANNEL, or the first digits of an id.
    image: String,

    /// The format of the file.
    #[arg(long, value_enum, default_value = "qcow2")]
    format: DiskFormat,

    /// Where it goes; a file that is there is replaced once the new one is whole.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl clap::ValueEnum for DiskFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

pub(super) fn run(args: &ExportArgs, store: &Store, home: &Home, printer: &Printer) -> Result<(), Failure> {
    let image = store.resolve(&args.image)?;
    let bytes = export(&image, args.format, &args.output, home)?;
    let (name, id, format) = (&image.manifest.name, image.id(), args.format.name());
    printer.json(&json!({
        "image": id, "format": format, "file": args.output, "stored_bytes": bytes,
    }));
    printer.line(format!("{name} {}  {format}, {}  {}", id.short(), Size(bytes), args.output.display()));
    Ok(())
}
