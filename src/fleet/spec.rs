//! What a person asks for: roles, how many of each, made of which image.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{BadFile, Located, parse_yaml};
use crate::recipe::VolumeSpec;
use crate::units::Size;

/// Roles by name. The instances of role `etcd` with `count: 3` are called `etcd-1`, `etcd-2`, `etcd-3`.
pub type FleetSpec = BTreeMap<String, RoleSpec>;

/// A file that `ovenproof up` starts a fleet from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetFile {
    /// Without it, the file's name without its extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub fleet: FleetSpec,
}

impl FleetFile {
    /// Reads the content `text` of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, BadFile> {
        parse_yaml(path, text)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// A recipe's name (its newest image), `NAME:CHANNEL`, or the first digits of an image id.
    pub image: Located<String>,
    /// How many instances, 1 to 32.
    #[serde(default = "one")]
    pub count: u8,
    /// Instances are dealt out to these zones in turn; without it, all are in zone `a`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u8>,
    /// Data disks by name, in addition to those of the image or instead of those of the same name. Each
    /// instance has its own, which outlives it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, VolumeSpec>,
}

fn one() -> u8 {
    1
}
