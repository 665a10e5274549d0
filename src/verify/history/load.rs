//! Histories from files: Jepsen's, written in EDN, and our own, as JSON lines.
//!
//! A history becomes the operations that clients recorded; whatever judges them is the same as in a run.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Model;
use super::edn::{self, Edn};
use crate::journal::{Entry, Event, OpOutcome, OpRecord};

/// A history as it stands in a file.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    pub ops: Vec<OpRecord>,
    /// What workloads were told in the beginning, by name.
    pub plans: BTreeMap<String, Value>,
}

/// Why a file holds no history; the line counts from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct BadHistory {
    pub line: usize,
    pub message: String,
}

fn bad<T>(line: usize, message: impl Into<String>) -> Result<T, BadHistory> {
    Err(BadHistory { line, message: message.into() })
}

/// Reads `text`: EDN, or JSON lines if it begins with a JSON object. `keyed`: values are pairs of key and value,
/// as `jepsen.independent` makes them.
pub fn load(text: &str, model: Model, keyed: bool) -> Result<Loaded, BadHistory> {
    let mut start = text.trim_start().chars().filter(|c| !c.is_whitespace());
    match (start.next(), start.next()) {
        (Some('{'), Some('"')) => json_lines(text, model),
        _ => jepsen(text, model, keyed),
    }
}

/// A journal, or operations alone, one a line.
fn json_lines(text: &str, model: Model) -> Result<Loaded, BadHistory> {
    let mut loaded = Loaded::default();
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if let Ok(op) = serde_json::from_str::<OpRecord>(line) {
            loaded.ops.push(op);
            continue;
        }
        match serde_json::from_str::<Entry>(line) {
            Ok(Entry { event: Event::Op(op), .. }) => loaded.ops.push(op),
            Ok(Entry { event: Event::Workload { workload, kind, plan }, .. }) => {
                kinds.insert(workload.clone(), kind);
                loaded.plans.insert(workload, plan);
            }
            Ok(_) => {}
            // The last line of a journal whose writer was killed.
            Err(_) if !text.ends_with('\n') && index + 1 == text.lines().count() => {}
            Err(error) => {
                return bad(index + 1, format!("neither an operation nor an entry of a journal: {error}"));
            }
        }
    }
    // A journal says what its workloads are; operations of others are no part of this history.
    let wanted =
        |op: &OpRecord| kinds.get(&op.workload).is_none_or(|kind| model.kinds().contains(&kind.as_str()));
    loaded.ops.retain(wanted);
    Ok(loaded)
}

/// An operation under way.
struct Open {
    line: usize,
    f: String,
    value: Edn,
    at: u64,
}

fn jepsen(text: &str, model: Model, keyed: bool) -> Result<Loaded, BadHistory> {
    let values = edn::read(text).map_err(|error| BadHistory {
        line: error.line,
        message: format!("column {}: {}", error.column, error.message),
    })?;
    // Either every operation by itself, or all in one vector.
    let events: Vec<(usize, Edn)> = match <[(usize, Edn); 1]>::try_from(values) {
        Ok([(line, Edn::List(items))]) => items.into_iter().map(|item| (line, item)).collect(),
        Ok([one]) => vec![one],
        Err(several) => several,
    };
    let mut maker = Maker { model, keyed, loaded: Loaded::default() };
    let mut open: BTreeMap<i64, Open> = BTreeMap::new();
    let mut last = 0;
    for (line, event) in events {
        let Edn::Map(_) = event else {
            return bad(
                line,
                "this is not an operation, expected a map such as `{:process 0, :type :invoke, :f :read, :value nil}`",
            );
        };
        // The nemesis and its like.
        let Some(Edn::Int(process)) = event.get("process") else { continue };
        let word = |name: &str| match event.get(name) {
            Some(Edn::Keyword(word) | Edn::Symbol(word) | Edn::Text(word)) => Ok(word.clone()),
            _ => bad(line, format!("the operation has no `:{name}`")),
        };
        // Nanoseconds become microseconds, and no two events share one: their order in the file counts.
        let at = match event.get("time") {
            Some(Edn::Int(nanos)) => u64::try_from(*nanos).unwrap_or_default() / 1_000,
            _ => last + 1_000,
        };
        last = at.max(last + 1);
        let value = event.get("value").cloned().unwrap_or(Edn::Nil);
        let outcome = match word("type")?.as_str() {
            "invoke" => {
                let begun = Open { line, f: word("f")?, value, at: last };
                if let Some(before) = open.insert(*process, begun) {
                    return bad(
                        line,
                        format!(
                            "process {process} begins an operation before that of line {} ended",
                            before.line
                        ),
                    );
                }
                continue;
            }
            "ok" => OpOutcome::Ok,
            "fail" => OpOutcome::Fail,
            "info" => OpOutcome::Indeterminate,
            other => {
                return bad(
                    line,
                    format!("`:type :{other}` is not one of `:invoke`, `:ok`, `:fail`, `:info`"),
                );
            }
        };
        let Some(begun) = open.remove(process) else {
            return bad(line, format!("process {process} ends an operation that it did not begin"));
        };
        maker.add(*process, begun, value, outcome, last)?;
    }
    for (process, begun) in open {
        maker.add(process, begun, Edn::Nil, OpOutcome::Indeterminate, last)?;
    }
    maker.loaded.ops.sort_by_key(|op| op.completed_us);
    Ok(maker.loaded)
}

