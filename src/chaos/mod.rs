//! Scenarios, schedules, faults, and the engine that runs them against a fleet.
//!
//! This room decides what is broken when, makes sure that it really was and really is no more, and keeps
//! the record. What the record means is judged by [`verify`](crate::verify); how it is shown is up to
//! [`report`](crate::report). It knows fleets only through the provider's traits.

pub mod engine;
pub mod faults;
pub mod manual;
pub mod scenario;
pub mod schedule;
pub mod target;

pub use scenario::{Scenario, ScenarioSpec};
