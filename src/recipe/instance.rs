//! What a recipe says about the instances that will be made of its image.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::probe::ProbeSpec;
use crate::units::{Size, Span};

/// Defaults for instances of an image; a fleet may override them. Stored in the image's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceDefaults {
    pub memory: Size,
    pub cpus: u8,
    /// Size of the root disk of an instance, at least that of the image.
    pub disk: Size,
    /// When an instance counts as ready; without it, when a session can be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// TCP ports that the service listens on.
    pub ports: Vec<u16>,
    /// Files that differ from instance to instance, put in place before any service starts.
    pub files: Vec<InstanceFile>,
}

/// The probe that must pass before anyone uses an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    pub probe: ProbeSpec,
    /// How long a cold start may take.
    #[serde(default = "Readiness::default_within")]
    pub within: Span,
}

/// A file rendered for each instance when it is created, with `node` (`name`, `role`, `index`, `zone`,
/// `address`) and `fleet` (`name`, `nodes`: a list of the same, `roles`: role -> list) in scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceFile {
    /// Absolute path in the instance.
    pub path: String,
    /// Tera template text. A recipe may name a file under `templates/` instead (`template: NAME`), which
    /// is read into this field when the recipe is loaded.
    pub content: String,
    /// Permission bits in octal, such as `0644`.
    #[serde(default = "InstanceFile::default_mode")]
    pub mode: String,
}

impl Readiness {
    fn default_within() -> Span {
        Span(Duration::from_secs(180))
    }
}

impl InstanceFile {
    fn default_mode() -> String {
        "0644".to_owned()
    }
}

impl Default for InstanceDefaults {
    fn default() -> Self {
        InstanceDefaults {
            memory: Size(512 << 20),
            cpus: 1,
            disk: Size(4 << 30),
            ready: None,
            ports: Vec::new(),
            files: Vec::new(),
        }
    }
}
