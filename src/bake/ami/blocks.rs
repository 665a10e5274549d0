//! A disk as EBS wants it: blocks of 512 KiB, those that are all zeros left out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Sender;

use crate::bake::BakeError;
use crate::bake::error::At;
use crate::store::digest::next_data;

/// What EBS takes at once.
pub(super) const BLOCK: usize = 512 << 10;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A block that holds something.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) index: i32,
    pub(super) data: Bytes,
    pub(super) sha256: [u8; 32],
}

/// What was read in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many blocks hold something.
    pub(super) blocks: i32,
    /// SHA-256 over the blocks' digests in their order, which EBS calls linear.
    pub(super) sha256: [u8; 32],
}

/// Hands every block that holds something to `to`, in order, and waits while nobody takes them. Holes are not read.
/// Ends early when nobody listens any more.
pub(super) fn read(disk: &Path, to: &Sender<Block>) -> Result<Summary, BakeError> {
    let file = File::open(disk).at(disk)?;
    let length = file.metadata().at(disk)?.len();
    let (mut at, mut all, mut blocks) = (0, Sha256::new(), 0);
    while let Some(data) = next_data(&file, at).at(disk)? {
        // Blocks lie on a grid, wherever the file system begins its extents.
        at = data.max(at) / BLOCK as u64 * BLOCK as u64;
        // What follows the end of the disk in its last block is zeros.
        let mut block = vec![0; BLOCK];
        let wanted = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
        file.read_exact_at(block.get_mut(..wanted).unwrap_or_default(), at).at(disk)?;
        if block != ZEROS {
            let sha256: [u8; 32] = Sha256::digest(&block).into();
            all.update(sha256);
            blocks += 1;
            let index = i32::try_from(at / BLOCK as u64).map_err(std::io::Error::other).at(disk)?;
            if to.blocking_send(Block { index, data: Bytes::from(block), sha256 }).is_err() {
                break;
            }
        }
        at += BLOCK as u64;
        if at >= length {
            break;
        }
    }
    Ok(Summary { blocks, sha256: all.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_that_hold_something_are_read_and_the_last_is_filled_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("disk.raw");
        let file = File::create(&disk).expect("a disk");
        let block = BLOCK as u64;
        file.set_len(block * 40 + 100).expect("a length");
        file.write_all_at(b"first", 3).expect("written");
        file.write_all_at(&[0; 8192], block * 5).expect("zeros that are no hole");
        file.write_all_at(b"over the edge", block * 8 - 4).expect("written");
        file.write_all_at(b"end", block * 40 + 97).expect("written");
        let (to, mut from) = tokio::sync::mpsc::channel(16);
        let summary = read(&disk, &to).expect("read");
        drop(to);
        let mut seen = Vec::new();
        let mut all = Sha256::new();
        while let Some(block) = from.blocking_recv() {
            assert_eq!(block.data.len(), BLOCK);
            assert_eq!(block.sha256, <[u8; 32]>::from(Sha256::digest(&block.data)));
            all.update(block.sha256);
            seen.push(block.index);
        }
        assert_eq!(seen, [0, 7, 8, 40]);
        assert_eq!(summary, Summary { blocks: 4, sha256: all.finalize().into() });
    }
}
