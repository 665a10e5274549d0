//! A disk: its layers, its write cache, and everything that can be done to it.
//!
//! Any number of connections may use one disk at once. What one of them flushed is flushed for all.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Bell;
use super::cache::{Cache, Content, Write};
use super::crash::{self, Cut, Unflushed};
use super::layer::Layer;
use super::troubles::Troubles;
use super::{SECTOR, nbd};
use crate::seed::Seed;

/// Reads go through the layers one by one; more of them than this is a mistake of ours.
const MAX_LAYERS: usize = 64;

/// What a guest's flush is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Data outlives the guest's power cuts, not the host's: for disks that go when their fleet goes.
    Guest,
    /// A flush returns when the data is on the host's disk.
    Host,
}

#[derive(Debug)]
pub struct Disk {
    sectors: u64,
    keeping: Keeping,
    state: Mutex<State>,
    /// Held while the uppermost layer is made durable or replaced, so that its map is saved in order.
    saving: Mutex<()>,
    troubles: Arc<Troubles>,
}

#[derive(Debug)]
struct State {
    /// The uppermost last.
    below: Vec<Arc<Layer>>,
    top: Layer,
    cache: Cache,
}

impl Disk {
    /// A disk of `bytes`, a multiple of the sector, over `below`, the uppermost last. What is written goes to
    /// `top`.
    pub fn new(bytes: u64, below: Vec<Arc<Layer>>, top: Layer, keeping: Keeping) -> io::Result<Self> {
        if bytes == 0 || !bytes.is_multiple_of(SECTOR) || below.len() > MAX_LAYERS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let state = Mutex::new(State { below, top, cache: Cache::default() });
        Ok(Disk { sectors: bytes / SECTOR, keeping, state, saving: Mutex::new(()), troubles: Arc::default() })
    }

    /// The same disk with troubles that may have others beside it, or before and after it.
    pub fn troubled_by(mut self, troubles: Arc<Troubles>) -> Self {
        self.troubles = troubles;
        self
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.sectors * SECTOR
    }

    /// The sectors of a piece given in bytes, if it lies on sectors and within the disk.
    pub(super) fn sectors(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let whole = offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR);
        let end = offset.checked_add(length).filter(|end| *end <= self.size())?;
        whole.then_some(offset / SECTOR..end / SECTOR)
    }

    /// Reads from the byte `offset` on; both it and the buffer's length are multiples of the sector.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let sectors = self.sectors(offset, buffer.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let state = self.state();
        state
            .cache
            .read(sectors.start, buffer, |sector, buffer| read(&state.top, &state.below, sector, buffer))
    }

    /// Writes from the byte `offset` on. With `through`, the write is flushed by itself.
    pub fn write(&self, offset: u64, data: Vec<u8>, through: bool) -> io::Result<()> {
        let sectors = self.sectors(offset, data.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.put(Write { sector: sectors.start, content: Content::Data(data) }, through)
    }

    /// Writes zeroes; gives back the room that they take.
    pub fn zero(&self, offset: u64, length: u64, through: bool) -> io::Result<()> {
        let sectors = self.sectors(offset, length).ok_or(io::ErrorKind::InvalidInput)?;
        let content = Content::Zeroes(sectors.end - sectors.start);
        self.put(Write { sector: sectors.start, content }, through)
    }

    fn put(&self, write: Write, through: bool) -> io::Result<()> {
        let mut state = self.state();
        let State { top, cache, .. } = &mut *state;
        if !through {
            cache.push(write);
            return cache.spill(top);
        }
        let sectors = write.sectors();
        if cache.touches(&sectors) {
            // Older writes to the same place must not come back over this one.
            cache.flush(top)?;
        }
        write.apply(sectors, top)?;
        drop(state);
        self.keep()
    }

    /// From here on everything written so far outlives a power cut.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        let State { top, cache, .. } = &mut *state;
        cache.flush(top)?;
        drop(state);
        self.keep()
    }

    /// Waits until what has left the cache is on the host's disk, where that is asked for.
    fn keep(&self) -> io::Result<()> {
        if self.keeping == Keeping::Guest {
            return Ok(());
        }
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaved = self.state().top.unsaved();
        unsaved.save()
    }

    /// Whether a flush takes as long as the host's disk takes.
    pub(super) fn flushes_slowly(&self) -> bool {
        self.keeping == Keeping::Host
    }

    /// Freezes the uppermost layer as the guest sees it now and goes on with a new one in `next`. Copies
    /// nothing. The frozen layer is whole in its files, and others may stand on it.
    pub fn snapshot(&self, next: &Path) -> io::Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.below.len() >= MAX_LAYERS {
            return Err(io::Error::other(format!("a disk has at most {MAX_LAYERS} layers")));
        }
        let State { top, cache, below } = &mut *state;
        cache.flush(top)?;
        match self.keeping {
            Keeping::Guest => top.save_map()?,
            Keeping::Host => top.unsaved().save()?,
        }
        let frozen = std::mem::replace(top, Layer::create(next, self.size())?);
        below.push(Arc::new(frozen));
        Ok(())
    }

    /// Whoever used the disk is gone without a word: what was flushed stays, of the rest what `which` says.
    pub fn power_cut(&self, which: Unflushed, seed: Seed) -> io::Result<Cut> {
        let mut state = self.state();
        let State { top, cache, .. } = &mut *state;
        crash::survive(cache.take(), which, seed, top)
    }

    /// What is wrong with it.
    pub fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.troubles.bell
    }

    /// Answers NBD on `stream` in threads of its own, until the other end closes.
    pub fn serve(self: &Arc<Self>, stream: std::os::unix::net::UnixStream) -> io::Result<nbd::Serving> {
        nbd::Serving::start(self.clone(), stream)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is in `layer`, and what is not there from below.
fn read(layer: &Layer, below: &[Arc<Layer>], sector: u64, buffer: &mut [u8]) -> io::Result<()> {
    let (mut at, mut rest) = (sector, buffer);
    while !rest.is_empty() {
        let (present, until) = layer.run(at, at + rest.len() as u64 / SECTOR);
        let (now, later) = rest.split_at_mut(((until - at) * SECTOR) as usize);
        match present {
            true => layer.read(at, now)?,
            false => match below.split_last() {
                Some((layer, below)) => read(layer, below, at, now)?,
                None => now.fill(0),
            },
        }
        (at, rest) = (until, later);
    }
    Ok(())
}
