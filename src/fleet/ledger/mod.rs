//! The ledger: what exists outside our processes, written down before it exists.
//!
//! `ledger.jsonl` is appended under a lock and synced before anything is created; [`heal()`] removes what
//! has lost its owner. A line cut short by a crash was never acted upon and is dropped.

mod heal;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::heal::heal;
pub(crate) use self::heal::{processes_in, remove_leftovers};
use super::process::ProcessId;
use super::provider::Lifetime;
use crate::home::{Home, Lock};
use crate::store::ImageId;

/// A fleet that exists, is about to, or was left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// Unique for all time; a name may come back, an id does not.
    pub id: String,
    pub name: String,
    pub folder: PathBuf,
    pub lifetime: Lifetime,
    /// The process that asked for it.
    pub creator: ProcessId,
    /// Set once the supervisor runs.
    pub supervisor: Option<ProcessId>,
    /// RFC 3339.
    pub created_at: String,
    /// What its nodes boot from, which must stay for as long as it does.
    #[serde(default)]
    pub images: BTreeSet<ImageId>,
}

/// One line of the file, by the kind of thing that it is about.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Fleet(FleetLine),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FleetLine {
    /// Written before the first trace of the fleet is created.
    Creating(FleetRecord),
    Supervised {
        id: String,
        supervisor: ProcessId,
    },
    /// Written after its last trace was removed.
    Gone {
        id: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the fleet `{0}` exists already")]
    Exists(String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {reason}")]
    Damaged { path: PathBuf, line: usize, reason: String },
}

/// The ledger of one home. Any number of processes may use it at once.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

/// The ledger's file and content, while nobody else can change it.
struct Open {
    file: File,
    fleets: BTreeMap<String, FleetRecord>,
    _lock: Lock,
}

impl Ledger {
    pub fn of(home: &Home) -> Self {
        Ledger { path: home.ledger() }
    }

    /// Fleets that are not gone, by name.
    pub fn fleets(&self) -> Result<Vec<FleetRecord>, LedgerError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let mut fleets: Vec<FleetRecord> = self.open()?.fleets.into_values().collect();
        fleets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(fleets)
    }

    /// Takes the name of a fleet that is about to be created.
    pub fn begin(&self, record: FleetRecord) -> Result<(), LedgerError> {
        let mut open = self.open()?;
        if open.fleets.values().any(|fleet| fleet.name == record.name) {
            return Err(LedgerError::Exists(record.name));
        }
        self.append(&mut open, FleetLine::Creating(record))
    }

    /// Notes who supervises the fleet; false if it was given up in the meantime.
    pub fn supervised(&self, id: &str, supervisor: ProcessId) -> Result<bool, LedgerError> {
        let mut open = self.open()?;
        if !open.fleets.contains_key(id) {
            return Ok(false);
        }
        self.append(&mut open, FleetLine::Supervised { id: id.to_owned(), supervisor })?;
        Ok(true)
    }

    /// Notes that nothing is left of the fleet. Once nothing is left at all, the ledger starts anew.
    pub fn gone(&self, id: &str) -> Result<(), LedgerError> {
        let mut open = self.open()?;
        match open.fleets.remove(id) {
            None => Ok(()),
            Some(_) if open.fleets.is_empty() => {
                open.file.set_len(0).and_then(|()| open.file.sync_all()).map_err(|error| self.io(error))
            }
            Some(_) => self.append(&mut open, FleetLine::Gone { id: id.to_owned() }),
        }
    }

    fn open(&self) -> Result<Open, LedgerError> {
        let lock = Lock::acquire(&self.path.with_extension("lock")).map_err(|error| self.io(error))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = options.open(&self.path).map_err(|error| self.io(error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.io(error))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut fleets = BTreeMap::new();
        for (number, line) in text.get(..whole).unwrap_or_default().lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|error| LedgerError::Damaged {
                path: self.path.clone(),
                line: number + 1,
                reason: error.to_string(),
            })?;
            let Line::Fleet(line) = line;
            apply(&mut fleets, line);
        }
        // What follows the last line end was cut short by a crash.
        file.set_len(whole as u64).map_err(|error| self.io(error))?;
        file.seek(SeekFrom::End(0)).map_err(|error| self.io(error))?;
        Ok(Open { file, fleets, _lock: lock })
    }

    fn append(&self, open: &mut Open, line: FleetLine) -> Result<(), LedgerError> {
        let mut text = serde_json::to_string(&Line::Fleet(line)).map_err(|error| self.io(error.into()))?;
        text.push('\n');
        let written = open.file.write_all(text.as_bytes()).and_then(|()| open.file.sync_all());
        written.map_err(|error| self.io(error))
    }

    fn io(&self, source: io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }
}

fn apply(fleets: &mut BTreeMap<String, FleetRecord>, line: FleetLine) {
    match line {
        FleetLine::Creating(record) => {
            fleets.insert(record.id.clone(), record);
        }
        FleetLine::Supervised { id, supervisor } => {
            if let Some(record) = fleets.get_mut(&id) {
                record.supervisor = Some(supervisor);
            }
        }
        FleetLine::Gone { id } => {
            fleets.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
