//! The inodes of a fresh ext4 file system: they must not say when they were copied.
//!
//! `mkfs.ext4 -d` copies the access and change times of the source's inodes, and the latter nobody can set. So
//! they are set in the image, in every inode in use, with its checksum. Nothing else is changed, and nothing
//! is ever done to a file system that has been mounted. The layout is that of the kernel's documentation,
//! Documentation/filesystems/ext4.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SUPERBLOCK: u64 = 1024;
const MAGIC: u64 = 0xef53;
/// Incompatible features that change where things lie or how checksums begin.
const META_BLOCK_GROUPS: u64 = 0x10;
const WIDE: u64 = 0x80;
const SEED_IS_STORED: u64 = 0x2000;
/// A read-only compatible feature: metadata have checksums.
const CHECKSUMS: u64 = 0x400;
/// The flag of a group none of whose inodes was ever used.
const NO_INODES: u64 = 0x1;

/// Where a field lies, and how many bytes long it is.
type Field = (usize, usize);

const MODE: Field = (0, 2);
const ACCESS_TIME: Field = (0x8, 4);
const CHANGE_TIME: Field = (0xc, 4);
const GENERATION: Field = (0x64, 4);
const CHECKSUM_LOW: Field = (0x7c, 2);
const EXTRA_SIZE: Field = (0x80, 2);
const CHECKSUM_HIGH: Field = (0x82, 2);
const CHANGE_TIME_EXTRA: Field = (0x84, 4);
const ACCESS_TIME_EXTRA: Field = (0x8c, 4);
const BIRTH_TIME: Field = (0x90, 4);
const BIRTH_TIME_EXTRA: Field = (0x94, 4);

fn get(bytes: &[u8], (at, length): Field) -> u64 {
    let field = bytes.get(at..at + length).unwrap_or_default();
    field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn put(bytes: &mut [u8], (at, length): Field, value: u64) {
    let field = bytes.get_mut(at..at + length).unwrap_or_default();
    field.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
}

/// What of the superblock says where inodes lie.
struct Shape {
    block_bytes: u64,
    inode_bytes: usize,
    inodes: u64,
    inodes_per_group: u64,
    /// Where the descriptors of groups begin, and how long each is.
    descriptors: u64,
    descriptor_bytes: usize,
    wide: bool,
    /// Where the checksum of every inode starts, if they have one.
    seed: Option<u32>,
}

impl Shape {
    fn read(file: &File, start: u64) -> io::Result<Self> {
        let mut block = [0; 1024];
        file.read_exact_at(&mut block, start + SUPERBLOCK)?;
        let incompatible = get(&block, (0x60, 4));
        let (wide, inode_bytes) = (incompatible & WIDE != 0, get(&block, (0x58, 2)) as usize);
        if get(&block, (0x38, 2)) != MAGIC || incompatible & META_BLOCK_GROUPS != 0 || inode_bytes < 128 {
            return Err(io::Error::other("it is not an ext4 file system of the kind that mkfs.ext4 makes"));
        }
        let block_bytes = 1024 << get(&block, (0x18, 4));
        let seed = match incompatible & SEED_IS_STORED != 0 {
            true => get(&block, (0x270, 4)) as u32,
            false => crc32c(!0, block.get(0x68..0x78).unwrap_or_default()),
        };
        Ok(Shape {
            block_bytes,
            inode_bytes,
            inodes: get(&block, (0, 4)),
            inodes_per_group: get(&block, (0x28, 4)).max(1),
            descriptors: (get(&block, (0x14, 4)) + 1) * block_bytes,
            descriptor_bytes: if wide { get(&block, (0xfe, 2)) as usize } else { 32 },
            wide,
            seed: (get(&block, (0x64, 4)) & CHECKSUMS != 0).then_some(seed),
        })
    }

    /// Where the inodes of a group begin, and how many of them may be in use.
    fn group(&self, file: &File, start: u64, group: u64) -> io::Result<(u64, u64)> {
        let mut descriptor = vec![0; self.descriptor_bytes];
        let at = start + self.descriptors + group * self.descriptor_bytes as u64;
        file.read_exact_at(&mut descriptor, at)?;
        let join = |low: Field, high: Field, bits: u32| match self.wide {
            true => get(&descriptor, high) << bits | get(&descriptor, low),
            false => get(&descriptor, low),
        };
        let table = join((0x8, 4), (0x28, 4), 32) * self.block_bytes;
        let unused = join((0x1c, 2), (0x32, 2), 16);
        let used = match get(&descriptor, (0x12, 2)) & NO_INODES != 0 {
            true => 0,
            false => self.inodes_per_group.saturating_sub(unused),
        };
        Ok((start + table, used))
    }

    fn settle_inode(&self, inode: &mut [u8], number: u64, seconds: u32) {
        // Fields beyond the first 128 bytes are there as far as the inode says.
        let end = 128 + if self.inode_bytes > 128 { get(inode, EXTRA_SIZE) as usize } else { 0 };
        let mut set = |field: Field, value: u64| {
            if field.0 + field.1 <= end {
                put(inode, field, value);
            }
        };
        for field in [ACCESS_TIME, CHANGE_TIME, BIRTH_TIME] {
            set(field, u64::from(seconds));
        }
        // Nanoseconds, and the bits of seconds beyond 2038.
        for field in [ACCESS_TIME_EXTRA, CHANGE_TIME_EXTRA, BIRTH_TIME_EXTRA] {
            set(field, 0);
        }
        let Some(seed) = self.seed else { return };
        set(CHECKSUM_LOW, 0);
        set(CHECKSUM_HIGH, 0);
        let own = crc32c(seed, &(number as u32).to_le_bytes());
        let own = crc32c(own, &(get(inode, GENERATION) as u32).to_le_bytes());
        let sum = u64::from(crc32c(own, inode));
        put(inode, CHECKSUM_LOW, sum & 0xffff);
        if CHECKSUM_HIGH.0 + CHECKSUM_HIGH.1 <= end {
            put(inode, CHECKSUM_HIGH, sum >> 16);
        }
    }
}

/// Lets every inode in use of the file system that begins at byte `start` of `image` say that it was made,
/// read and changed `seconds` after 1970. When its content changed stays.
pub(super) fn settle(image: &Path, start: u64, seconds: u32) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(image)?;
    let shape = Shape::read(&file, start)?;
    for group in 0..shape.inodes.div_ceil(shape.inodes_per_group) {
        let (at, used) = shape.group(&file, start, group)?;
        let mut table = vec![0; used as usize * shape.inode_bytes];
        file.read_exact_at(&mut table, at)?;
        for (index, inode) in table.chunks_mut(shape.inode_bytes).enumerate() {
            if get(inode, MODE) != 0 {
                shape.settle_inode(inode, group * shape.inodes_per_group + index as u64 + 1, seconds);
            }
        }
        file.write_all_at(&table, at)?;
    }
    Ok(())
}

