//! The keys in use: a few at a time, each for a bounded number of operations, each named once and for all.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Closing, Menu};
use crate::verify::workload::operation::Request;
use crate::verify::workload::{Spread, WorkloadSpec};

/// Keys `NAME-SLOT-GENERATION`, with what is remembered of each that is in use.
pub(super) struct Keys<T> {
    name: String,
    spread: Spread,
    ops_per_key: u32,
    slots: Vec<Slot<T>>,
    slot_of: HashMap<String, usize>,
    /// Every key ever used, in order of first use.
    used: Vec<String>,
}

struct Slot<T> {
    key: String,
    generation: u32,
    ops: u32,
    memory: T,
}

impl<T: Default + Clone> Keys<T> {
    pub(super) fn new(name: &str, spec: &WorkloadSpec) -> Self {
        let mut keys = Keys {
            name: name.to_owned(),
            spread: spec.spread,
            ops_per_key: spec.ops_per_key.get(),
            slots: Vec::new(),
            slot_of: HashMap::new(),
            used: Vec::new(),
        };
        for index in 0..usize::from(spec.keys.get()) {
            let slot = keys.slot(index, 0);
            keys.slots.push(slot);
        }
        keys
    }

    fn slot(&mut self, index: usize, generation: u32) -> Slot<T> {
        let key = format!("{}-{index}-{generation}", self.name);
        self.slot_of.insert(key.clone(), index);
        Slot { key, generation, ops: 0, memory: T::default() }
    }

    /// The key of the next operation, which counts as used then, and what is remembered of it.
    pub(super) fn draw(&mut self, rng: &mut ChaCha8Rng) -> Option<(String, T)> {
        let index = self.spread.draw(self.slots.len(), rng);
        let full = self.slots.get(index)?;
        if full.ops >= self.ops_per_key {
            let (key, generation) = (full.key.clone(), full.generation);
            self.slot_of.remove(&key);
            let fresh = self.slot(index, generation + 1);
            *self.slots.get_mut(index)? = fresh;
        }
        let slot = self.slots.get_mut(index)?;
        if slot.ops == 0 {
            self.used.push(slot.key.clone());
        }
        slot.ops += 1;
        Some((slot.key.clone(), slot.memory.clone()))
    }

    /// What is remembered of a key that is still in use.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        let index = *self.slot_of.get(key)?;
        self.slots.get_mut(index).map(|slot| &mut slot.memory)
    }

    /// One operation `f`, which asks for nothing, on every key ever used.
    pub(super) fn looks(&self, menu: &Menu, f: &str) -> Vec<Closing> {
        let Some(operation) = menu.get(f) else { return Vec::new() };
        let request =
            |key: &String| Request { key: key.clone(), operation: operation.clone(), input: Value::Null };
        self.used.iter().map(|key| Closing { request: request(key), until_empty: false }).collect()
    }
}
