//! Banks: money moves between accounts, and all balances are read at once.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{Closing, Generator, Kind, Menu, Setting};
use crate::verify::workload::operation::{Operation, Request, Shape};
use crate::verify::workload::{Mix, Spread};

/// What every account has in the beginning.
const BALANCE: i64 = 100;
/// The largest amount that is moved at once.
const MOST: i64 = 10;

pub(super) struct Bank;

impl Kind for Bank {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::looks("read", 1, Shape::Balances).needed(),
            Operation::changes("transfer", 1, &["from", "to", "amount"], Shape::Nothing).needed(),
        ]
    }

    fn setup(&self) -> Operation {
        Operation::changes("setup", 0, &["accounts", "balance"], Shape::Nothing).needed()
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Accounts {
            key: setting.name.to_owned(),
            // Money cannot move between fewer than two.
            count: usize::from(setting.spec.keys.get()).max(2),
            spread: setting.spec.spread,
            menu: setting.menu,
        })
    }
}

struct Accounts {
    key: String,
    count: usize,
    spread: Spread,
    menu: Menu,
}

impl Generator for Accounts {
    fn plan(&self) -> Value {
        json!({ "accounts": (0..self.count).collect::<Vec<_>>(), "balance": BALANCE })
    }

    fn next(&mut self, _: usize, rng: &mut ChaCha8Rng) -> Option<Request> {
        let operation = self.menu.draw(rng)?;
        let from = self.spread.draw(self.count, rng);
        let to = (from + rng.random_range(1..self.count)) % self.count;
        let input = match operation.f.as_ref() {
            "transfer" => json!({ "from": from, "to": to, "amount": rng.random_range(1..=MOST) }),
            _ => Value::Null,
        };
        Some(Request { key: self.key.clone(), operation, input })
    }

    fn closing(&mut self) -> Vec<Closing> {
        let read = self.menu.get("read").map(|operation| Closing {
            request: Request { key: self.key.clone(), operation, input: Value::Null },
            until_empty: false,
        });
        read.into_iter().collect()
    }
}
