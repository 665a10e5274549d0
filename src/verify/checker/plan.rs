//! A register's history as the search walks it: starts and ends in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::history::{OPEN, Op};
use super::prepare::Prepared;

#[derive(Debug, Clone, Copy)]
pub(super) enum Edge {
    Start(usize),
    End(usize),
}

/// The history as the search walks it: starts and ends in order of time, and a slot for each operation that
/// no other has while it is under way.
pub(super) struct Plan {
    /// Ends are given as their place among the edges: no two are alike, which the order of twins needs.
    pub(super) ops: Vec<Op>,
    pub(super) values: usize,
    pub(super) edges: Vec<Edge>,
    pub(super) slot_of: Vec<usize>,
    pub(super) slots: usize,
}

impl Plan {
    pub(super) fn new(prepared: Prepared) -> Self {
        let Prepared { mut ops, values } = prepared;
        let mut edges: Vec<(u64, Edge)> = Vec::with_capacity(ops.len() * 2);
        for (index, op) in ops.iter().enumerate() {
            edges.push((op.invoked, Edge::Start(index)));
            if op.completed != OPEN {
                edges.push((op.completed, Edge::End(index)));
            }
        }
        // Starts before ends of the same microsecond: the clock cannot tell, so they count as concurrent.
        edges.sort_by_key(|(time, edge)| (*time, matches!(edge, Edge::End(_))));
        let edges: Vec<Edge> = edges.into_iter().map(|(_, edge)| edge).collect();
        for (rank, edge) in edges.iter().enumerate() {
            if let Edge::End(index) = *edge
                && let Some(op) = ops.get_mut(index)
            {
                op.completed = rank as u64;
            }
        }
        let mut free = BinaryHeap::new();
        let mut slots = 0;
        let mut slot_of = vec![0; ops.len()];
        for edge in &edges {
            match *edge {
                Edge::Start(index) => {
                    let slot = free.pop().map_or(slots, |Reverse(slot)| slot);
                    slots = slots.max(slot + 1);
                    if let Some(place) = slot_of.get_mut(index) {
                        *place = slot;
                    }
                }
                Edge::End(index) => free.extend(slot_of.get(index).map(|slot| Reverse(*slot))),
            }
        }
        Plan { ops, values, edges, slot_of, slots }
    }
}
