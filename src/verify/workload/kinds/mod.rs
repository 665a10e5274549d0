//! The kinds of workloads: which operations there are and which comes next.
//!
//! One file a kind and one line in [`kinds!`]. A kind chooses and remembers; it never talks to the service and
//! never judges.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operation::{Operation, Request, Shape};
use super::{Mix, Spread, WorkloadSpec};
use crate::journal::OpOutcome;

mod append;
mod bank;
mod counter;
mod custom;
mod elements;
mod key_value;
mod keys;
mod queue;
mod register;
mod set;
mod unique_ids;

/// What is needed to choose operations.
pub(super) struct Setting<'a> {
    /// The workload's name, with which its keys begin.
    pub(super) name: &'a str,
    pub(super) spec: &'a WorkloadSpec,
    pub(super) menu: Menu,
}

/// A kind of workload.
pub(super) trait Kind: Send + Sync {
    /// Its operations. `mix` matters only to a kind that leaves them to the scenario.
    fn operations(&self, mix: Option<&Mix>) -> Vec<Operation>;

    /// What must be done once before the first operation, more than once without harm.
    fn setup(&self) -> Operation {
        Operation::changes("setup", 0, &[], Shape::Nothing)
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator>;
}

/// The choices of one running workload, shared by its clients.
pub(super) trait Generator: Send {
    /// What `setup` is asked with; it goes into the journal, where checkers find it.
    fn plan(&self) -> Value {
        Value::Null
    }

    /// The next operation of a client; `None` when there is nothing more to do.
    fn next(&mut self, client: usize, rng: &mut ChaCha8Rng) -> Option<Request>;

    /// Remembers what an operation showed.
    fn observe(&mut self, request: &Request, outcome: OpOutcome, output: &Value) {
        let _ = (request, outcome, output);
    }

    /// What must be asked when everything is over, each until it is answered.
    fn closing(&mut self) -> Vec<Closing>;
}

/// A request at the end.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    pub(super) request: Request,
    /// Ask again and again until the answer is null: nothing is left.
    pub(super) until_empty: bool,
}

/// The operations that are chosen from, with their weights.
#[derive(Debug, Clone)]
pub(super) struct Menu(pub(super) Vec<(Arc<Operation>, u16)>);

impl Menu {
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Option<Arc<Operation>> {
        let total: u32 = self.0.iter().map(|(_, weight)| u32::from(*weight)).sum();
        let mut draw = rng.random_range(0..total.max(1));
        for (operation, weight) in &self.0 {
            match draw.checked_sub(u32::from(*weight)) {
                Some(rest) => draw = rest,
                None => return Some(Arc::clone(operation)),
            }
        }
        None
    }

    /// The operation `f`, chosen from or not.
    pub(super) fn get(&self, f: &str) -> Option<Arc<Operation>> {
        self.0.iter().find(|(operation, _)| operation.f == f).map(|(operation, _)| Arc::clone(operation))
    }
}

impl Spread {
    /// One of `count`.
    pub(super) fn draw(self, count: usize, rng: &mut ChaCha8Rng) -> usize {
        let share: f64 = rng.random();
        let share = match self {
            Spread::Even => share,
            Spread::Skewed => share.powi(3),
        };
        ((share * count as f64) as usize).min(count.saturating_sub(1))
    }
}

/// Generates the enum that scenario files spell, and the way from its variants to their behaviour.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:literal => $module:ident::$kind:ident,)+) => {
        /// What the clients do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum WorkloadKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $kind,)+
        }

        impl WorkloadKind {
            pub const ALL: &[WorkloadKind] = &[$(WorkloadKind::$kind,)+];

            pub fn name(self) -> &'static str {
                match self {
                    $(WorkloadKind::$kind => $name,)+
                }
            }

            pub(super) fn kind(self) -> &'static dyn Kind {
                match self {
                    $(WorkloadKind::$kind => &$module::$kind,)+
                }
            }
        }
    };
}

kinds! {
    /// Registers that are read, written and compared-and-set; every written value is written once.
    "register" => register::Register,
    /// Keys that are read, written, removed and compared-and-set.
    "key_value" => key_value::KeyValue,
    /// Sets to which values are added, and which are read as a whole.
    "set" => set::Set,
    /// Lists at whose end values are put, and which are read as a whole.
    "append" => append::Append,
    /// Accounts between which money moves; `keys` says how many, each with 100 in the beginning.
    "bank" => bank::Bank,
    /// Counters to which amounts are added.
    "counter" => counter::Counter,
    /// Ids that the service makes, each of them new.
    "unique_ids" => unique_ids::UniqueIds,
    /// Queues into which values are put and out of which they are taken.
    "queue" => queue::Queue,
    /// Operations of your own: their names are those in `mix`, and the client says what they do.
    "custom" => custom::Custom,
}
