//! Copies of files most of which was never written: the memory of a machine, a volume.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

/// Copies the memory of the QEMU process `pid` to `target`, leaving out what was never touched.
pub(crate) fn copy_memory(pid: u32, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let link = fs::read_link(&path).unwrap_or_default();
        if link.to_string_lossy().starts_with("/memfd:memory-backend-memfd") {
            return copy_sparse(&File::open(path)?, &File::create_new(target)?);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the process has no memory of the expected name"))
}

/// Copies data, not holes; pieces that are all zero become holes.
pub(crate) fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    const PIECE: usize = 64 << 10;
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; PIECE];
    let mut position = 0;
    while position < length {
        position = match seek(from, SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(position))?.min(length);
        while position < end {
            let piece = usize::try_from(end - position).unwrap_or(PIECE).min(PIECE);
            let Some(buffer) = buffer.get_mut(..piece) else { break };
            from.read_exact_at(buffer, position)?;
            if buffer.iter().any(|byte| *byte != 0) {
                to.write_all_at(buffer, position)?;
            }
            position += piece as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_content_and_holes() {
        let dir = tempfile::tempdir().unwrap();
        let source = File::create_new(dir.path().join("a")).unwrap();
        source.set_len(10 << 20).unwrap();
        source.write_all_at(b"start", 0).unwrap();
        source.write_all_at(b"odd", (7 << 20) + 12_345).unwrap();
        let from = File::open(dir.path().join("a")).unwrap();
        copy_sparse(&from, &File::create_new(dir.path().join("b")).unwrap()).unwrap();
        let (a, b) = (fs::read(dir.path().join("a")).unwrap(), fs::read(dir.path().join("b")).unwrap());
        assert!(a == b, "the copy differs");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(dir.path().join("b")).unwrap());
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
    }
}
