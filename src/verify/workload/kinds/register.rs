//! Registers: read, written, compared-and-set.

use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::keys::Keys;
use super::{Closing, Generator, Kind, Menu, Setting};
use crate::journal::OpOutcome;
use crate::verify::workload::operation::{Operation, Request, Shape};
use crate::verify::workload::{Mix, WorkloadSpec};

pub(super) struct Register;

impl Kind for Register {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::looks("read", 2, Shape::Scalar).needed(),
            Operation::changes("write", 2, &["value"], Shape::Nothing).needed(),
            Operation::changes("cas", 1, &["expected", "value"], Shape::Flag),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Registers::new(setting))
    }
}

pub(super) struct Registers {
    /// What was last seen or written in each: a good guess at what a `cas` should expect.
    keys: Keys<Option<i64>>,
    menu: Menu,
    values: Values,
}

impl Registers {
    pub(super) fn new(setting: Setting<'_>) -> Self {
        let keys = Keys::new(setting.name, setting.spec);
        Registers { keys, menu: setting.menu, values: Values::new(setting.spec) }
    }
}

impl Generator for Registers {
    fn next(&mut self, client: usize, rng: &mut ChaCha8Rng) -> Option<Request> {
        let (key, last) = self.keys.draw(rng)?;
        let mut operation = self.menu.draw(rng)?;
        if operation.f == "cas" && last.is_none() {
            operation = self.menu.get("write")?;
        }
        let input = match (operation.f.as_ref(), last) {
            ("write", _) => json!(self.values.next(client)),
            ("cas", expected) => json!([expected, self.values.next(client)]),
            _ => Value::Null,
        };
        Some(Request { key, operation, input })
    }

    fn observe(&mut self, request: &Request, outcome: OpOutcome, output: &Value) {
        let Some(last) = self.keys.get_mut(&request.key).filter(|_| outcome == OpOutcome::Ok) else { return };
        match request.f() {
            "read" => *last = output.as_i64(),
            "write" => *last = request.input.as_i64(),
            "cas" if *output == Value::Bool(true) => *last = request.input.get(1).and_then(Value::as_i64),
            "delete" => *last = None,
            _ => {}
        }
    }

    fn closing(&mut self) -> Vec<Closing> {
        self.keys.looks(&self.menu, "read")
    }
}

/// Values of which no two clients of a workload ever use the same: a client's are `number + 1`,
/// `number + 1 + clients`, ..., so that a value found tells which operation it came from.
pub(super) struct Values {
    next: Vec<i64>,
    step: i64,
}

impl Values {
    pub(super) fn new(spec: &WorkloadSpec) -> Self {
        let clients = i64::from(spec.clients.get());
        Values { next: (1..=clients).collect(), step: clients }
    }

    pub(super) fn next(&mut self, client: usize) -> i64 {
        let Some(next) = self.next.get_mut(client) else { return 0 };
        let value = *next;
        *next += self.step;
        value
    }
}
