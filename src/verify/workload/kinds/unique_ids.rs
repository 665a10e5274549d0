//! Ids: each that the service makes is new.

use super::elements::Elements;
use super::{Closing, Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Request, Shape};
use rand_chacha::ChaCha8Rng;

pub(super) struct UniqueIds;

impl Kind for UniqueIds {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![Operation::changes("generate", 1, &[], Shape::Scalar).needed()]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        let key = setting.name.to_owned();
        Box::new(Ids { key, elements: Elements::new(setting) })
    }
}

/// All ids come from one source, whatever the number of keys.
struct Ids {
    key: String,
    elements: Elements,
}

impl Generator for Ids {
    fn next(&mut self, client: usize, rng: &mut ChaCha8Rng) -> Option<Request> {
        Some(Request { key: self.key.clone(), ..self.elements.next(client, rng)? })
    }

    fn closing(&mut self) -> Vec<Closing> {
        Vec::new()
    }
}
