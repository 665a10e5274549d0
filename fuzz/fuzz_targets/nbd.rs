//! Bytes on a disk's NBD connection: the handshake, and requests behind a handshake that went well.
#![no_main]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use ovenproof::disk::nbd::converse;
use ovenproof::disk::{Disk, Keeping, Layer};

const BYTES: u64 = 1 << 20;

/// What a client sends until it may ask for anything: its flags, and the option that chooses the only export.
const SHAKEN: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0";

thread_local! {
    /// The disk goes on from one input to the next; its file has no name any more.
    static DISK: Disk = {
        let folder = tempfile::tempdir().expect("a folder");
        disk(folder.path())
    };
}

fn disk(folder: &Path) -> Disk {
    let top = Layer::create(&folder.join("top"), BYTES).expect("a layer");
    Disk::new(BYTES, Vec::new(), top, Keeping::Guest).expect("a disk")
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| DISK.with(|disk| {
    for input in [bytes.to_vec(), [SHAKEN, bytes].concat()] {
        // How it ends does not matter; that it ends, and that it takes no more memory than it may, does.
        let _ = converse(disk, &AtomicBool::new(false), &input[..], std::io::sink());
    }
}));
