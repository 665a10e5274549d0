//! The writing end: one line an event, handed to the kernel before the call returns.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Entry, Event};
use crate::home::create_private_dir;

/// Values from the service that nest deeper than this are kept as text: readers of JSON give up at 128.
const MAX_DEPTH: usize = 64;

/// The journal of a run under way. Safe to share; entries of several threads never mix, and their times
/// never go backwards.
///
/// Each entry is one `write` to the file, so that a SIGKILL loses at most the line being written. The
/// disk is asked to keep what it has (`fsync`) when a phase starts and when the run ends.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    started: Instant,
    file: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    subscribers: Vec<mpsc::UnboundedSender<Entry>>,
    /// The first error that kept an entry from the file; nothing is written after it, because a line
    /// behind half a line would be lost too.
    broken: Option<(io::ErrorKind, String)>,
}

impl Journal {
    /// Creates the file, readable by its owner alone, and its directory. The clock starts now.
    ///
    /// Errors: the file exists already, or cannot be created.
    pub fn create(path: &Path) -> io::Result<Arc<Self>> {
        if let Some(parent) = path.parent() {
            create_private_dir(parent)?;
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(Journal {
            path: path.to_owned(),
            started: Instant::now(),
            file,
            state: Mutex::default(),
        }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Microseconds since the journal was created.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes one event with the time of this call. Never fails: an error is kept for [`Journal::close`],
    /// and the entry is still there for [`Journal::entries`] and for subscribers.
    pub fn record(&self, mut event: Event) {
        make_readable(&mut event);
        let durable = matches!(event, Event::PhaseStarted { .. } | Event::RunFinished { .. });
        let mut state = self.lock();
        let entry = Entry { at_us: self.elapsed_us(), event };
        if state.broken.is_none()
            && let Err(error) = self.append(&entry)
        {
            state.broken = Some((error.kind(), error.to_string()));
        }
        state.subscribers.retain(|subscriber| subscriber.send(entry.clone()).is_ok());
        state.entries.push(entry);
        drop(state);
        // Outside the lock: others go on recording while the disk is busy.
        if durable && let Err(error) = self.file.sync_data() {
            self.lock().broken.get_or_insert((error.kind(), error.to_string()));
        }
    }

    /// Everything recorded so far, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Every entry from now on, until the journal is closed or dropped. Nothing is ever skipped; a
    /// receiver that is dropped costs nothing more.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Entry> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().subscribers.push(sender);
        receiver
    }

    /// The first error that kept an entry from the file, if there was one.
    pub fn error(&self) -> Option<io::Error> {
        let (kind, message) = self.lock().broken.clone()?;
        Some(io::Error::new(kind, format!("cannot write {}: {message}", self.path.display())))
    }

    /// Ends the subscriptions, makes the file durable, and says whether every entry reached it.
    pub fn close(&self) -> io::Result<()> {
        self.lock().subscribers.clear();
        match self.error() {
            Some(error) => Err(error),
            None => self.file.sync_all(),
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }

    /// A thread that panicked while recording left at worst one entry out; the rest is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out what JSON could write but not read back: numbers that are none, and bottomless nesting.
fn make_readable(event: &mut Event) {
    match event {
        Event::Judged(judged) => judged.measured.retain(|_, number| number.is_finite()),
        Event::Op(op) => {
            flatten(&mut op.input);
            flatten(&mut op.output);
        }
        Event::Scheduled { steps } => steps.iter_mut().for_each(|step| flatten(&mut step.params)),
        _ => {}
    }
}

fn flatten(value: &mut Value) {
    if deeper_than(value, MAX_DEPTH) {
        *value = Value::String(value.to_string());
    }
}

fn deeper_than(value: &Value, depth: usize) -> bool {
    match (value, depth.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => true,
        (Value::Array(items), Some(rest)) => items.iter().any(|item| deeper_than(item, rest)),
        (Value::Object(members), Some(rest)) => members.values().any(|item| deeper_than(item, rest)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::event::Judged;
    use crate::journal::{OpOutcome, OpRecord, Phase, Verdict, read};
    use std::os::unix::fs::PermissionsExt;

    fn note(text: &str) -> Event {
        Event::Note { text: text.to_owned() }
    }

    #[test]
    fn only_the_owner_can_read_it_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run-1/journal.jsonl");
        let journal = Journal::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Journal::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        journal.close().unwrap();
    }

    #[test]
    fn every_entry_is_in_the_file_at_once_and_times_never_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let journal = Journal::create(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for n in 0..50 {
                        journal.record(note(&format!("{thread} {n}")));
                    }
                });
            }
        });
        // Not closed: this is what a killed process leaves.
        let entries = read(&path).unwrap();
        assert_eq!(entries, journal.entries());
        assert_eq!(entries.len(), 200);
        assert!(entries.is_sorted_by_key(|entry| entry.at_us));
    }

    #[test]
    fn subscribers_see_everything_from_then_on_and_end_with_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(&dir.path().join("j")).unwrap();
        journal.record(note("before"));
        let mut receiver = journal.subscribe();
        drop(journal.subscribe());
        journal.record(Event::PhaseStarted { phase: Phase::Boot });
        journal.close().unwrap();
        assert_eq!(receiver.blocking_recv().unwrap().event, Event::PhaseStarted { phase: Phase::Boot });
        assert_eq!(receiver.blocking_recv(), None);
    }

    #[test]
    fn a_write_error_is_kept_and_ends_the_writing_but_not_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        std::fs::write(&path, "").unwrap();
        // A descriptor that refuses writes stands for a full disk.
        let journal = Journal {
            path: path.clone(),
            started: Instant::now(),
            file: File::open(&path).unwrap(),
            state: Mutex::default(),
        };
        journal.record(note("lost"));
        assert_eq!(journal.entries().len(), 1);
        let message = journal.error().unwrap().to_string();
        assert!(message.starts_with(&format!("cannot write {}", path.display())), "{message}");
        assert!(journal.close().is_err());
    }

    #[test]
    fn what_json_cannot_read_back_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let journal = Journal::create(&path).unwrap();
        let mut deep = Value::Null;
        for _ in 0..500 {
            deep = Value::Array(vec![deep]);
        }
        journal.record(Event::Op(OpRecord {
            workload: "w".into(),
            process: 0,
            node: "n".into(),
            key: "k".into(),
            f: "read".into(),
            input: Value::Null,
            output: deep,
            outcome: OpOutcome::Ok,
            invoked_us: 1,
            completed_us: 2,
            detail: String::new(),
        }));
        journal.record(Event::Judged(Judged {
            expectation: "e".into(),
            verdict: Verdict::Pass,
            message: String::new(),
            detail: String::new(),
            measured: [("good".to_owned(), 1.5), ("bad".to_owned(), f64::NAN)].into(),
        }));
        journal.close().unwrap();
        assert_eq!(read(&path).unwrap(), journal.entries());
    }
}