struct Maker {
    model: Model,
    keyed: bool,
    loaded: Loaded,
}

impl Maker {
    fn add(
        &mut self,
        process: i64,
        begun: Open,
        value: Edn,
        outcome: OpOutcome,
        ended: u64,
    ) -> Result<(), BadHistory> {
        let Open { line, f, value: asked, at } = begun;
        let (mut key, mut asked, mut answered) = (String::new(), json_of(&asked), json_of(&value));
        if self.keyed {
            let Some([of, inner]) = pair(&asked) else {
                return bad(line, format!("the value {asked} is not a pair of key and value"));
            };
            key = of.as_str().map_or_else(|| of.to_string(), str::to_owned);
            answered = pair(&answered).map_or(Value::Null, |[_, inner]| inner);
            asked = inner;
        }
        let mut push = |key: &str, f: &str, input: Value, output: Value, outcome: OpOutcome| {
            self.loaded.ops.push(OpRecord {
                workload: "history".to_owned(),
                process: u32::try_from(process).unwrap_or(u32::MAX),
                node: "the service".to_owned(),
                // Without keys there is one of everything.
                key: if key.is_empty() { "0".to_owned() } else { key.to_owned() },
                f: f.to_owned(),
                input,
                output,
                outcome,
                invoked_us: at,
                completed_us: ended,
                detail: String::new(),
            });
        };
        // A read whose answer never came changed nothing.
        let of_look = if outcome == OpOutcome::Indeterminate { OpOutcome::Fail } else { outcome };
        match (self.model, f.as_str()) {
            (Model::Append, "txn") => {
                let steps = if outcome == OpOutcome::Ok { &answered } else { &asked };
                for step in steps.as_array().into_iter().flatten() {
                    let Some([f, of, value]) = triple(step) else {
                        return bad(
                            line,
                            format!("{step} is not a step such as `[:append 1 2]` or `[:r 1 nil]`"),
                        );
                    };
                    let of = format!("{key}{}", of.as_str().map_or_else(|| of.to_string(), str::to_owned));
                    match f.as_str() {
                        Some("append") => push(&of, "append", value, Value::Null, outcome),
                        Some("r") if value.is_null() => push(&of, "read", Value::Null, json!([]), of_look),
                        Some("r") => push(&of, "read", Value::Null, value, of_look),
                        _ => {
                            return bad(
                                line,
                                format!("{step} is not a step such as `[:append 1 2]` or `[:r 1 nil]`"),
                            );
                        }
                    }
                }
            }
            (Model::Lock, "acquire" | "release") => {
                let (from, to) =
                    if f == "acquire" { (Value::Null, json!(1)) } else { (json!(1), Value::Null) };
                push(&key, "cas", json!([from, to]), json!(true), outcome);
            }
            (Model::Queue, "drain") if outcome == OpOutcome::Ok => {
                for value in answered.as_array().into_iter().flatten() {
                    push(&key, "dequeue", Value::Null, value.clone(), outcome);
                }
                push(&key, "dequeue", Value::Null, Value::Null, outcome);
            }
            (Model::Queue, "drain") => {}
            (model, f) if model.has(f) => {
                let output = match f {
                    "cas" => json!(true),
                    "read" | "dequeue" | "generate" => answered,
                    _ => Value::Null,
                };
                let input =
                    if f == "read" || f == "dequeue" || f == "generate" { Value::Null } else { asked };
                push(&key, f, input, output, if f == "read" { of_look } else { outcome });
            }
            (model, other) => {
                return bad(line, format!("the model `{}` has no operation `:{other}`", model.name()));
            }
        }
        Ok(())
    }
}

fn pair(value: &Value) -> Option<[Value; 2]> {
    <[Value; 2]>::try_from(value.as_array()?.clone()).ok()
}

fn triple(value: &Value) -> Option<[Value; 3]> {
    <[Value; 3]>::try_from(value.as_array()?.clone()).ok()
}

/// Keywords and symbols become text, sets become lists, keys of maps become text.
fn json_of(value: &Edn) -> Value {
    match value {
        Edn::Nil => Value::Null,
        Edn::Bool(flag) => json!(flag),
        Edn::Int(number) => json!(number),
        Edn::Float(number) => json!(number),
        Edn::Text(text) | Edn::Keyword(text) | Edn::Symbol(text) => json!(text),
        Edn::List(items) | Edn::Set(items) => items.iter().map(json_of).collect(),
        Edn::Map(pairs) => {
            let text = |key: &Edn| match json_of(key) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            pairs.iter().map(|(key, value)| (text(key), json_of(value))).collect::<Map<_, _>>().into()
        }
    }
}
