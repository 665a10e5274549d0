//! The switch's own state at one instant: frames that have left one node and not yet reached another.
//!
//! While the switch is held it takes frames and gives none out, so that whatever is under way when the nodes
//! stand still is here, and can be given out again in another life of theirs.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::CLIENT;
use super::engine::Engine;
use super::fabric::Delivery;

/// Batches taken from one node before a hold ends; one that stands still has sent far less.
const BATCHES: usize = 64;

/// A frame on its way to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFrame {
    pub to: String,
    pub frame: Vec<u8>,
}

impl Engine {
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Ends the hold: delivers what was held, and gives back what of it was for nodes. The connections of
    /// `client` end with this life.
    pub(super) fn release(&mut self) -> Vec<HeldFrame> {
        for port in 0..self.ports.len() {
            for _ in 0..BATCHES {
                if self.take(port) == 0 {
                    break;
                }
            }
        }
        let held = self.held.take().unwrap_or_default();
        let copies = held.iter().filter_map(|(to, frame)| {
            let to = self.fabric.name(*to).filter(|name| *name != CLIENT)?;
            Some(HeldFrame { to: to.to_owned(), frame: frame.clone() })
        });
        let copies = copies.collect();
        let deliveries = held.into_iter().map(|(to, frame)| Delivery { to, frame: Cow::Owned(frame) });
        self.deliver(&deliveries.collect::<Vec<_>>());
        copies
    }

    /// Delivers frames of an earlier life.
    pub(super) fn inject(&mut self, frames: Vec<HeldFrame>) {
        // Whoever has come by now is not to miss them.
        self.let_in_expected();
        let deliveries = frames.into_iter().filter_map(|HeldFrame { to, frame }| {
            Some(Delivery { to: self.fabric.index(&to)?, frame: Cow::Owned(frame) })
        });
        self.deliver(&deliveries.collect::<Vec<_>>());
    }
}
