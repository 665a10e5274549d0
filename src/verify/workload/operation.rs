//! Operations: what a client can be asked, and how the text of an answer is read for each.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// An operation of a kind of workload.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// Its name in the model and in the journal.
    pub(super) f: Cow<'static, str>,
    /// How often it is chosen without a `mix`; 0: never.
    pub(super) weight: u16,
    /// A workload without it proves nothing.
    pub(super) needed: bool,
    /// It changes nothing, so that one without an answer may as well not have happened.
    pub(super) looks: bool,
    /// Names of the parts of its input: none, one for the value itself, several for those of a list or of an
    /// object.
    pub(super) arguments: &'static [&'static str],
    pub(super) answer: Shape,
}

impl Operation {
    pub(super) const fn changes(
        f: &'static str,
        weight: u16,
        arguments: &'static [&'static str],
        answer: Shape,
    ) -> Self {
        Operation { f: Cow::Borrowed(f), weight, needed: false, looks: false, arguments, answer }
    }

    pub(super) const fn looks(f: &'static str, weight: u16, answer: Shape) -> Self {
        Operation { f: Cow::Borrowed(f), weight, needed: false, looks: true, arguments: &[], answer }
    }

    #[must_use]
    pub(super) const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    /// The parts of `input` by name, as templates see them.
    pub(super) fn parts(&self, input: &Value) -> Vec<(&'static str, Value)> {
        let part = |(index, name): (usize, &&'static str)| {
            let value = match (input, self.arguments.len()) {
                (_, 1) => input.clone(),
                (Value::Array(items), _) => items.get(index).cloned().unwrap_or_default(),
                (Value::Object(members), _) => members.get(*name).cloned().unwrap_or_default(),
                _ => Value::Null,
            };
            (*name, value)
        };
        self.arguments.iter().enumerate().map(part).collect()
    }

    /// An input for trying a template.
    pub(super) fn sample(&self) -> Value {
        match self.arguments {
            [] => Value::Null,
            [_] => json!(1),
            several => {
                several.iter().map(|name| ((*name).to_owned(), json!(1))).collect::<Map<_, _>>().into()
            }
        }
    }
}

/// What the answer to an operation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing but the acknowledgement.
    Nothing,
    /// One value, or null if there is none.
    Scalar,
    /// Whether it found what it expected.
    Flag,
    /// A list of values.
    List,
    /// An object: account to balance.
    Balances,
}

impl Shape {
    /// Reads an answer that is text: a list is JSON or words, balances are JSON or lines of two words.
    pub(super) fn of_text(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if self != Shape::Nothing && text.starts_with(['[', '{']) {
            let parsed: Option<Value> = serde_json::from_str(text).ok();
            if let Some(value) = parsed {
                return self.of_json(Some(&value));
            }
        }
        let words = || text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        match self {
            Shape::Nothing => Ok(Value::Null),
            Shape::Scalar => Ok(scalar(text)),
            Shape::Flag => match text {
                "true" | "1" | "" => Ok(json!(true)),
                "false" | "0" => Ok(json!(false)),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            Shape::List => Ok(words().map(scalar).collect()),
            Shape::Balances => {
                let mut balances = Map::new();
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let mut parts = line.split(|c: char| c.is_whitespace() || "|:=,".contains(c));
                    let mut word = || parts.find(|part| !part.is_empty());
                    match (word(), word().map(scalar), word()) {
                        (Some(account), Some(balance), None) if balance.is_i64() => {
                            balances.insert(account.to_owned(), balance)
                        }
                        _ => return Err(format!("`{line}` is not an account and its balance")),
                    };
                }
                Ok(balances.into())
            }
        }
    }

    /// Reads an answer that is JSON; `None`: nothing is where it was looked for.
    pub(super) fn of_json(self, value: Option<&Value>) -> Result<Value, String> {
        let value = value.filter(|value| !value.is_null());
        match (self, value) {
            (Shape::Nothing, _) | (Shape::Scalar, None) => Ok(Value::Null),
            (Shape::Scalar, Some(Value::String(text))) => Ok(scalar(text)),
            (Shape::Scalar, Some(other)) => Ok(other.clone()),
            // Encoders of protobuf leave out what is false.
            (Shape::Flag, None) => Ok(json!(false)),
            (Shape::Flag, Some(flag @ Value::Bool(_))) => Ok(flag.clone()),
            (Shape::Flag, Some(other)) => Err(format!("{other} stands where true or false is expected")),
            (Shape::List, None) => Ok(json!([])),
            (Shape::List, Some(Value::Array(items))) => Ok(items.iter().map(number).collect()),
            (Shape::List, Some(Value::String(text))) if !text.trim_start().starts_with(['[', '{']) => {
                self.of_text(text)
            }
            (Shape::Balances, Some(Value::Object(members))) => {
                Ok(members.iter().map(|(account, balance)| (account.clone(), number(balance))).collect())
            }
            (Shape::Balances, Some(Value::Array(items))) => Ok(items
                .iter()
                .enumerate()
                .map(|(account, balance)| (account.to_string(), number(balance)))
                .collect()),
            (Shape::List, Some(other)) => Err(format!("{other} stands where a list is expected")),
            (Shape::Balances, _) => Err("there are no balances".to_owned()),
        }
    }
}

/// A number when it reads as one; otherwise text, which no client ever wrote and the checker will say so.
pub(super) fn scalar(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), |number| json!(number))
}

fn number(value: &Value) -> Value {
    match value {
        Value::String(text) => scalar(text),
        other => other.clone(),
    }
}

/// One operation on one key.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) key: String,
    pub(super) operation: Arc<Operation>,
    /// What was asked, as the journal holds it.
    pub(super) input: Value,
}

impl Request {
    pub(super) fn f(&self) -> &str {
        &self.operation.f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_their_shape_says() {
        assert_eq!(Shape::List.of_text(" 3, 1\n2 ").unwrap(), json!([3, 1, 2]));
        assert_eq!(Shape::List.of_text("[3,\"1\"]").unwrap(), json!([3, 1]));
        assert_eq!(Shape::List.of_json(None).unwrap(), json!([]));
        assert_eq!(Shape::Scalar.of_text("7\n").unwrap(), json!(7));
        assert_eq!(Shape::Scalar.of_text("7a").unwrap(), json!("7a"));
        assert_eq!(Shape::Balances.of_text("0|10\n1 | 90\n").unwrap(), json!({"0": 10, "1": 90}));
        assert_eq!(Shape::Balances.of_json(Some(&json!([10, "90"]))).unwrap(), json!({"0": 10, "1": 90}));
        for text in ["0", "0 x", "0 1 2"] {
            assert!(Shape::Balances.of_text(text).is_err(), "{text}");
        }
        assert!(Shape::Flag.of_text("maybe").is_err());
        assert!(Shape::List.of_json(Some(&json!({}))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(text in ".{0,40}") {
            for shape in [Shape::Nothing, Shape::Scalar, Shape::Flag, Shape::List, Shape::Balances] {
                let _ = shape.of_text(&text);
            }
        }
    }
}
