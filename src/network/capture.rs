//! A record of every delivered frame, in the classic pcap format that every network tool reads.
//!
//! It writes and never reads; a disk that fails ends the capture, not the network.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Little-endian, microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
const SNAPSHOT_LENGTH: u32 = 262_144;
const LINKTYPE_ETHERNET: u32 = 1;

pub(super) struct Capture {
    file: BufWriter<File>,
    /// Whether anything was written since the last flush.
    dirty: bool,
}

impl Capture {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        file.write_all(&MAGIC.to_le_bytes())?;
        file.write_all(&2_u16.to_le_bytes())?;
        file.write_all(&4_u16.to_le_bytes())?;
        file.write_all(&[0; 8])?;
        file.write_all(&SNAPSHOT_LENGTH.to_le_bytes())?;
        file.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        file.flush()?;
        Ok(Capture { file, dirty: false })
    }

    /// Appends a frame that is delivered just now.
    pub(super) fn record(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The format has 32 bits for seconds; it wraps in 2106.
        let seconds = (now.as_secs() & u64::from(u32::MAX)) as u32;
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.file.write_all(&seconds.to_le_bytes())?;
        self.file.write_all(&now.subsec_micros().to_le_bytes())?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(frame)?;
        self.dirty = true;
        Ok(())
    }

    /// Hands what is buffered to the kernel, so that it outlives this process.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.dirty {
            self.dirty = false;
            self.file.flush()?;
        }
        Ok(())
    }
}
