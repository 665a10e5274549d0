//! Forwarding and rules as a pure state machine: frames and instants in, deliveries out.
//!
//! The fabric knows which port owns which hardware address, the stages on each directed link, and the frames
//! that stages hold back. It never touches a socket and never asks what time it is.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::rule::{LinkRule, RuleCounters, RuleSet};
use super::stage::{Fate, Forged, Stage};
use super::switch::NetworkError;
use crate::seed::Seed;

/// One frame for one port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<'f> {
    pub(super) to: usize,
    pub(super) frame: Cow<'f, [u8]>,
}

/// What became of a frame at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Taken,
    /// Too short to be Ethernet.
    Malformed,
    /// For a hardware address that no other port has.
    Unknown,
}

/// A frame that a stage holds back. Ordered by when it leaves, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    arrival: u64,
    link: usize,
    /// [`Stage::order`] of the stage that holds it.
    stage: u64,
    frame: Vec<u8>,
}

#[derive(Default)]
struct Link {
    stages: Vec<Stage>,
}

struct InstalledSet {
    id: u64,
    fault: String,
}

pub(super) struct Fabric {
    names: Vec<String>,
    /// By port.
    macs: Vec<[u8; 6]>,
    /// By sending port: to whom its last frame went, who will mostly get the next as well.
    last: Vec<usize>,
    /// By `from * ports + to`.
    links: Vec<Link>,
    sets: Vec<InstalledSet>,
    held: BinaryHeap<Reverse<Held>>,
    /// Sets, stages and arrivals are numbered from one counter.
    numbers: u64,
}

impl Fabric {
    /// Ports by name and hardware address; a port's index is its place in `ports`.
    pub(super) fn new(ports: impl IntoIterator<Item = (String, [u8; 6])>) -> Self {
        let (names, macs): (Vec<String>, Vec<[u8; 6]>) = ports.into_iter().unzip();
        let links = (0..names.len() * names.len()).map(|_| Link::default()).collect();
        let last = vec![0; names.len()];
        Fabric { names, macs, last, links, sets: Vec::new(), held: BinaryHeap::new(), numbers: 0 }
    }

