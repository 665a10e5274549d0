//! Publishing as an AMI: the printing around [`ami::publish`].

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::PublishArgs;
use crate::bake::ami::{self, Publishing, Watch};
use crate::cli::fleets::block_on;
use crate::cli::{Failure, Printer};
use crate::home::Home;
use crate::store::Store;

/// A bar on a terminal, lines elsewhere.
struct Shown<'a> {
    bar: ProgressBar,
    printer: &'a Printer,
}

impl Watch for Shown<'_> {
    fn block(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn say(&self, what: &str) {
        self.bar.suspend(|| self.printer.progress(what));
    }
}

pub(super) fn publish(
    args: &PublishArgs,
    store: &Store,
    home: &Home,
    printer: &Printer,
) -> Result<(), Failure> {
    // Nobody may remove the disk while it goes up.
    let _lock = store.in_use()?;
    let image = store.resolve(&args.image)?;
    let publishing = Publishing {
        regions: args.regions.clone(),
        accounts: args.accounts.clone(),
        key: args.kms_key.clone(),
        deprecate_in: args.deprecate,
    };
    let style =
        ProgressStyle::with_template("{bar:30} {bytes} of about {total_bytes}  {bytes_per_sec}  {eta}");
    let bar = ProgressBar::new(image.manifest.stored_bytes);
    bar.set_style(style.map_err(Failure::infrastructure)?);
    let watch = Shown { bar, printer };
    let published = block_on(async { Ok(ami::publish(&image, &publishing, home, &watch).await?) });
    watch.bar.finish_and_clear();
    let published = published?;
    printer.json(&json!({ "image": image.id(), "published": published }));
    for one in &published {
        let how = if one.reused { "was there already" } else { "made" };
        let (name, id) = (&image.manifest.name, image.id().short());
        printer.line(format!("{name} {id}  {}  {}  {how}", one.region, one.ami));
    }
    Ok(())
}
