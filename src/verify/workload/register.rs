//! Which operation comes next on which register.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::Mix;
use super::client::RegisterOp;
use crate::journal::OpOutcome;

/// The registers in use, shared by all clients of a workload.
pub(super) struct Registers {
    workload: String,
    ops_per_key: u32,
    slots: Vec<Slot>,
    /// Every key ever used, in order of first use.
    used: Vec<String>,
}

struct Slot {
    key: String,
    generation: u32,
    ops: u32,
    /// What was last seen or written there: a good guess at what a `cas` should expect.
    last: Option<i64>,
}

/// One client's source of choices. Its written values are `number + 1`, `number + 1 + clients`, ...: no
/// two clients of a workload ever write the same value, so a value read tells which write it came from.
pub(super) struct Chooser {
    pub(super) rng: ChaCha8Rng,
    pub(super) next_value: i64,
    pub(super) value_step: i64,
    pub(super) mix: Mix,
}

impl Registers {
    pub(super) fn new(workload: &str, keys: u16, ops_per_key: u32) -> Self {
        let slots = (0..keys).map(|slot| Slot::new(workload, usize::from(slot), 0)).collect();
        Registers { workload: workload.to_owned(), ops_per_key, slots, used: Vec::new() }
    }

    /// The next operation of a client, with its slot and key.
    pub(super) fn choose(&mut self, chooser: &mut Chooser) -> Option<(usize, String, RegisterOp)> {
        let index = chooser.rng.random_range(0..self.slots.len().max(1));
        let slot = self.slots.get_mut(index)?;
        if slot.ops >= self.ops_per_key {
            *slot = Slot::new(&self.workload, index, slot.generation + 1);
        }
        if slot.ops == 0 {
            self.used.push(slot.key.clone());
        }
        slot.ops += 1;
        Some((index, slot.key.clone(), chooser.op(slot.last)))
    }

    /// Remembers what an operation on `key` showed.
    pub(super) fn observe(
        &mut self,
        index: usize,
        key: &str,
        op: RegisterOp,
        outcome: OpOutcome,
        output: &Value,
    ) {
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.key == key) else { return };
        match (op, outcome) {
            (RegisterOp::Read, OpOutcome::Ok) => slot.last = output.as_i64(),
            (RegisterOp::Write(value), OpOutcome::Ok) => slot.last = Some(value),
            (RegisterOp::Cas { value, .. }, OpOutcome::Ok) if *output == Value::Bool(true) => {
                slot.last = Some(value);
            }
            _ => {}
        }
    }

    pub(super) fn into_used(self) -> Vec<String> {
        self.used
    }
}

impl Slot {
    fn new(workload: &str, slot: usize, generation: u32) -> Self {
        Slot { key: format!("{workload}-{slot}-{generation}"), generation, ops: 0, last: None }
    }
}

impl Chooser {
    fn op(&mut self, last: Option<i64>) -> RegisterOp {
        let Mix { read, write, cas } = self.mix;
        let [read, write, cas] = [read, write, cas].map(u32::from);
        let draw = self.rng.random_range(0..(read + write + cas).max(1));
        match last {
            _ if draw < read => RegisterOp::Read,
            Some(expected) if draw >= read + write => RegisterOp::Cas { expected, value: self.value() },
            _ => RegisterOp::Write(self.value()),
        }
    }

    fn value(&mut self) -> i64 {
        let value = self.next_value;
        self.next_value += self.value_step;
        value
    }
}
