//! What outlives a power cut: everything that was flushed, and a seeded choice of the rest.

use std::collections::VecDeque;
use std::io;

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cache::Write;
use super::layer::Layer;
use crate::seed::Seed;

/// Which of the writes that were not flushed outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unflushed {
    /// None of them: a drive that keeps them in memory.
    None,
    /// All of them: a drive that writes at once, or that has a battery.
    All,
    /// Those before a moment that the seed chooses.
    Prefix,
    /// Each by a throw of the seed's coin: drives write in the order that suits them.
    #[default]
    Subset,
    /// As `subset`, and of some only a part of their sectors.
    Torn,
}

/// What a power cut did to the writes to one disk or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cut {
    /// Writes that the guest had not flushed.
    pub unflushed: u64,
    /// Of these: kept whole.
    pub kept: u64,
    /// Of these: lost whole.
    pub lost: u64,
    /// Of these: kept in some of their sectors.
    pub torn: u64,
}

impl std::ops::AddAssign for Cut {
    fn add_assign(&mut self, other: Self) {
        self.unflushed += other.unflushed;
        self.kept += other.kept;
        self.lost += other.lost;
        self.torn += other.torn;
    }
}

enum Fate {
    Kept,
    Lost,
    Torn,
}

/// Writes to `layer` what outlives the cut, in the order in which it came.
pub(super) fn survive(
    writes: VecDeque<Write>,
    which: Unflushed,
    seed: Seed,
    layer: &mut Layer,
) -> io::Result<Cut> {
    let mut lot = seed.stream("power cut");
    let prefix = lot.random_range(0..=writes.len());
    let mut cut = Cut { unflushed: writes.len() as u64, ..Cut::default() };
    for (index, write) in writes.into_iter().enumerate() {
        let sectors = write.sectors();
        let fate = match which {
            Unflushed::None => Fate::Lost,
            Unflushed::All => Fate::Kept,
            Unflushed::Prefix if index < prefix => Fate::Kept,
            Unflushed::Prefix => Fate::Lost,
            Unflushed::Subset if lot.random() => Fate::Kept,
            Unflushed::Subset => Fate::Lost,
            Unflushed::Torn => match lot.random_range(0..3) {
                0 => Fate::Kept,
                1 => Fate::Lost,
                // A sector is never torn.
                _ if sectors.end - sectors.start < 2 => Fate::Lost,
                _ => Fate::Torn,
            },
        };
        match fate {
            Fate::Kept => {
                write.apply(sectors, layer)?;
                cut.kept += 1;
            }
            Fate::Lost => cut.lost += 1,
            Fate::Torn => {
                tear(&write, &mut lot, layer)?;
                cut.torn += 1;
            }
        }
    }
    Ok(cut)
}

/// Writes some sectors, and not all.
fn tear(write: &Write, lot: &mut impl Rng, layer: &mut Layer) -> io::Result<()> {
    let sectors = write.sectors();
    // Drives lose the end, the beginning or the middle: a run of sectors that is kept or that is lost.
    let count = sectors.end - sectors.start;
    let from = lot.random_range(0..count);
    let most = if from == 0 { count - 1 } else { count };
    let end = lot.random_range(from + 1..=most.max(from + 1));
    let run = sectors.start + from..sectors.start + end;
    match lot.random() {
        true => write.apply(run, layer),
        false => {
            write.apply(sectors.start..run.start, layer)?;
            write.apply(run.end..sectors.end, layer)
        }
    }
}
