//! Secrets: values that a step may see and that must be nowhere afterwards.
//!
//! A recipe only names them; whoever bakes gives the values. They reach a step through memory, as files of a
//! file system in memory. What the step prints is searched for them before it is written anywhere, and what it
//! leaves in its layer is searched before the layer counts.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

/// Fewer bytes than these cannot be told from what stands in an image by chance.
const SHORTEST: usize = 8;
/// What is printed instead.
const STARS: &[u8] = b"***";

/// Values by name. Printing them shows the names alone.
#[derive(Default, Clone)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Adds a secret; the error is a sentence for the user, without the value.
    pub fn insert(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        if !crate::recipe::check::is_secret_name(name) {
            return Err(format!("`{name}` is not the name of a secret"));
        }
        if lines(&value).next().is_none() {
            return Err(format!(
                "the secret `{name}` is shorter than {SHORTEST} bytes: too short to be found where it must not be"
            ));
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// What to look for to find any secret at all.
    pub(super) fn all_needles(&self) -> Vec<Vec<u8>> {
        self.needles(&self.0.keys().cloned().collect::<Vec<_>>())
    }

    /// What to look for to find any of the secrets `names`, the longest first.
    pub(super) fn needles(&self, names: &[String]) -> Vec<Vec<u8>> {
        let values = names.iter().filter_map(|name| self.get(name));
        let mut needles: Vec<Vec<u8>> = values.flat_map(lines).map(<[u8]>::to_vec).collect();
        needles.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        needles.dedup();
        needles
    }
}

/// The lines of a secret that are long enough to be told from chance: a key of several lines may be copied
/// with other line ends, or in part.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| line.len() >= SHORTEST)
}

/// A file in memory, to be read from its beginning by a child.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("secret", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Lets text pass in pieces, with stars instead of every needle.
#[derive(Debug)]
pub(super) struct Mask<'a> {
    needles: &'a [Vec<u8>],
    /// What came last and may be the beginning of a needle.
    held: Vec<u8>,
}

impl<'a> Mask<'a> {
    pub(super) fn new(needles: &'a [Vec<u8>]) -> Self {
        Mask { needles, held: Vec::new() }
    }

    /// Takes a piece and gives what is safe to be written.
    pub(super) fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let longest = self.needles.iter().map(Vec::len).max().unwrap_or(1);
        self.cut(longest - 1)
    }

    /// What is still held, at the end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.cut(0)
    }

    /// Masks all that is held apart from the last `keep` bytes, which may begin a needle.
    fn cut(&mut self, keep: usize) -> Vec<u8> {
        let (mut out, mut at) = (Vec::with_capacity(self.held.len()), 0);
        while at + keep < self.held.len() {
            let rest = self.held.get(at..).unwrap_or_default();
            match self.needles.iter().find(|needle| rest.starts_with(needle)) {
                Some(needle) => {
                    out.extend_from_slice(STARS);
                    at += needle.len();
                }
                None => {
                    out.extend(rest.first());
                    at += 1;
                }
            }
        }
        self.held.drain(..at.min(self.held.len()));
        out
    }
}

/// These texts without any of the needles.
pub(super) fn masked(texts: &[String], needles: &[Vec<u8>]) -> Vec<String> {
    let masked = texts.iter().map(|text| {
        let mut mask = Mask::new(needles);
        let mut safe = mask.pass(text.as_bytes());
        safe.extend(mask.finish());
        String::from_utf8_lossy(&safe).into_owned()
    });
    masked.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_ones_are_refused_and_none_is_printed() {
        let mut secrets = Secrets::default();
        assert!(secrets.insert("PIN", b"1234567\n1234".to_vec()).is_err());
        assert!(secrets.insert("../x", b"longenough".to_vec()).is_err());
        secrets.insert("KEY", b"first line\nend\nlast line, longer\n".to_vec()).unwrap();
        assert_eq!(format!("{secrets:?}"), "{\"KEY\"}");
        let needles = secrets.needles(&["KEY".to_owned(), "OTHER".to_owned()]);
        assert_eq!(needles, [b"last line, longer".to_vec(), b"first line".to_vec()]);
    }

    #[test]
    fn a_file_in_memory_is_read_from_its_beginning() {
        let mut text = String::new();
        io::Read::read_to_string(&mut std::fs::File::from(in_memory(b"abc").unwrap()), &mut text).unwrap();
        assert_eq!(text, "abc");
    }

    proptest! {
        #[test]
        fn no_secret_passes_however_the_text_is_cut(
            words in proptest::collection::vec("[ab]{0,3}|hunter2hunter2|hunter2h", 0..12),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let needles = [b"hunter2hunter2".to_vec(), b"hunter2h".to_vec()];
            let text = words.concat();
            let mut mask = Mask::new(&needles);
            let (mut out, mut rest, mut cuts) = (Vec::new(), text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                out.extend(mask.pass(piece));
                rest = more;
            }
            out.extend(mask.finish());
            let out = String::from_utf8(out).unwrap();
            let expected = text.replace("hunter2hunter2", "***").replace("hunter2h", "***");
            prop_assert!(!out.contains("hunter2h"));
            prop_assert_eq!(out, expected);
        }
    }
}
