//! Where ovenproof keeps things on this machine, and the locks that make two commands at once safe.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The directory under which everything lies: `$OVENPROOF_HOME`, else `$XDG_DATA_HOME/ovenproof`, else
/// `~/.local/share/ovenproof`.
///
/// ```text
/// store/    images, layers, channels        cache/    downloads that may be deleted at any time
/// fleets/   one folder a running fleet      runs/     one folder a run: journal, reports, logs
/// volumes/  one folder a fleet: data that outlives it     volume-snapshots/  copies of it
/// ec2/      what is in the making there, and by which name our things are known
/// ledger.jsonl   what exists outside our processes
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home named by the environment; not yet created.
    pub fn from_env() -> io::Result<Self> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = var("OVENPROOF_HOME")
            .or_else(|| var("XDG_DATA_HOME").map(|data| data.join("ovenproof")))
            .or_else(|| var("HOME").map(|home| home.join(".local/share/ovenproof")))
            .ok_or_else(|| io::Error::other("neither OVENPROOF_HOME nor HOME is set"))?;
        Ok(Home { root: std::path::absolute(root)? })
    }

    /// A home at `root`, which must be absolute.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Home { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub fn fleets(&self) -> PathBuf {
        self.root.join("fleets")
    }

    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub fn volume_snapshots(&self) -> PathBuf {
        self.root.join("volume-snapshots")
    }

    pub fn ec2(&self) -> PathBuf {
        self.root.join("ec2")
    }

    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.jsonl")
    }
}

/// Creates `path` and its parents, readable by the owner alone: fleets hold private keys.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// An advisory lock on a file, held until dropped, released by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let file = Self::open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Lock { _file: file })
    }

    /// Waits until nobody holds the lock alone; any number may hold it together.
    pub fn share(path: &Path) -> io::Result<Self> {
        let file = Self::open(path)?;
        flock(&file, FlockOperation::LockShared)?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock if nobody holds it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open(path: &Path) -> io::Result<File> {
        if let Some(parent) = path.parent() {
            create_private_dir(parent)?;
        }
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
    }
}

/// Writes `bytes` to `path` so that a reader or a crash sees the old content or the new, never a mix.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let parent = path.parent().ok_or_else(|| io::Error::other("a file needs a parent directory"))?;
    create_private_dir(parent)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = parent.join(format!(".{name}.{}.{:08x}", std::process::id(), rand::random::<u32>()));
    let result = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(parent)?.sync_all()
    })();
    if result.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&aside);
    }
    result
}
