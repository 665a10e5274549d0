//! File systems made and looked into as plain files: no mounting, no loop devices, no root.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::erofs::Erofs;

/// The second partition is the root: the first process of a direct boot relies on it too.
const ROOT_PARTITION: u32 = 2;
const SECTOR: u64 = 512;

/// Whom a directory belongs to, and who may do what in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Owner {
    /// Of a directory that the image does not have.
    const NOBODYS: Owner = Owner { uid: 0, gid: 0, mode: 0o755 };

    /// Of the directory `path` in the image on `disk`.
    pub(super) fn of(disk: &Path, path: &str) -> io::Result<Self> {
        let table = gpt::GptConfig::new().writable(false).open(disk).map_err(io::Error::other)?;
        let root = table.partitions().get(&ROOT_PARTITION);
        let root = root.ok_or_else(|| io::Error::other("the image has no second partition"))?;
        let offset = root.first_lba * SECTOR;
        if let Some(erofs) = Erofs::open(&File::open(disk)?, offset)? {
            return Ok(erofs.owner(path)?.unwrap_or(Owner::NOBODYS));
        }
        let mut place = disk.as_os_str().to_owned();
        place.push(format!("?offset={offset}"));
        let said = debugfs(Path::new(&place), &format!("stat {path}"), false)?;
        match said.contains("File not found") {
            true => Ok(Owner::NOBODYS),
            false => Owner::read(&said),
        }
    }

    /// From what `stat` of debugfs prints.
    fn read(said: &str) -> io::Result<Self> {
        let words: Vec<&str> = said.split_whitespace().collect();
        let after = |name: &str| {
            words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied()
        };
        let number = |name: &str, radix: u32| u32::from_str_radix(after(name)?, radix).ok();
        let unclear = || io::Error::other(format!("debugfs said: {}", said.trim()));
        let owner = (|| {
            Some(Owner { uid: number("User:", 10)?, gid: number("Group:", 10)?, mode: number("Mode:", 8)? })
        })();
        match (owner, after("Type:")) {
            (Some(owner), Some("directory")) => Ok(owner),
            (Some(_), Some(_)) => Err(io::Error::other("it is not a directory in the image")),
            _ => Err(unclear()),
        }
    }
}

/// Makes an empty file system with this label and owner in `file`, which has its full length.
pub(super) fn make(file: &Path, label: &str, owner: Owner) -> io::Result<()> {
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-m", "0", "-b", "4096", "-L", label]);
    // The tables count as zeroed, which in a new sparse file they are.
    mkfs.arg("-E").arg(format!(
        "root_owner={}:{},lazy_itable_init=0,lazy_journal_init=1,nodiscard",
        owner.uid, owner.gid
    ));
    succeed(mkfs.arg(file))?;
    // As in the image: a service may refuse a directory of data in which it finds what is not its own.
    debugfs(file, &format!("rmdir lost+found\nset_inode_field <2> mode 04{:04o}", owner.mode), true)?;
    let found = Owner::read(&debugfs(file, "stat <2>", false)?)?;
    match found == owner {
        true => Ok(()),
        false => Err(io::Error::other(format!("it belongs to {found:?}, expected {owner:?}"))),
    }
}

/// Grows the file system in `file` to the length of the file.
pub(super) fn grow(file: &Path) -> io::Result<()> {
    // Resizing wants a file system that was just checked. 1: errors were found, and are mended.
    let mut check = Command::new("e2fsck");
    let output = check.args(["-f", "-p"]).arg(file).stdin(Stdio::null()).output()?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    succeed(Command::new("resize2fs").arg(file))
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let program = command.get_program().to_string_lossy().into_owned();
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(io::Error::other(format!("{program}: {said}")))
        }
    }
}

/// What debugfs says to `commands`, errors included: its exit code says nothing.
fn debugfs(file: &Path, commands: &str, write: bool) -> io::Result<String> {
    let mut debugfs = Command::new("debugfs");
    debugfs.args(write.then_some("-w")).args(["-f", "-"]).arg(file);
    debugfs.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = debugfs.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(format!("{commands}\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_the_owner_it_was_given_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk.raw");
        let handle = File::create(&file).unwrap();
        handle.set_len(64 << 20).unwrap();
        for mode in [0o2750, 0o700] {
            let owner = Owner { uid: 102, gid: 107, mode };
            make(&file, "data", owner).unwrap();
            assert_eq!(Owner::read(&debugfs(&file, "stat <2>", false).unwrap()).unwrap(), owner);
        }
        assert!(!debugfs(&file, "ls", false).unwrap().contains("lost+found"));
        handle.set_len(128 << 20).unwrap();
        grow(&file).unwrap();
        assert!(debugfs(&file, "stats", false).unwrap().contains("32768\n"));
        let said = Owner::read("nothing").unwrap_err().to_string();
        assert_eq!(said, "debugfs said: nothing");
    }
}
