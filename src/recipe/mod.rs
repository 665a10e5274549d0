//! Recipe files: what an image is made of.
//!
//! This room reads `images/NAME.yaml`, renders it with Tera, parses and validates it, follows `from` to the
//! recipes it stands on, and resolves all into a [`Plan`]: a pure value whose ids say what it will make.
//! It never runs anything and never writes.
//!
//! A recipe is text before it is YAML, so its `vars:` must be known before the rest can be rendered. They
//! are therefore read in a first pass from the lines of the top-level `vars:` block alone, which must be
//! plain YAML (see [`vars`]).

pub mod check;
pub mod disk;
pub mod form;
pub mod instance;
pub mod load;
pub mod lock;
pub mod placing;
pub mod plan;
pub mod render;
pub mod source;
pub mod vars;

pub use form::RecipeFile;
pub use instance::{InstanceDefaults, InstanceFile, ROOT_DISK, Readiness, VolumeSpec};
pub use load::{Recipe, locate};
pub use lock::Package;
pub use plan::{Debian, Layer, LayerId, Plan, PlannedFile, Services, Step, User, Work};

#[cfg(test)]
mod tests;
