//! The reading end: a file back to entries, also when the writer was killed in the middle of a line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::error::Category;

use super::Entry;

/// Why a journal could not be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Written by a later version of the tool; its meaning is not known here.
    #[error("{}:{line}: written by a newer version of ovenproof: {message}", path.display())]
    Newer { path: PathBuf, line: usize, message: String },
    /// Not a line of a journal.
    #[error("{}:{line}: not an entry of a journal: {message}", path.display())]
    Garbage { path: PathBuf, line: usize, message: String },
}

/// Reads the journal at `path`. A last line that was not written to its end is left out.
pub fn read(path: &Path) -> Result<Vec<Entry>, JournalError> {
    let bytes = fs::read(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, JournalError> {
    // A file system that lost power can leave a tail of zeros where the last lines would have been.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = bytes.get(..end).unwrap_or_default();
    let mut entries = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line.trim_ascii_end()) {
            Ok(entry) => entries.push(entry),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => return Err(complaint(path, index + 1, &error)),
        }
    }
    Ok(entries)
}

fn complaint(path: &Path, line: usize, error: &serde_json::Error) -> JournalError {
    let path = path.to_owned();
    let message = error.to_string();
    // Serde's own words for a variant that this version does not have: an event, a phase, an outcome.
    match message.split_once(", expected") {
        Some((unknown, _)) if error.is_data() && unknown.starts_with("unknown variant") => {
            let message = unknown.replace("unknown variant", "this one does not know");
            JournalError::Newer { path, line, message }
        }
        _ => {
            let column = error.column();
            let message = match error.classify() {
                Category::Eof => "it is cut short".to_owned(),
                Category::Data => {
                    match message.strip_prefix("missing field ").and_then(|m| m.split_once(" at ")) {
                        Some((field, _)) => format!("{field} is missing"),
                        None => format!("something else is expected at column {column}"),
                    }
                }
                Category::Syntax | Category::Io => format!("it is not JSON at column {column}"),
            };
            JournalError::Garbage { path, line, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::event::{Judged, ScheduledFault};
    use crate::journal::{Event, OpOutcome, OpRecord, Phase, Verdict};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(Value::from),
            ".*".prop_map(Value::from),
            prop::collection::vec(any::<i32>(), 0..4).prop_map(Value::from),
            (".*", any::<bool>()).prop_map(|(key, is)| json!({ key: is })),
        ]
    }

    fn event() -> impl Strategy<Value = Event> {
        let op = (value(), value(), ".*", 0_u64..1 << 50, 0_u64..1 << 40).prop_map(
            |(input, output, detail, invoked_us, took)| {
                Event::Op(OpRecord {
                    workload: "registers".into(),
                    process: 3,
                    node: "etcd-1".into(),
                    key: detail.clone(),
                    f: "write".into(),
                    input,
                    output,
                    outcome: OpOutcome::Indeterminate,
                    invoked_us,
                    completed_us: invoked_us + took,
                    detail,
                })
            },
        );
        let judged = (".*", ".*", prop::collection::btree_map(".*", -1e300..1e300, 0..3)).prop_map(
            |(message, detail, measured)| {
                Event::Judged(Judged {
                    expectation: "linearizable".into(),
                    verdict: Verdict::Unknown,
                    message,
                    detail,
                    measured,
                })
            },
        );
        let scheduled =
            (value(), any::<u64>(), any::<Option<u64>>()).prop_map(|(params, inject_at_us, heal_at_us)| {
                Event::Scheduled {
                    steps: vec![ScheduledFault {
                        fault: "f1".into(),
                        kind: "network.partition".into(),
                        inject_at_us,
                        heal_at_us,
                        params,
                        targets: vec!["etcd-2".into()],
                    }],
                }
            });
        prop_oneof![
            op,
            judged,
            scheduled,
            ".*".prop_map(|text| Event::Note { text }),
            Just(Event::PhaseStarted { phase: Phase::Chaos }),
        ]
    }

    fn lines(entries: &[Entry]) -> Vec<Vec<u8>> {
        entries.iter().map(|entry| [serde_json::to_vec(entry).unwrap(), b"\n".to_vec()].concat()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_is_read_and_a_cut_loses_only_the_line_it_went_through(
            events in prop::collection::vec((any::<u64>(), event()), 1..5)
        ) {
            let entries: Vec<_> =
                events.into_iter().map(|(at_us, event)| Entry { at_us, event }).collect();
            let lines = lines(&entries);
            let bytes = lines.concat();
            prop_assert_eq!(&parse(Path::new("j"), &bytes).unwrap(), &entries);
            for cut in 0..bytes.len() {
                let mut end = 0;
                let whole = lines.iter().take_while(|line| { end += line.len(); end <= cut + 1 }).count();
                prop_assert_eq!(&parse(Path::new("j"), &bytes[..cut]).unwrap(), &entries[..whole]);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(Path::new("j"), &bytes);
        }
    }

    #[test]
    fn a_tail_of_zeros_is_a_torn_line() {
        let whole = br#"{"at_us":1,"event":{"note":{"text":"a"}}}"#;
        let bytes = [whole.as_slice(), b"\n", &[0; 100]].concat();
        assert_eq!(parse(Path::new("j"), &bytes).unwrap().len(), 1);
    }

    #[test]
    fn newer_and_broken_lines_are_told_apart_and_named() {
        let first = r#"{"at_us":1,"event":{"note":{"text":"a"}}}"#;
        let complain = |second: &str| {
            parse(Path::new("j"), format!("{first}\n{second}\n").as_bytes()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            complain(r#"{"at_us":2,"event":{"teleported":{}}}"#),
            @"j:2: written by a newer version of ovenproof: this one does not know `teleported`"
        );
        insta::assert_snapshot!(complain(r#"{"at_us":2,"#), @"j:2: not an entry of a journal: it is cut short");
        insta::assert_snapshot!(complain(r#"{"at_us":2,"event":{"note":{"text":7}}}"#), @"j:2: not an entry of a journal: something else is expected at column 36");
        insta::assert_snapshot!(complain("\u{7f}ELF"), @"j:2: not an entry of a journal: it is not JSON at column 1");
    }
}
