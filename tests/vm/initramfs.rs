//! The smallest guest: the initial RAM disk of an image, SQLite as the host has it, and a first process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An initial RAM disk with BusyBox and the drivers of `image`, `start` as its first process `/start`, and an
/// empty folder `/data`.
pub(crate) fn initramfs(image: Vec<u8>, start: &str) -> Vec<u8> {
    // The kernel unpacks one archive after the other.
    let mut archive = Archive { bytes: image, folders: BTreeSet::new(), entries: 0 };
    archive.align();
    archive.folder(Path::new("/data"));
    archive.file(Path::new("/start"), start.as_bytes());
    let sqlite = Path::new("/usr/bin/sqlite3");
    archive.file(Path::new("/bin/sqlite3"), &fs::read(sqlite).expect("sqlite3"));
    for library in linked(sqlite) {
        archive.file(&library, &fs::read(&library).expect("a library"));
    }
    archive.end()
}

/// The libraries that a program needs, the loader included.
fn linked(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = said.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    words.map(PathBuf::from).collect()
}

/// The kernel's own format: a header in hexadecimal digits, a name and the content for each entry.
struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, path: &Path) {
        let missing: Vec<&Path> = path.ancestors().filter(|path| path.parent().is_some()).collect();
        for folder in missing.into_iter().rev() {
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, 0o040_755, &[]);
            }
        }
    }

    fn file(&mut self, path: &Path, content: &[u8]) {
        self.folder(path.parent().expect("a folder"));
        self.entry(path, 0o100_755, content);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.strip_prefix("/").unwrap_or(path).to_str().expect("a plain path");
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        // Number, mode, owner, group, links, time, size, four of devices, size of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
