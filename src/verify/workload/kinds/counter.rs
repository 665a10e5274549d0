//! Counters: amounts are added, and the sum is read.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::elements::Elements;
use super::{Closing, Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Request, Shape};

/// The largest amount that is added at once.
const MOST: i64 = 5;

pub(super) struct Counter;

impl Kind for Counter {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::changes("add", 3, &["value"], Shape::Nothing).needed(),
            Operation::looks("read", 2, Shape::Scalar).needed(),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Amounts(Elements::new(setting)))
    }
}

struct Amounts(Elements);

impl Generator for Amounts {
    fn next(&mut self, client: usize, rng: &mut ChaCha8Rng) -> Option<Request> {
        let request = self.0.next(client, rng)?;
        match request.f() {
            "add" => Some(Request { input: json!(rng.random_range(1..=MOST)), ..request }),
            _ => Some(request),
        }
    }

    fn closing(&mut self) -> Vec<Closing> {
        self.0.closing()
    }
}
