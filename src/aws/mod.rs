//! Talking to EC2: clients, what may go wrong and what to do then, the tags that everything of ours carries,
//! waiting for states, what dead commands left, and the one list of calls that we make.
//!
//! It knows neither images nor fleets, and creates nothing by itself; what it removes, it is told by who made it.

pub mod calls;
mod client;
mod error;
pub mod remains;
pub mod tags;
pub mod wait;

pub use client::Aws;
pub use error::{Answer, AwsError, Kind};
