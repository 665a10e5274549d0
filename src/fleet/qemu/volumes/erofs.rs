//! Just enough of erofs, the file system of a read-only root, to find out whom a directory belongs to: its
//! tools want a whole file, and the root is a partition of a disk.
//!
//! The layout is that of the kernel's documentation, Documentation/filesystems/erofs. Directories are never
//! compressed, and nothing else is looked into.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::Owner;

const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Number of an inode times this is its place.
const SLOT: u64 = 32;
const ENTRY: usize = 12;
/// No directory of an image is larger.
const MOST: u64 = 16 << 20;

const FORMAT_OF_DIRECTORY: u32 = 0o040_000;
const FORMAT: u32 = 0o170_000;

/// How the content of an inode lies: in blocks of its own, or with its tail behind the inode.
const PLAIN: u16 = 0;
const INLINE: u16 = 2;

/// A file system that begins at `offset` in `file`.
pub(super) struct Erofs<'a> {
    file: &'a File,
    offset: u64,
    block: u64,
    /// Where the inodes begin, in bytes.
    inodes: u64,
    root: u64,
}

struct Inode {
    /// In bytes from the beginning of the file system.
    place: u64,
    layout: u16,
    mode: u32,
    size: u64,
    first_block: u64,
    uid: u32,
    gid: u32,
    /// Of the inode itself and its attributes: where an inline tail begins.
    bytes: u64,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its root is not an erofs that can be read: {what}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl<'a> Erofs<'a> {
    /// `None` if there is another file system, or none.
    pub(super) fn open(file: &'a File, offset: u64) -> io::Result<Option<Self>> {
        let mut head = [0; 128];
        file.read_exact_at(&mut head, offset + SUPERBLOCK)?;
        if u32_at(&head, 0) != MAGIC {
            return Ok(None);
        }
        let bits = u32::from(head[12]);
        if !(9..=16).contains(&bits) {
            return Err(damaged("the size of its blocks"));
        }
        let block = 1 << bits;
        let inodes = u64::from(u32_at(&head, 40)) * block;
        let root = u64::from(u16_at(&head, 14));
        Ok(Some(Erofs { file, offset, block, inodes, root }))
    }

    /// Of the directory `path`, an absolute one; `None` if there is nothing.
    pub(super) fn owner(&self, path: &str) -> io::Result<Option<Owner>> {
        let mut inode = self.inode(self.root)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match self.find(&inode, part.as_bytes())? {
                Some(number) => inode = self.inode(number)?,
                None => return Ok(None),
            }
            if inode.mode & FORMAT != FORMAT_OF_DIRECTORY {
                return Err(io::Error::other("it is not a directory in the image"));
            }
        }
        Ok(Some(Owner { uid: inode.uid, gid: inode.gid, mode: inode.mode & 0o7777 }))
    }

    fn read(&self, place: u64, bytes: &mut [u8]) -> io::Result<()> {
        let place = self.offset.checked_add(place).ok_or_else(|| damaged("a place"))?;
        self.file.read_exact_at(bytes, place)
    }

    fn inode(&self, number: u64) -> io::Result<Inode> {
        let place = number.checked_mul(SLOT).and_then(|place| place.checked_add(self.inodes));
        let place = place.ok_or_else(|| damaged("the number of an inode"))?;
        let mut head = [0; 64];
        self.read(place, &mut head)?;
        let format = u16_at(&head, 0);
        let attributes = match u64::from(u16_at(&head, 2)) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        };
        let (size, uid, gid, bytes) = match format & 1 {
            0 => (u64::from(u32_at(&head, 8)), u16_at(&head, 24).into(), u16_at(&head, 26).into(), 32),
            _ => (u64_at(&head, 8), u32_at(&head, 24), u32_at(&head, 28), 64),
        };
        Ok(Inode {
            place,
            layout: format >> 1 & 7,
            mode: u16_at(&head, 4).into(),
            size,
            first_block: u32_at(&head, 16).into(),
            uid,
            gid,
            bytes: bytes + attributes,
        })
    }

    /// The number of the inode that is called `name` in a directory.
    fn find(&self, directory: &Inode, name: &[u8]) -> io::Result<Option<u64>> {
        let Inode { place, layout, size, first_block, bytes, .. } = *directory;
        if !matches!(layout, PLAIN | INLINE) || size > MOST {
            return Err(damaged("a directory"));
        }
        let mut at = 0;
        while at < size {
            let mut block = vec![0; self.block.min(size - at) as usize];
            let is_tail = size - at <= self.block;
            match layout == INLINE && is_tail {
                true => self.read(place + bytes, &mut block)?,
                false => self.read(first_block * self.block + at, &mut block)?,
            }
            if let Some(number) = find_in(&block, name)? {
                return Ok(Some(number));
            }
            at += self.block;
        }
        Ok(None)
    }
}

