//! `ovenproof images diff`: what differs between two images.

use clap::Args;

use crate::cli::{Failure, Printer};
use crate::store::Store;
use crate::store::diff::ImageDiff;
use crate::units::Size;

/// Compare two images: packages, files, size, kernel, and its command line.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// NAME, NAME:CHANNEL, or the first digits of an id.
    from: String,
    /// The same, of the image that it became.
    to: String,
}

pub(super) fn run(args: &DiffArgs, store: &Store, printer: &Printer) -> Result<(), Failure> {
    let (from, to) = (store.resolve(&args.from)?, store.resolve(&args.to)?);
    let diff = ImageDiff::between(&from, &to)?;
    printer.json(&diff);
    for line in lines(&diff) {
        printer.line(line);
    }
    Ok(())
}

/// What differs, for a person: `+` came, `-` went, `~` changed.
fn lines(diff: &ImageDiff) -> Vec<String> {
    if diff.is_empty() {
        return vec!["the images hold the same".to_owned()];
    }
    let mut lines = Vec::new();
    let mut section = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.push(title.to_owned());
            lines.extend(rows.into_iter().map(|row| format!("  {row}")));
        }
    };
    let (packages, files) = (&diff.packages, &diff.files);
    let mut rows: Vec<String> = Vec::new();
    rows.extend(packages.added.iter().map(|added| format!("+ {} {}", added.name, added.version)));
    rows.extend(packages.removed.iter().map(|removed| format!("- {} {}", removed.name, removed.version)));
    rows.extend(packages.changed.iter().map(|change| {
        format!("~ {} {} -> {}", change.after.name, change.before.version, change.after.version)
    }));
    section("packages", rows);
    let mut rows: Vec<String> = Vec::new();
    rows.extend(files.added.iter().map(|added| format!("+ {}", added.path)));
    rows.extend(files.removed.iter().map(|removed| format!("- {}", removed.path)));
    rows.extend(
        files.changed.iter().map(|change| format!("~ {} ({})", change.after.path, change.differs.join(", "))),
    );
    section("files", rows);
    let sizes = |sizes: &Option<(u64, u64)>| {
        sizes.iter().map(|(before, after)| format!("{} -> {}", Size(*before), Size(*after))).collect()
    };
    let texts = |texts: &Option<(String, String)>| {
        texts.iter().flat_map(|(before, after)| [format!("- {before}"), format!("+ {after}")]).collect()
    };
    section("size", sizes(&diff.stored_bytes));
    section("disk", sizes(&diff.disk_bytes));
    section("kernel", texts(&diff.kernel));
    section("kernel command line", texts(&diff.kernel_cmdline));
    lines
}