    /// Takes a frame that port `from` sent. What is to be delivered now is appended to `out`.
    pub(super) fn enter<'f>(
        &mut self,
        now: Instant,
        from: usize,
        frame: &'f [u8],
        out: &mut Vec<Delivery<'f>>,
    ) -> Entry {
        let (Some(destination), true) = (frame.first_chunk::<6>(), frame.len() >= 14) else {
            return Entry::Malformed;
        };
        if destination[0] & 1 == 1 {
            for to in (0..self.names.len()).filter(|to| *to != from) {
                self.pass(now, self.link(from, to), 0, Cow::Borrowed(frame), out);
            }
            return Entry::Taken;
        }
        match self.owner(from, destination) {
            Some(to) if to != from => {
                self.pass(now, self.link(from, to), 0, Cow::Borrowed(frame), out);
                Entry::Taken
            }
            _ => Entry::Unknown,
        }
    }

    /// The port that has this hardware address. Few ports: looking through them costs less than a hash.
    fn owner(&mut self, from: usize, mac: &[u8; 6]) -> Option<usize> {
        let last = self.last.get_mut(from)?;
        if self.macs.get(*last) != Some(mac) {
            *last = self.macs.iter().position(|known| known == mac)?;
        }
        Some(*last)
    }

    /// Moves on every held frame whose time has come.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Delivery<'static>>) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(held)) = self.held.pop() else { return };
            self.release(now, held, out);
        }
    }

    /// When [`Fabric::expire`] has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// Installs all rules of the set, or none and says why.
    pub(super) fn install(&mut self, now: Instant, set: &RuleSet) -> Result<(), NetworkError> {
        if self.set(&set.fault).is_some() {
            return Err(NetworkError::FaultInstalled(set.fault.clone()));
        }
        let links = set.rules.iter().map(|rule| self.check(rule)).collect::<Result<Vec<_>, _>>()?;
        let id = self.number();
        for (rule, index) in set.rules.iter().zip(links) {
            let order = self.number();
            let Some(link) = self.links.get_mut(index) else { continue };
            // A second rule of the set on the same link must not repeat the choices of the first.
            let label = match link.stages.iter().filter(|stage| stage.set == id).count() {
                0 => format!("link {} {}", rule.from, rule.to),
                earlier => format!("link {} {} {earlier}", rule.from, rule.to),
            };
            let (stream, flaps) = (Seed(set.seed).stream(&label), Seed(set.seed).stream("flaps"));
            link.stages.push(Stage::new((id, order), rule.impairment.clone(), stream, now, flaps));
        }
        self.sets.push(InstalledSet { id, fault: set.fault.clone() });
        Ok(())
    }

    /// Removes the rules of one fault. Frames that they held back go on at once, in their order.
    pub(super) fn remove(
        &mut self,
        now: Instant,
        fault: &str,
        out: &mut Vec<Delivery<'static>>,
    ) -> Option<RuleCounters> {
        let id = self.set(fault)?;
        let counters = self.counters(fault);
        let orders: Vec<u64> = self.stages_of(id).map(|stage| stage.order).collect();
        let (mut released, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|Reverse(held)| orders.contains(&held.stage));
        self.held = kept.into();
        for link in &mut self.links {
            link.stages.retain(|stage| stage.set != id);
        }
        self.sets.retain(|set| set.id != id);
        released.sort_by(|Reverse(one), Reverse(other)| one.cmp(other));
        for Reverse(held) in released {
            self.release(now, held, out);
        }
        counters
    }

    /// What the rules of one fault did so far; `None` if it is not installed.
    pub(super) fn counters(&self, fault: &str) -> Option<RuleCounters> {
        let id = self.set(fault)?;
        let mut sum = RuleCounters::default();
        self.stages_of(id).for_each(|stage| sum += &stage.counters);
        Some(sum)
    }

    /// The installed faults, in order of installation.
    pub(super) fn faults(&self) -> Vec<String> {
        self.sets.iter().map(|set| set.fault.clone()).collect()
    }

    /// Leads a frame through the stages of its link from the one at index `first` on.
    fn pass<'f>(
        &mut self,
        now: Instant,
        index: usize,
        first: usize,
        mut frame: Cow<'f, [u8]>,
        out: &mut Vec<Delivery<'f>>,
    ) {
        let ports = self.names.len();
        let mut at = first;
        while let Some(stage) = self.links.get_mut(index).and_then(|link| link.stages.get_mut(at)) {
            at += 1;
            if !stage.concerns(&frame) {
                continue;
            }
            if let Some(Forged { onward, back }) = stage.forge(&frame) {
                if let Some(back) = back {
                    self.pass(now, self.reverse(index), 0, Cow::Owned(back), out);
                }
                let Some(onward) = onward else { return };
                frame = Cow::Owned(onward);
                continue;
            }
            let order = stage.order;
            let decision = stage.meet(now, frame.len());
            let copy = decision.copy.map(|fate| (fate, frame.clone()));
            if let Some(bit) = decision.flip
                && let Some(byte) = frame.to_mut().get_mut(bit / 8)
            {
                *byte ^= 1 << (bit % 8);
            }
            if let Some((fate, copy)) = copy {
                self.follow(now, index, (at, order), (decision.frame, frame), out);
                self.follow(now, index, (at, order), (fate, copy), out);
                return;
            }
            if decision.frame != Fate::Pass {
                self.follow(now, index, (at, order), (decision.frame, frame), out);
                return;
            }
        }
        out.push(Delivery { to: index % ports, frame });
    }

    /// Does what a stage decided; `next` is the index of the stage after it.
    fn follow<'f>(
        &mut self,
        now: Instant,
        index: usize,
        (next, stage): (usize, u64),
        (fate, frame): (Fate, Cow<'f, [u8]>),
        out: &mut Vec<Delivery<'f>>,
    ) {
        match fate {
            Fate::Drop => {}
            Fate::Pass => self.pass(now, index, next, frame, out),
            Fate::Hold(due) => {
                let arrival = self.number();
                self.held.push(Reverse(Held { due, arrival, link: index, stage, frame: frame.into_owned() }));
            }
        }
    }

    fn release(&mut self, now: Instant, held: Held, out: &mut Vec<Delivery<'static>>) {
        let Some(link) = self.links.get_mut(held.link) else { return };
        if let Some(stage) = link.stages.iter_mut().find(|stage| stage.order == held.stage) {
            stage.let_go(held.frame.len());
        }
        let next = link.stages.partition_point(|stage| stage.order <= held.stage);
        self.pass(now, held.link, next, Cow::Owned(held.frame), out);
    }

    fn check(&self, rule: &LinkRule) -> Result<usize, NetworkError> {
        let index = |name: &str| self.index(name).ok_or_else(|| NetworkError::NoSuchPort(name.to_owned()));
        let (from, to) = (index(&rule.from)?, index(&rule.to)?);
        if from == to {
            return Err(NetworkError::SelfLink(rule.from.clone()));
        }
        match rule.impairment.chances().find(|(_, chance)| !(0.0..=1.0).contains(chance)) {
            Some((what, chance)) => Err(NetworkError::Chance { what, chance }),
            None => Ok(self.link(from, to)),
        }
    }

    pub(super) fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.names.len() + to
    }

    /// The link of the opposite direction.
    fn reverse(&self, link: usize) -> usize {
        self.link(link % self.names.len(), link / self.names.len())
    }

    fn set(&self, fault: &str) -> Option<u64> {
        self.sets.iter().find(|set| set.fault == fault).map(|set| set.id)
    }

    fn stages_of(&self, set: u64) -> impl Iterator<Item = &Stage> {
        self.links.iter().flat_map(|link| &link.stages).filter(move |stage| stage.set == set)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
