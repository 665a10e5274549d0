//! Recipe files: what an image is made of.
//!
//! This room reads `images/NAME.yaml`, renders it with Tera, parses and validates it. It never runs
//! anything and never writes.

pub mod instance;

pub use instance::{InstanceDefaults, InstanceFile, Readiness};
