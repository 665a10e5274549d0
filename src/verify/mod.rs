//! Probes, workloads, histories and checkers: what is known about the service, and what follows from it.
//!
//! Probes and workloads act on instances and hand what they saw to a closure; they never inject faults and
//! never judge. Checkers and expectations are pure functions over what was recorded, so that a journal can
//! be judged again at any time, on any machine.

pub mod checker;
pub mod expect;
pub mod history;
pub mod probes;
pub mod question;
pub mod service;
pub mod symptoms;
pub mod workload;

use std::net::Ipv4Addr;
use std::sync::Arc;

pub use checker::Budget;
pub use expect::{Expectation, judge};

use crate::guest::{Dialer, Session};

/// One instance as probes and workloads reach it.
#[derive(Clone)]
pub struct Target {
    pub node: String,
    pub role: String,
    /// On the fleet's network.
    pub address: Ipv4Addr,
    pub dialer: Arc<dyn Dialer>,
    pub session: Arc<dyn Session>,
    /// Opens a further session: commands on one session run one after another.
    pub further: Arc<dyn Fn() -> Arc<dyn Session> + Send + Sync>,
}

/// Microseconds since the run started; never jumps.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The targets that `role` names; all of them without a role.
fn of_role<'a>(targets: &'a [Target], role: Option<&'a str>) -> impl Iterator<Item = &'a Target> {
    targets.iter().filter(move |target| role.is_none_or(|role| target.role == role))
}
