//! What an upload has done so far, written down so that one that was killed goes on where it was.
//!
//! One file an image and region, one JSON object a line: the intent before the snapshot exists, its id the moment it
//! does, then the blocks that EBS has taken. A line cut short by a crash counts as not written: the worst is that a
//! block goes up twice.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bake::BakeError;
use crate::bake::error::At;
use crate::home::{Home, Lock};
use crate::store::ImageId;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// With the token by which EBS knows the same request again.
    Starting(String),
    Snapshot(String),
    Done(i32),
    /// All blocks are up, and CompleteSnapshot is about to be called.
    Sealing,
}

/// The state of one upload; nobody else works on it while this is held.
#[derive(Debug)]
pub(super) struct UploadState {
    path: PathBuf,
    file: File,
    pub(super) token: String,
    pub(super) snapshot: Option<String>,
    done: BTreeSet<i32>,
    /// An earlier process has called CompleteSnapshot, or was about to.
    pub(super) sealing: bool,
    _lock: Lock,
}

/// The lock that whoever works on `image` in `region` holds, with what is encrypted otherwise apart.
fn lock_path(home: &Home, region: &str, image: &str) -> PathBuf {
    home.ec2().join(format!("{image}.{region}.lock"))
}

/// Whether a process of this home works on `image` in `region` at this moment.
pub(super) fn is_in_work(home: &Home, region: &str, image: &str) -> io::Result<bool> {
    let path = lock_path(home, region, image);
    Ok(path.exists() && Lock::try_acquire(&path)?.is_none())
}

/// The regions in which this home ever worked: each has left a lock.
pub(super) fn regions(home: &Home) -> io::Result<BTreeSet<String>> {
    let mut regions = BTreeSet::new();
    let entries = match fs::read_dir(home.ec2()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(regions),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let parts: Vec<&str> = name.to_str().unwrap_or_default().split('.').collect();
        if let [_, region, "lock"] = parts.as_slice() {
            regions.insert((*region).to_owned());
        }
    }
    Ok(regions)
}

impl UploadState {
    /// Takes up the upload of `image` to `region`, waiting for another process that is at it. `key` tells uploads apart
    /// that are encrypted otherwise.
    pub(super) fn open(
        home: &Home,
        region: &str,
        image: &ImageId,
        key: &str,
    ) -> Result<UploadState, BakeError> {
        let lock = lock_path(home, region, image.as_str());
        let held = Lock::acquire(&lock).at(&lock)?;
        let key = blake3::hash(key.as_bytes()).to_hex();
        let path = home.ec2().join(format!("{image}.{region}.{}.jsonl", key.get(..8).unwrap_or_default()));
        let text = fs::read_to_string(&path).or_else(missing).at(&path)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (mut token, mut snapshot, mut done, mut sealing) = (None, None, BTreeSet::new(), false);
        for line in text.get(..whole).unwrap_or_default().lines() {
            match serde_json::from_str(line).map_err(std::io::Error::other).at(&path)? {
                Line::Starting(known) => token = Some(known),
                Line::Snapshot(id) => snapshot = Some(id),
                Line::Done(index) => {
                    done.insert(index);
                }
                Line::Sealing => sealing = true,
            }
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&path).at(&path)?;
        file.set_len(whole as u64).at(&path)?;
        let known = token.is_some();
        let token = token.unwrap_or_else(new_token);
        let mut state = UploadState { path, file, token, snapshot, done, sealing, _lock: held };
        if !known {
            state.write(&Line::Starting(state.token.clone()))?;
            state.sync()?;
        }
        Ok(state)
    }

    pub(super) fn started(&mut self, snapshot: &str) -> Result<(), BakeError> {
        self.snapshot = Some(snapshot.to_owned());
        self.write(&Line::Snapshot(snapshot.to_owned()))?;
        self.sync()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        self.done.contains(&index)
    }

    /// Notes a block that EBS has taken; not synced, because forgetting it costs no more than the block.
    pub(super) fn put(&mut self, index: i32) -> Result<(), BakeError> {
        self.done.insert(index);
        self.write(&Line::Done(index))
    }

    /// Notes that the snapshot is about to be sealed, and that all its blocks are up.
    pub(super) fn seal(&mut self) -> Result<(), BakeError> {
        self.write(&Line::Sealing)?;
        self.sync()
    }

    /// Nothing is left to go on with.
    pub(super) fn end(&self) -> Result<(), BakeError> {
        fs::remove_file(&self.path).or_else(missing).at(&self.path)
    }

    /// Begins anew: what was noted is of a snapshot that is no more.
    pub(super) fn restart(&mut self) -> Result<(), BakeError> {
        self.file.set_len(0).at(&self.path)?;
        self.snapshot = None;
        self.done.clear();
        self.sealing = false;
        self.token = new_token();
        self.write(&Line::Starting(self.token.clone()))?;
        self.sync()
    }

    fn write(&mut self, line: &Line) -> Result<(), BakeError> {
        let mut text = serde_json::to_string(line).map_err(std::io::Error::other).at(&self.path)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).at(&self.path)
    }

    fn sync(&self) -> Result<(), BakeError> {
        self.file.sync_all().at(&self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).at(folder)
    }
}

fn new_token() -> String {
    format!("ovenproof-{:032x}", rand::random::<u128>())
}

fn missing<T: Default>(error: std::io::Error) -> std::io::Result<T> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(T::default()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_known_again_also_after_half_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::at(folder.path());
        let image = ImageId::from_hash(blake3::hash(b"image"));
        let open = || UploadState::open(&home, "eu-north-1", &image, "none").expect("a state");
        let mut first = open();
        assert!(is_in_work(&home, "eu-north-1", image.as_str()).expect("looked"));
        first.started("snap-1").expect("noted");
        first.put(7).expect("noted");
        first.file.write_all(b"{\"done\":8").expect("cut short");
        let token = first.token.clone();
        drop(first);
        assert_eq!(regions(&home).expect("looked"), BTreeSet::from(["eu-north-1".to_owned()]));
        assert!(!is_in_work(&home, "eu-north-1", image.as_str()).expect("looked"));
        let mut again = open();
        assert_eq!((again.token.as_str(), again.snapshot.as_deref()), (token.as_str(), Some("snap-1")));
        assert!(again.has(7) && !again.has(8) && !again.sealing);
        again.seal().expect("noted");
        drop(again);
        let mut again = open();
        assert!(again.sealing && again.has(7));
        again.restart().expect("anew");
        drop(again);
        let anew = open();
        assert!(anew.snapshot.is_none() && !anew.has(7) && !anew.sealing && anew.token != token);
        anew.end().expect("ended");
        anew.end().expect("ended twice is ended");
    }
}
