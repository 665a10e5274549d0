//! `ovenproof images fsck`: is everything what it was when it was baked?

use std::process::ExitCode;

use clap::Args;

use crate::bake::fsck::{Damage, fsck};
use crate::cli::{Failure, Printer};
use crate::fleet::qemu::gc;
use crate::home::Home;
use crate::store::Store;

/// Verify every byte of every image and layer, and that snapshots can be restored from; exits with 1 if something
/// is damaged.
#[derive(Debug, Args)]
pub(super) struct FsckArgs {
    /// Remove what is damaged, so that the next bake makes it again.
    #[arg(long)]
    repair: bool,
}

pub(super) fn run(
    args: &FsckArgs,
    store: &Store,
    home: &Home,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let _used = match args.repair {
        true => store.alone(|| printer.progress("waiting for a bake that is under way"))?,
        false => store.in_use()?,
    };
    let mut report = fsck(store, home, args.repair)?;
    for (id, why) in gc::useless_snapshots(store)? {
        if args.repair {
            store.discard_snapshot(&id)?;
        }
        report.damages.push(Damage { kind: "snapshot", id, why, dropped: args.repair });
    }
    printer.json(&report);
    for damage in &report.damages {
        let id = damage.id.get(..12).filter(|_| damage.id.len() == 64).unwrap_or(&damage.id);
        printer.line(format!("damaged {} {id}: {}", damage.kind, damage.why));
        if damage.dropped {
            printer.line("  removed it; the next bake makes it again");
        }
    }
    let left = report.damages.iter().filter(|damage| !damage.dropped).count();
    printer.line(format!(
        "checked {} images and {} layers: {}",
        report.images,
        report.layers,
        match report.damages.len() {
            0 => "all sound".to_owned(),
            damaged => format!("{damaged} damaged, {} removed", damaged - left),
        }
    ));
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
