//! A root that nobody can change: erofs, with a tree of digests behind it (dm-verity).
//!
//! The digest at the top of the tree stands on the kernel's command line. Whoever changes a block of the disk gets
//! an input/output error where that block is read.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::disk::{Names, ROOT_START};
use super::error::{At, BakeError};
use super::layer::execute;
use super::process::command;
use super::sandbox::{EPOCH, Stack};

/// What is needed on top of the tools for every disk, with the Debian package of each.
pub(super) const TOOLS: [(&str, &str); 2] =
    [("mkfs.erofs", "erofs-utils"), ("veritysetup", "cryptsetup-bin")];

const BLOCK: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(1800);

/// A read-only root to be made.
pub(super) struct Root<'a> {
    pub names: &'a Names,
    pub recipe: &'a str,
    pub log: &'a Path,
}

impl Root<'_> {
    /// Puts what the stack shows onto `disk`, where there are `room` bytes for it; returns the kernel's command
    /// line.
    pub(super) fn make(&self, stack: &Stack<'_>, disk: &Path, room: u64) -> Result<String, BakeError> {
        let image = stack.work.join("root.img");
        let mut mkfs = stack.read_only()?;
        // By itself it would take the time of now for the file system, and for nothing else.
        mkfs.env("SOURCE_DATE_EPOCH", EPOCH);
        mkfs.args(["mkfs.erofs", "--quiet", "-zlz4", "-U"]).arg(self.names.filesystem.to_string());
        mkfs.args(["root.img", "merged"]);
        execute(&mut mkfs, self.log, LIMIT, self.recipe, "disk", &[])?;

        let bytes = fs::metadata(&image).at(&image)?.len().next_multiple_of(BLOCK);
        File::options().write(true).open(&image).and_then(|file| file.set_len(bytes)).at(&image)?;
        let digest = stack.work.join("root.digest");
        let salt = blake3::hash(self.names.root.as_bytes()).to_hex();
        let mut verity = command("veritysetup");
        verity.args(["format", "--no-superblock", "--format=1", "--hash=sha256", "--salt", salt.as_str()]);
        verity.args(["--data-block-size=4096", "--hash-block-size=4096"]);
        verity.arg(format!("--data-blocks={}", bytes / BLOCK)).arg(format!("--hash-offset={bytes}"));
        verity.arg("--root-hash-file").arg(&digest).args([&image, &image]);
        execute(&mut verity, self.log, LIMIT, self.recipe, "disk", &[])?;
        let digest = fs::read_to_string(&digest).at(&digest)?;

        let length = fs::metadata(&image).at(&image)?.len();
        if length > room {
            let why = format!("the root takes {length} bytes, and the disk has room for {room}");
            return Err(BakeError::Io { path: disk.to_owned(), source: io::Error::other(why) });
        }
        copy(&image, disk).at(disk)?;
        let verity = format!("ro ovenproof.verity={}:{}:{salt}", digest.trim(), bytes / BLOCK);
        Ok(self.names.kernel_cmdline(&verity))
    }
}

/// Copies the root to its place on the disk.
fn copy(image: &Path, disk: &Path) -> io::Result<u64> {
    let (mut from, mut to) = (File::open(image)?, File::options().write(true).open(disk)?);
    to.seek(SeekFrom::Start(ROOT_START))?;
    io::copy(&mut from, &mut to)
}