/// Looks through one block of a directory: entries, then their names.
fn find_in(block: &[u8], wanted: &[u8]) -> io::Result<Option<u64>> {
    let begins = |index: usize| usize::from(u16_at(block, index * ENTRY + 8));
    let count = begins(0) / ENTRY;
    for index in 0..count {
        let end = if index + 1 < count { begins(index + 1) } else { block.len() };
        let name = block.get(begins(index)..end).ok_or_else(|| damaged("a name"))?;
        // The last one may be followed by nothing.
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name == wanted {
            return Ok(Some(u64_at(block, index * ENTRY)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Where the file systems begin.
    const OFFSET: u64 = 4096;

    /// An erofs of what is in `content`, somewhere in a file.
    fn made(folder: &Path, content: &Path, options: &[&str]) -> File {
        let (image, disk) = (folder.join("image"), folder.join("disk"));
        let made = Command::new("mkfs.erofs").args(options).arg(&image).arg(content).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut bytes = vec![0; OFFSET as usize];
        bytes.extend(fs::read(image).unwrap());
        fs::write(&disk, bytes).unwrap();
        File::open(disk).unwrap()
    }

    #[test]
    fn directories_of_any_size_are_found_with_their_owners() {
        let dir = tempfile::tempdir().unwrap();
        let content = dir.path().join("content");
        let data = content.join("var/lib/data");
        fs::create_dir_all(&data).unwrap();
        // More names than fit into a block.
        for number in 0..700 {
            fs::create_dir(content.join(format!("var/lib/{number}-with-a-name-that-is-not-short"))).unwrap();
        }
        fs::write(content.join("var/file"), "text").unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).unwrap();
        for (options, uid) in [
            (["-zlz4", "--force-uid=102", "--force-gid=107"], 102),
            (["-Eforce-inode-extended", "--force-uid=70000", "--force-gid=107"], 70000),
        ] {
            let file = made(dir.path(), &content, &options);
            let erofs = Erofs::open(&file, OFFSET).unwrap().unwrap();
            let owner = |path: &str| erofs.owner(path);
            assert_eq!(owner("/var/lib/data").unwrap(), Some(Owner { uid, gid: 107, mode: 0o2750 }));
            let last = owner("/var/lib/699-with-a-name-that-is-not-short").unwrap();
            assert_eq!(last.map(|owner| owner.uid), Some(uid));
            assert_eq!(owner("/var/lib/700").unwrap(), None);
            assert_eq!(owner("/srv/data").unwrap(), None);
            assert_eq!(owner("/var/file").unwrap_err().to_string(), "it is not a directory in the image");
            assert!(Erofs::open(&file, 0).unwrap().is_none());
        }
    }

    #[test]
    fn damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let content = dir.path().join("content");
        fs::create_dir_all(content.join("a/b")).unwrap();
        let whole = made(dir.path(), &content, &[]);
        let mut bytes = vec![0; whole.metadata().unwrap().len() as usize];
        whole.read_exact_at(&mut bytes, 0).unwrap();
        for at in OFFSET as usize..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let path = dir.path().join("damaged");
            fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            // Anything but a panic or an endless loop.
            if let Ok(Some(erofs)) = Erofs::open(&file, OFFSET) {
                let _ = erofs.owner("/a/b");
            }
        }
    }
}
