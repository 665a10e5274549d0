//! The troubles of one disk: what is installed, what it does to a request, and what it did so far. They are
//! those of a place rather than of what lies there: a disk that is replaced meets the troubles of the last one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::SECTOR;
use super::bell::Bell;
use super::fault::{DiskCounters, Effect, Requests, Trouble};
use crate::seed::Seed;

/// See [`Disk::troubled_by`](super::Disk::troubled_by).
#[derive(Debug, Default)]
pub struct Troubles {
    /// Whether there are any at all: what a request on a healthy disk asks.
    any: AtomicBool,
    installed: RwLock<Vec<Arc<Installed>>>,
    /// Rings when one goes.
    pub(super) bell: Bell,
}

#[derive(Debug)]
pub(super) struct Installed {
    fault: String,
    trouble: Trouble,
    seed: Seed,
    gone: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    lot: ChaCha8Rng,
    counters: DiskCounters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    /// Also of zeroes.
    Write,
    Flush,
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(super) struct Fate {
    pub(super) fails: bool,
    pub(super) delay: Duration,
    /// It is answered when all of these are gone.
    pub(super) stalled_by: Vec<Arc<Installed>>,
    flipped_by: Vec<Arc<Installed>>,
}

impl Troubles {
    /// `label` names the disk in the fleet: each draws from a stream of its own. Only what comes over a
    /// connection meets a trouble.
    pub fn install(&self, fault: &str, seed: Seed, label: &str, trouble: Trouble) {
        let inner = Mutex::new(Inner { lot: seed.stream(label), counters: DiskCounters::default() });
        let (fault, gone) = (fault.to_owned(), AtomicBool::new(false));
        let mut all = self.installed.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::new(Installed { fault, trouble, seed, gone, inner }));
        self.any.store(true, Ordering::Release);
    }

    /// Removes the trouble of a fault; `None` if there is none.
    pub fn remove(&self, fault: &str) -> Option<DiskCounters> {
        let mut all = self.installed.write().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|installed| installed.fault == fault)?;
        let installed = all.remove(place);
        self.any.store(!all.is_empty(), Ordering::Release);
        drop(all);
        installed.gone.store(true, Ordering::Release);
        self.bell.ring();
        Some(installed.inner().counters)
    }

    /// What the trouble of a fault did so far; `None` if there is none.
    pub fn counters(&self, fault: &str) -> Option<DiskCounters> {
        let all = self.installed.read().unwrap_or_else(PoisonError::into_inner);
        let installed = all.iter().find(|installed| installed.fault == fault)?;
        Some(installed.inner().counters)
    }

    /// Decides about a request for `length` bytes from `offset` on.
    pub(super) fn decide(&self, kind: Kind, offset: u64, length: u64) -> Fate {
        let mut fate = Fate::default();
        if !self.any.load(Ordering::Acquire) {
            return fate;
        }
        let all = self.installed.read().unwrap_or_else(PoisonError::into_inner);
        for installed in all.iter().filter(|installed| installed.concerns(kind, offset, length)) {
            installed.apply(kind, &mut fate);
        }
        fate
    }
}

impl Installed {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn concerns(&self, kind: Kind, offset: u64, length: u64) -> bool {
        let by_kind = match self.trouble.concerns {
            Requests::All => true,
            Requests::Reads => kind == Kind::Read,
            Requests::Writes => kind != Kind::Read,
        };
        let by_place = self.trouble.range.as_ref().is_none_or(|range| {
            kind != Kind::Flush && offset < range.end && offset.saturating_add(length) > range.start
        });
        by_kind && by_place
    }

    fn apply(self: &Arc<Self>, kind: Kind, fate: &mut Fate) {
        let mut inner = self.inner();
        let Inner { lot, counters } = &mut *inner;
        match self.trouble.effect {
            Effect::BitFlip if kind == Kind::Read => fate.flipped_by.push(self.clone()),
            Effect::BitFlip => {}
            _ if !lot.random_bool(self.trouble.chance.clamp(0.0, 1.0)) => {}
            Effect::Error if fate.fails => {}
            Effect::Error => {
                fate.fails = true;
                match kind {
                    Kind::Read => counters.failed_reads += 1,
                    Kind::Write | Kind::Flush => counters.failed_writes += 1,
                }
            }
            Effect::Delay { delay, jitter } => {
                fate.delay += delay + jitter.mul_f64(lot.random());
                counters.delayed += 1;
            }
            Effect::Stall => {
                fate.stalled_by.push(self.clone());
                counters.stalled += 1;
            }
        }
    }

    /// Which bit of the sector is wrong, if any.
    fn flips(&self, sector: u64) -> Option<usize> {
        let place = self.trouble.range.as_ref().is_none_or(|range| range.contains(&(sector * SECTOR)));
        let (lot, bit) = (scatter(self.seed.0 ^ scatter(sector)), scatter(self.seed.0.wrapping_add(sector)));
        let hit = (lot as f64) < self.trouble.chance * u64::MAX as f64;
        (place && hit).then_some((bit % (8 * SECTOR)) as usize)
    }
}

impl Fate {
    pub(super) fn waits(&self) -> bool {
        !self.delay.is_zero() || !self.stalled_by.is_empty()
    }

    /// Does to what was read from the sector `first` on what is to be done to it.
    pub(super) fn flip(&self, first: u64, data: &mut [u8]) {
        for installed in &self.flipped_by {
            let mut flipped = 0;
            for (sector, bytes) in (first..).zip(data.chunks_mut(SECTOR as usize)) {
                if let Some(bit) = installed.flips(sector)
                    && let Some(byte) = bytes.get_mut(bit / 8)
                {
                    *byte ^= 1 << (bit % 8);
                    flipped += 1;
                }
            }
            installed.inner().counters.flipped += flipped;
        }
    }
}

/// Spreads neighbouring numbers over all numbers: a sector's lot must be the same at each read, without
/// remembering it. The finalizer of SplitMix64.
fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
