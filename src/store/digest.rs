//! Digests of what is in the store.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

/// A disk is looked at in pieces of this many bytes.
const PIECE: usize = 1 << 16;

/// BLAKE3 over the length of a file and over every 64 KiB piece of it that is not all zeros, each with its
/// place. Holes and zeros count alike, so that a copy that is stored otherwise has the same digest; and a
/// disk that is mostly empty takes no longer than what is in it.
pub fn sparse_digest(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new_derive_key("ovenproof sparse file v1");
    hasher.update(&length.to_le_bytes());
    for_each_piece(&file, |at, piece| {
        if piece.iter().any(|byte| *byte != 0) {
            hasher.update(&at.to_le_bytes()).update(piece);
        }
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Hands every piece that is not a hole to `each`, with its place.
fn for_each_piece(file: &File, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let length = file.metadata()?.len();
    let (mut at, mut buffer) = (0, vec![0; PIECE]);
    while let Some(data) = next_data(file, at)? {
        // Pieces lie on a grid, wherever the file system begins its extents.
        at = data.max(at) / PIECE as u64 * PIECE as u64;
        let wanted = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, at)?;
        each(at, piece);
        at += PIECE as u64;
        if at >= length {
            break;
        }
    }
    Ok(())
}

/// Where data begin at or after `at`, if any do.
pub(crate) fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The places of the 4 KiB blocks in which two files differ, in order, at most `limit` of them; one that is longer
/// differs where the other has ended.
pub fn differing_blocks(one: &Path, other: &Path, limit: usize) -> io::Result<Vec<u64>> {
    const BLOCK: usize = 4096;
    let (one, other) = (File::open(one)?, File::open(other)?);
    let (short, long) = {
        let lengths = [one.metadata()?.len(), other.metadata()?.len()];
        (lengths[0].min(lengths[1]), lengths[0].max(lengths[1]))
    };
    let mut found = Vec::new();
    let (mut at, mut buffers) = (0, [vec![0; PIECE], vec![0; PIECE]]);
    while at < short && found.len() < limit {
        let next = match (next_data(&one, at)?, next_data(&other, at)?) {
            (None, None) => break,
            (Some(data), None) | (None, Some(data)) => data,
            (Some(a), Some(b)) => a.min(b),
        };
        at = next.max(at) / PIECE as u64 * PIECE as u64;
        let wanted = usize::try_from(short - at).unwrap_or(PIECE).min(PIECE);
        let [a, b] = &mut buffers;
        let (a, b) = (a.get_mut(..wanted).unwrap_or_default(), b.get_mut(..wanted).unwrap_or_default());
        one.read_exact_at(a, at)?;
        other.read_exact_at(b, at)?;
        for (index, (a, b)) in a.chunks(BLOCK).zip(b.chunks(BLOCK)).enumerate() {
            if a != b {
                found.push(at + (index * BLOCK) as u64);
            }
        }
        at += PIECE as u64;
    }
    if short != long {
        found.push(short);
    }
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(pieces: &[(u64, &[u8])], length: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        for (at, bytes) in pieces {
            file.as_file().write_all_at(bytes, *at).unwrap();
        }
        file
    }

    #[test]
    fn holes_count_like_zeros_and_places_count() {
        let digest = |pieces: &[(u64, &[u8])], length| sparse_digest(file(pieces, length).path()).unwrap();
        let zeros = vec![0; 1 << 20];
        let plain = digest(&[(5_000_000, b"x")], 10_000_001);
        assert_eq!(plain, digest(&[(0, &zeros), (5_000_000, b"x")], 10_000_001));
        assert_ne!(plain, digest(&[(5_000_000, b"x")], 10_000_000));
        assert_ne!(plain, digest(&[(6_000_000, b"x")], 10_000_001));
        assert_ne!(plain, digest(&[(5_000_000, b"x"), (10_000_000, b"y")], 10_000_001));
    }

    #[test]
    fn blocks_that_differ_are_found_where_they_are() {
        let (one, other) = (file(&[(70_000, b"a")], 1 << 20), file(&[(70_001, b"b"), (9, b"c")], 1 << 20));
        let blocks = |limit| differing_blocks(one.path(), other.path(), limit).unwrap();
        assert_eq!(blocks(9), [0, 69_632]);
        assert_eq!(blocks(1), [0]);
        assert!(differing_blocks(one.path(), one.path(), 9).unwrap().is_empty());
        fs::write(other.path(), "").unwrap();
        assert_eq!(differing_blocks(one.path(), other.path(), 9).unwrap(), [0]);
    }
}
