//! What the guest has written and not flushed, in the order in which it came: a drive's write cache.
//!
//! The memory it may take is bounded. When it is full the oldest writes go to the layer before anyone
//! flushed them, as in a real drive, and from then on they outlive every power cut.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use super::SECTOR;
use super::layer::Layer;

/// Bytes of data held for one disk at the most.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Writes held at the most: those of zeroes take no bytes.
pub(super) const MAX_WRITES: usize = 16 << 10;

#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) sector: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Data(Vec<u8>),
    /// So many sectors.
    Zeroes(u64),
}

impl Write {
    pub(super) fn sectors(&self) -> Range<u64> {
        let count = match &self.content {
            Content::Data(data) => data.len() as u64 / SECTOR,
            Content::Zeroes(count) => *count,
        };
        self.sector..self.sector + count
    }

    /// The part of the write that lies in `sectors`, which must be within it.
    fn part(&self, sectors: &Range<u64>) -> Option<&[u8]> {
        let Content::Data(data) = &self.content else { return None };
        let from = (sectors.start - self.sector) * SECTOR;
        data.get(from as usize..(from + (sectors.end - sectors.start) * SECTOR) as usize)
    }

    fn memory(&self) -> usize {
        match &self.content {
            Content::Data(data) => data.len(),
            Content::Zeroes(_) => 0,
        }
    }

    /// Writes the part that lies in `sectors` to a layer.
    pub(super) fn apply(&self, sectors: Range<u64>, layer: &mut Layer) -> io::Result<()> {
        match self.part(&sectors) {
            _ if sectors.is_empty() => Ok(()),
            Some(data) => layer.write(sectors.start, data),
            None => layer.zero(sectors),
        }
    }
}

/// Sectors whose newest content is that of one write; the key beside it is the first.
#[derive(Debug, Clone, Copy)]
struct Piece {
    end: u64,
    number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    writes: VecDeque<Write>,
    /// The number of the first of `writes`; the others follow.
    first: u64,
    newest: BTreeMap<u64, Piece>,
    bytes: usize,
}

impl Cache {
    pub(super) fn push(&mut self, write: Write) {
        let sectors = write.sectors();
        if sectors.is_empty() {
            return;
        }
        self.forget(sectors.clone());
        let number = self.first + self.writes.len() as u64;
        self.newest.insert(sectors.start, Piece { end: sectors.end, number });
        self.bytes += write.memory();
        self.writes.push_back(write);
    }

    /// Cuts `sectors` out of what is newest.
    fn forget(&mut self, sectors: Range<u64>) {
        if let Some((_, piece)) = self.newest.range_mut(..sectors.start).next_back()
            && piece.end > sectors.start
        {
            let rest = *piece;
            piece.end = sectors.start;
            if rest.end > sectors.end {
                self.newest.insert(sectors.end, rest);
                return;
            }
        }
        while let Some((start, piece)) = self.piece_in(&sectors) {
            self.newest.remove(&start);
            if piece.end > sectors.end {
                self.newest.insert(sectors.end, piece);
            }
        }
    }

    /// The first piece that begins in `sectors`, which may be empty or end before they begin.
    fn piece_in(&self, sectors: &Range<u64>) -> Option<(u64, Piece)> {
        if sectors.is_empty() {
            return None;
        }
        self.newest.range(sectors.clone()).next().map(|(start, piece)| (*start, *piece))
    }

    fn write(&self, number: u64) -> Option<&Write> {
        self.writes.get(usize::try_from(number - self.first).ok()?)
    }

    /// Fills `buffer`, whose first sector is `sector`; what the cache does not have is left to `below`.
    pub(super) fn read(
        &self,
        sector: u64,
        buffer: &mut [u8],
        below: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, mut rest) = (sector, buffer);
        while !rest.is_empty() {
            let end = at + rest.len() as u64 / SECTOR;
            let covering = self.newest.range(..=at).next_back().map(|(_, piece)| *piece);
            let (until, number) = match covering.filter(|piece| piece.end > at) {
                Some(piece) => (piece.end.min(end), Some(piece.number)),
                None => (self.piece_in(&(at..end)).map_or(end, |(start, _)| start), None),
            };
            let (now, later) = rest.split_at_mut(((until - at) * SECTOR) as usize);
            match number.and_then(|number| self.write(number)) {
                Some(write) => match write.part(&(at..until)) {
                    Some(data) => now.copy_from_slice(data),
                    None => now.fill(0),
                },
                None => below(at, now)?,
            }
            (at, rest) = (until, later);
        }
        Ok(())
    }

    /// Whether any write in the cache touches `sectors`.
    pub(super) fn touches(&self, sectors: &Range<u64>) -> bool {
        let reaches_in = self.newest.range(..sectors.start).next_back();
        reaches_in.is_some_and(|(_, piece)| piece.end > sectors.start) || self.piece_in(sectors).is_some()
    }

    /// Moves the oldest writes to `layer` until the rest is within the bounds.
    pub(super) fn spill(&mut self, layer: &mut Layer) -> io::Result<()> {
        while self.bytes > MAX_BYTES || self.writes.len() > MAX_WRITES {
            let Some(oldest) = self.writes.front() else { break };
            // Whole, also where a newer write covers it: if that one is lost, this one is seen again.
            let sectors = oldest.sectors();
            oldest.apply(sectors.clone(), layer)?;
            self.bytes -= oldest.memory();
            self.writes.pop_front();
            let mut at = sectors.start;
            while let Some((start, piece)) = self.piece_in(&(at..sectors.end)) {
                if piece.number == self.first {
                    self.newest.remove(&start);
                }
                at = piece.end;
            }
            self.first += 1;
        }
        Ok(())
    }

    /// Moves everything to `layer`. After an error it is all still here.
    pub(super) fn flush(&mut self, layer: &mut Layer) -> io::Result<()> {
        // What a newer write covers needs no writing: nothing but the newest can be seen from now on. In
        // order of place, which the host likes best.
        for (start, piece) in &self.newest {
            if let Some(write) = self.write(piece.number) {
                write.apply(*start..piece.end, layer)?;
            }
        }
        self.clear();
        Ok(())
    }

    /// All that is held, oldest first; nothing is held from now on.
    pub(super) fn take(&mut self) -> VecDeque<Write> {
        let writes = std::mem::take(&mut self.writes);
        self.first += writes.len() as u64;
        self.clear();
        writes
    }

    fn clear(&mut self) {
        self.first += self.writes.len() as u64;
        self.writes.clear();
        self.newest.clear();
        self.bytes = 0;
    }
}
