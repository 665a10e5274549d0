//! Histories of registers, as checkers read them: numbers instead of JSON, one history a key.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::journal::{OpOutcome, OpRecord};

/// The end of an operation that nobody saw ending: it may take effect at any time after its start, or never.
pub const OPEN: u64 = u64::MAX;

/// A value of the register, numbered by first appearance in its history.
pub type ValueId = u32;

/// The register before anything was written.
pub const ABSENT: ValueId = 0;

/// What an operation did, if it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The register held this value.
    Read(ValueId),
    /// The register held anything but this value: a compare-and-set that was answered with no.
    Differs(ValueId),
    Write(ValueId),
    /// The register held `expected` and holds `new` from then on.
    Cas {
        expected: ValueId,
        new: ValueId,
    },
}

impl Action {
    /// The value that the register holds afterwards, for operations that set it.
    pub fn sets(self) -> Option<ValueId> {
        match self {
            Action::Write(value) | Action::Cas { new: value, .. } => Some(value),
            Action::Read(_) | Action::Differs(_) => None,
        }
    }

    /// The value that the register must hold for this operation to take effect.
    pub fn needs(self) -> Option<ValueId> {
        match self {
            Action::Read(value) | Action::Cas { expected: value, .. } => Some(value),
            Action::Write(_) | Action::Differs(_) => None,
        }
    }
}

/// One operation. Times are microseconds on the clock of the run; an operation precedes another only if it
/// ended strictly before the other started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    pub action: Action,
    pub invoked: u64,
    /// [`OPEN`] when the outcome is indeterminate.
    pub completed: u64,
    /// Index of the record it was made from.
    pub record: usize,
}

/// All that happened to one register.
#[derive(Debug, Clone)]
pub struct KeyHistory<'a> {
    pub workload: &'a str,
    pub key: &'a str,
    /// In the order of their start, without refused operations and without reads that nobody saw ending.
    pub ops: Vec<Op>,
    /// The values by number; the first is null.
    pub values: Vec<Value>,
}

/// Splits the operations of all registers by workload and key. The error names an operation that no
/// register has.
pub fn by_key<'a>(records: &[&'a OpRecord]) -> Result<Vec<KeyHistory<'a>>, String> {
    let mut keys: BTreeMap<(&str, &str), KeyHistory<'a>> = BTreeMap::new();
    // By key, then by the value's JSON.
    let mut numbers: HashMap<(&str, &str), HashMap<String, ValueId>> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let key = (record.workload.as_str(), record.key.as_str());
        let history = keys.entry(key).or_insert_with(|| KeyHistory {
            workload: key.0,
            key: key.1,
            ops: Vec::new(),
            values: vec![Value::Null],
        });
        let known = numbers.entry(key).or_insert_with(|| HashMap::from([(Value::Null.to_string(), ABSENT)]));
        let mut number = |value: &Value| {
            *known.entry(value.to_string()).or_insert_with(|| {
                history.values.push(value.clone());
                u32::try_from(history.values.len() - 1).unwrap_or(u32::MAX)
            })
        };
        let action = match (record.f.as_str(), record.outcome) {
            (_, OpOutcome::Fail) | ("read", OpOutcome::Indeterminate) => continue,
            ("read", OpOutcome::Ok) => Action::Read(number(&record.output)),
            ("write", _) => Action::Write(number(&record.input)),
            ("delete", _) => Action::Write(ABSENT),
            ("cas", outcome) => {
                let pair = record.input.as_array().map(Vec::as_slice);
                let Some([expected, new]) = pair else {
                    return Err(format!("a cas on {} asks for {}, not for a pair", record.key, record.input));
                };
                match outcome == OpOutcome::Ok && record.output == Value::Bool(false) {
                    true => Action::Differs(number(expected)),
                    false => Action::Cas { expected: number(expected), new: number(new) },
                }
            }
            (other, _) => return Err(format!("no register has the operation `{other}` on {}", record.key)),
        };
        let completed = match record.outcome {
            OpOutcome::Indeterminate => OPEN,
            OpOutcome::Ok | OpOutcome::Fail => record.completed_us.max(record.invoked_us),
        };
        history.ops.push(Op { action, invoked: record.invoked_us, completed, record: index });
    }
    let mut histories: Vec<KeyHistory<'a>> = keys.into_values().collect();
    for history in &mut histories {
        history.ops.sort_by_key(|op| (op.invoked, op.record));
    }
    Ok(histories)
}
