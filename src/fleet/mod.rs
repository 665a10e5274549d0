//! Fleets: named instances of images on a provider, and the ledger of what exists.
//!
//! Everything above this room knows instances only through [`Provider`] and [`Fleet`].

pub mod ledger;
pub mod plan;
pub mod process;
pub mod provider;
pub mod qemu;
pub mod spec;
pub mod timing;

pub use plan::{FleetPlan, NodePlan, PlanError};
pub use provider::{
    Capability, Fleet, FleetError, InstanceAction, InstanceState, InstanceStatus, Launch, Lifetime, Provider,
};
pub use spec::{FleetSpec, RoleSpec};
pub use timing::{Stage, Timing};