/// CRC-32C as ext4 uses it: continued from `sum`, without the inversions at both ends.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        let entry = TABLE[usize::from(sum as u8 ^ byte)];
        sum >> 8 ^ entry
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut value, mut bit) = (index as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    /// An image of a new tree, whose inodes have times of their own.
    fn image(start: u64, more: &[&str]) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        for index in 0..300 {
            fs::write(tree.join(format!("a/b/file {index}")), index.to_string()).unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
        // When the content changed is up to the tree, and the same in both.
        let mut touch = Command::new("find");
        touch.arg(&tree).args(["-exec", "touch", "-h", "-d", "@1", "{}", "+"]);
        assert!(touch.status().unwrap().success());
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(start + (64 << 20)).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.env("E2FSPROGS_FAKE_TIME", "1").args(["-q", "-F", "-U", "b39a9fa4-3b0e-4c5b-8d5c-5d0c6f5b3a11"]);
        let seed = "hash_seed=b39a9fa4-3b0e-4c5b-8d5c-5d0c6f5b3a11,root_owner=0:0";
        mkfs.args(["-E", &format!("offset={start},{seed}"), "-d"]).arg(&tree).args(more);
        assert!(mkfs.arg(&image).arg("65536k").status().unwrap().success());
        settle(&image, start, 1_000_000_000).unwrap();
        let bytes = fs::read(&image).unwrap();
        (dir, bytes)
    }

    #[test]
    fn what_was_settled_is_sound_and_the_same_each_time() {
        if Command::new("mkfs.ext4").arg("-V").output().is_err() {
            return;
        }
        for (start, more) in [
            (0, &["-b", "4096"] as &[&str]),
            (1 << 20, &["-b", "1024", "-g", "4096"]),
            (0, &["-I", "128", "-O", "^64bit"]),
            (0, &["-O", "metadata_csum_seed"]),
            (0, &["-O", "^metadata_csum"]),
        ] {
            let ((dir, first), (_, second)) = (image(start, more), image(start, more));
            assert!(first == second, "{more:?} differ");
            let file = format!("{}?offset={start}", dir.path().join("image").display());
            let check = Command::new("e2fsck").args(["-f", "-n", &file]).output().unwrap();
            let said = String::from_utf8_lossy(&check.stdout);
            assert!(check.status.success(), "{more:?}: {said}");
        }
    }

    #[test]
    fn something_else_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![7; 4096]).unwrap();
        assert!(settle(file.path(), 0, 1).is_err());
        assert_eq!(fs::read(file.path()).unwrap(), vec![7; 4096]);
    }
}
