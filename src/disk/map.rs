//! Which sectors a layer has: one bit each, in pages that exist only where there are any.
//!
//! In a file a page lies at a fixed place, so that saving a map writes only what changed since the last time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const WORDS: usize = 512;
const PAGE_BYTES: u64 = 8 * WORDS as u64;
const PAGE_SECTORS: u64 = 8 * PAGE_BYTES;
const MAGIC: &[u8; 24] = b"ovenproof layer map v1\n\0";

type Page = [u64; WORDS];

#[derive(Debug, Default)]
pub(super) struct Map {
    pages: BTreeMap<u64, Box<Page>>,
    /// Pages that are not yet saved as they are.
    dirty: BTreeSet<u64>,
}

/// Pages as they were at one moment, on their way to a file.
#[derive(Debug)]
pub(super) struct Changes(Vec<(u64, Box<Page>)>);

impl Map {
    pub(super) fn insert(&mut self, sectors: Range<u64>) {
        let mut at = sectors.start;
        while at < sectors.end {
            let (number, bit) = (at / PAGE_SECTORS, at % PAGE_SECTORS);
            let page = self.pages.entry(number).or_insert_with(|| Box::new([0; WORDS]));
            let bits = (64 - bit % 64).min(sectors.end - at);
            let mask = (u64::MAX >> (64 - bits)) << (bit % 64);
            let word = &mut page[(bit / 64) as usize];
            if *word & mask != mask {
                *word |= mask;
                self.dirty.insert(number);
            }
            at += bits;
        }
    }

    /// Whether the layer has the sector `from`, and up to which sector, at most `end`, the same holds.
    pub(super) fn run(&self, from: u64, end: u64) -> (bool, u64) {
        let mut first = None;
        let mut at = from;
        while at < end {
            let (number, bit) = (at / PAGE_SECTORS, at % PAGE_SECTORS);
            let Some(page) = self.pages.get(&number) else {
                if *first.get_or_insert(false) {
                    return (true, at);
                }
                at = (number + 1) * PAGE_SECTORS;
                continue;
            };
            let word = page[(bit / 64) as usize] >> (bit % 64);
            let present = *first.get_or_insert(word & 1 == 1);
            let differing = if present { !word } else { word };
            let (left, same) = (64 - bit % 64, u64::from(differing.trailing_zeros()));
            at += same.min(left);
            if same < left {
                break;
            }
        }
        (first.unwrap_or(false), at.min(end))
    }

    /// What has changed since the last time; the caller saves it.
    pub(super) fn take_changes(&mut self) -> Changes {
        let numbers = std::mem::take(&mut self.dirty);
        let page = |number| self.pages.get(&number).map(|page| (number, page.clone()));
        Changes(numbers.into_iter().filter_map(page).collect())
    }

    /// Reads what [`Changes::save`] wrote; an empty file is a layer to which nothing was written yet.
    pub(super) fn load(file: &File) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "not the map of a layer");
        let length = file.metadata()?.len();
        if length == 0 {
            return Ok(Map::default());
        }
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0)?;
        if &magic != MAGIC || !length.is_multiple_of(PAGE_BYTES) {
            return Err(damaged());
        }
        let mut map = Map::default();
        let mut bytes = [0; PAGE_BYTES as usize];
        for number in 0..(length / PAGE_BYTES).saturating_sub(1) {
            file.read_exact_at(&mut bytes, (number + 1) * PAGE_BYTES)?;
            let (words, _) = bytes.as_chunks::<8>();
            let mut page = Box::new([0; WORDS]);
            for (word, bytes) in page.iter_mut().zip(words) {
                *word = u64::from_le_bytes(*bytes);
            }
            if page.iter().any(|word| *word != 0) {
                map.pages.insert(number, page);
            }
        }
        Ok(map)
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn save(&self, file: &File) -> io::Result<()> {
        let mut head = [0; PAGE_BYTES as usize];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        file.write_all_at(&head, 0)?;
        for (number, page) in &self.0 {
            let bytes: Vec<u8> = page.iter().flat_map(|word| word.to_le_bytes()).collect();
            file.write_all_at(&bytes, (number + 1) * PAGE_BYTES)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All runs from `from` to `end`.
    fn runs(map: &Map, from: u64, end: u64) -> Vec<(bool, Range<u64>)> {
        let (mut found, mut at) = (Vec::new(), from);
        while at < end {
            let (present, until) = map.run(at, end);
            found.push((present, at..until));
            at = until;
        }
        found
    }

    #[test]
    fn runs_go_over_words_and_pages_that_are_not_there() {
        let mut map = Map::default();
        map.insert(60..70);
        map.insert(PAGE_SECTORS * 2 - 1..PAGE_SECTORS * 2 + 1);
        let end = PAGE_SECTORS * 4;
        let (a, b) = (PAGE_SECTORS * 2 - 1, PAGE_SECTORS * 2 + 1);
        let expected = [(false, 0..60), (true, 60..70), (false, 70..a), (true, a..b), (false, b..end)];
        assert_eq!(runs(&map, 0, end), expected);
        assert_eq!(map.run(64, 66), (true, 66));
    }

    #[test]
    fn a_file_that_is_no_map_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Map::load(&file).unwrap().run(0, 9), (false, 9));
        file.write_all_at(&[7; 8192], 0).unwrap();
        assert_eq!(Map::load(&file).unwrap_err().to_string(), "not the map of a layer");
    }

    proptest! {
        #[test]
        fn a_map_is_a_set_that_survives_its_file(
            ranges in prop::collection::vec((0_u64..PAGE_SECTORS * 3, 1_u64..200), 0..12)
        ) {
            let (mut map, mut model) = (Map::default(), BTreeSet::new());
            let file = tempfile::tempfile().unwrap();
            for (from, length) in ranges {
                map.insert(from..from + length);
                model.extend(from..from + length);
                map.take_changes().save(&file).unwrap();
            }
            map.take_changes().save(&file).unwrap();
            let loaded = Map::load(&file).unwrap();
            for map in [&map, &loaded] {
                let runs = runs(map, 0, PAGE_SECTORS * 4);
                let present = runs.into_iter().filter(|(present, _)| *present).flat_map(|(_, range)| range);
                prop_assert!(present.eq(model.iter().copied()));
            }
        }
    }
}
