//! Choosing for kinds whose every operation but the reads brings in a value of its own.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::keys::Keys;
use super::register::Values;
use super::{Closing, Generator, Menu, Setting};
use crate::verify::workload::operation::Request;

pub(super) struct Elements {
    keys: Keys<()>,
    menu: Menu,
    values: Values,
    /// What every key is asked in the end.
    last: Cow<'static, str>,
    until_empty: bool,
}

impl Elements {
    /// Every key is read in the end.
    pub(super) fn new(setting: Setting<'_>) -> Self {
        Elements {
            keys: Keys::new(setting.name, setting.spec),
            values: Values::new(setting.spec),
            menu: setting.menu,
            last: Cow::Borrowed("read"),
            until_empty: false,
        }
    }

    /// Every key is asked `f` until nothing is left there.
    pub(super) fn emptied_by(setting: Setting<'_>, f: &'static str) -> Self {
        Elements { last: Cow::Borrowed(f), until_empty: true, ..Self::new(setting) }
    }
}

impl Generator for Elements {
    fn next(&mut self, client: usize, rng: &mut ChaCha8Rng) -> Option<Request> {
        let (key, ()) = self.keys.draw(rng)?;
        let operation = self.menu.draw(rng)?;
        let input =
            if operation.arguments.is_empty() { Value::Null } else { json!(self.values.next(client)) };
        Some(Request { key, operation, input })
    }

    fn closing(&mut self) -> Vec<Closing> {
        let looks = self.keys.looks(&self.menu, &self.last);
        looks.into_iter().map(|look| Closing { until_empty: self.until_empty, ..look }).collect()
    }
}
