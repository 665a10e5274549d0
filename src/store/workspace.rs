//! Work in progress: one directory under `store/tmp/` for each thing that is being made.
//!
//! A workspace is named after what it will become, so that two processes that want to make the same thing
//! meet here: the second waits for the first, and then finds the thing finished. The owner holds a lock
//! that the kernel releases when the process dies; [`sweep`] removes what dead owners left.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::home::create_private_dir;
use crate::userns::remove_tree;

/// An empty directory that is ours alone until it is published or dropped.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    lock: OwnedLock,
}

impl Workspace {
    /// Waits until nobody else works under this `name`, and starts with an empty directory.
    pub(super) fn begin(tmp: &Path, name: &str) -> io::Result<Self> {
        create_private_dir(tmp)?;
        let lock_path = tmp.join(format!("{name}.lock"));
        let lock = loop {
            if let Some(lock) = OwnedLock::take(&lock_path, FlockOperation::LockExclusive)? {
                break lock;
            }
        };
        let dir = tmp.join(name);
        remove_tree(&dir)?;
        create_private_dir(&dir)?;
        Ok(Workspace { dir, lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes `part`, something under the workspace, durable and moves it to `target` in one step; what is
    /// already there stays, since names in the store stand for content. The rest is removed.
    pub(super) fn publish(self, part: &Path, target: &Path) -> io::Result<()> {
        let parent = target.parent().ok_or_else(|| io::Error::other("a target needs a parent directory"))?;
        create_private_dir(parent)?;
        // One call for thousands of files; syncing each would take minutes on a slow disk.
        rustix::fs::syncfs(File::open(part)?)?;
        match fs::rename(part, target) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => other?,
        }
        File::open(parent)?.sync_all()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Best effort: what cannot be removed now is removed by the next sweep.
        let _ = remove_tree(&self.dir);
        let _ = fs::remove_file(&self.lock.path);
    }
}

/// A lock on a file that is still linked at its path: a file that its last owner unlinked protects nothing.
#[derive(Debug)]
pub(super) struct OwnedLock {
    path: PathBuf,
    _file: File,
}

impl OwnedLock {
    /// `None` when somebody else holds it, or when its owner removed it while we waited.
    fn take(path: &Path, how: FlockOperation) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let same = match fs::metadata(path) {
            Ok(linked) => linked.ino() == file.metadata()?.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(same.then(|| OwnedLock { path: path.to_owned(), _file: file }))
    }
}

/// Removes the work of owners that died; returns how many entries that were.
pub(super) fn sweep(tmp: &Path) -> io::Result<usize> {
    let works = abandoned(tmp)?;
    for (work, lock) in &works {
        remove_tree(work)?;
        fs::remove_file(&lock.path)?;
    }
    Ok(works.len())
}

/// The work of owners that died, and what keeps others from it meanwhile.
pub(super) fn abandoned(tmp: &Path) -> io::Result<Vec<(PathBuf, OwnedLock)>> {
    let entries = match fs::read_dir(tmp) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A directory and its lock are one entry, and either may be all that is left of it.
    let mut works = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        works.insert(if is_lock { path.with_extension("") } else { path });
    }
    let mut abandoned = Vec::new();
    for work in works {
        let lock_path = work.with_added_extension("lock");
        if let Some(lock) = OwnedLock::take(&lock_path, FlockOperation::NonBlockingLockExclusive)? {
            abandoned.push((work, lock));
        }
    }
    Ok(abandoned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owner_leaves_nothing_and_a_living_one_is_spared() {
        let tmp = tempfile::tempdir().unwrap();
        let living = Workspace::begin(tmp.path(), "living").unwrap();
        fs::create_dir(tmp.path().join("dead")).unwrap();
        fs::write(tmp.path().join("dead/file"), "half").unwrap();
        fs::write(tmp.path().join("stillborn.lock"), "").unwrap();
        assert_eq!(sweep(tmp.path()).unwrap(), 2);
        assert!(living.dir().is_dir());
        assert!(!tmp.path().join("dead").exists());
        drop(living);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_second_waits_for_the_first_and_starts_empty() {
        let tmp = tempfile::tempdir().unwrap();
        let first = Workspace::begin(tmp.path(), "layer").unwrap();
        fs::write(first.dir().join("half"), "x").unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let second = Workspace::begin(tmp.path(), "layer").unwrap();
                fs::read_dir(second.dir()).unwrap().count()
            });
            drop(first);
            assert_eq!(second.join().unwrap(), 0);
        });
    }

    #[test]
    fn publishing_keeps_what_is_already_there() {
        let tmp = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            let work = Workspace::begin(&tmp.path().join("tmp"), "thing").unwrap();
            let part = work.dir().join("part");
            fs::create_dir(&part).unwrap();
            fs::write(part.join("file"), text).unwrap();
            work.publish(&part, &tmp.path().join("layers/thing")).unwrap();
        }
        assert_eq!(fs::read_to_string(tmp.path().join("layers/thing/file")).unwrap(), "first");
    }
}
