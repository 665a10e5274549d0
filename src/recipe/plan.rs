//! A recipe resolved: layers in order, each with an id that says what it will be.
//!
//! An id hashes the baker's format version, the parent's id, the layer's own rendered definition and the
//! content of every file it reads. Names of recipes and files on the host play no part.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::instance::InstanceDefaults;

/// Raised whenever the same plan would be baked to something else than before.
const FORMAT: &str = "ovenproof layer v3";
/// The same for the seal, which adds what a direct boot needs: the layers below stay.
const SEAL_FORMAT: &str = "ovenproof seal v5";
const IMAGE_FORMAT: &str = "ovenproof image v3";

/// What a layer will contain, by content: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LayerId(String);

impl LayerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything a bake needs; a pure value, the same for the same recipe files and variables.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The recipe's name.
    pub name: String,
    /// Base first, seal last.
    pub layers: Vec<Layer>,
    pub instance: InstanceDefaults,
    /// The id of the image that this plan makes: its layers, its name, and what it says of instances.
    #[serde(skip)]
    pub image: blake3::Hash,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    pub id: LayerId,
    /// The recipe of the chain that it comes from; not part of the id.
    pub recipe: String,
    pub work: Work,
}

/// What is done to make a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A bare Debian of this suite.
    Base {
        suite: String,
    },
    Packages(Vec<String>),
    Files(Vec<PlannedFile>),
    Run(Step),
    Services(Services),
    /// The tests run, then everything goes that must differ between instances.
    Seal {
        tests: Vec<String>,
        root: Root,
    },
}

/// What instances may do to the root file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Each instance writes to its own copy.
    #[default]
    Writable,
    /// Nobody can change it, and every block is verified when it is read. What is written below /etc, /var,
    /// /root, /home, /srv and /tmp lasts until the next boot, unless a volume is mounted there.
    Readonly,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedFile {
    /// Absolute path in the image.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    pub user: String,
    pub group: String,
    /// BLAKE3 of the content.
    pub digest: String,
    #[serde(skip)]
    pub source: Source,
}

/// Where the content of a file comes from; identified by its digest.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Text(String),
    /// A file on the host, which is read again when it is copied.
    Copy(PathBuf),
}

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What is shown; not part of the id.
    #[serde(skip)]
    pub title: String,
    pub command: String,
    pub network: bool,
    pub timeout: Duration,
    pub env: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Services {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub mask: Vec<String>,
}

impl Services {
    pub fn is_empty(&self) -> bool {
        self.enable.is_empty() && self.disable.is_empty() && self.mask.is_empty()
    }
}

impl Work {
    /// A word for the kind of layer: `base`, `packages`, `files`, `run`, `services`, `seal`.
    pub fn kind(&self) -> &'static str {
        match self {
            Work::Base { .. } => "base",
            Work::Packages(_) => "packages",
            Work::Files(_) => "files",
            Work::Run(_) => "run",
            Work::Services(_) => "services",
            Work::Seal { .. } => "seal",
        }
    }

    /// What it is about, in one short line.
    pub fn about(&self) -> String {
        match self {
            Work::Base { suite } => format!("debian:{suite}"),
            Work::Packages(names) => some(names),
            Work::Files(files) => some(&files.iter().map(|file| file.path.clone()).collect::<Vec<_>>()),
            Work::Run(step) => step.title.clone(),
            Work::Services(services) => {
                let all = [&services.enable, &services.disable, &services.mask];
                some(&all.into_iter().flatten().cloned().collect::<Vec<_>>())
            }
            Work::Seal { tests, .. } if tests.is_empty() => String::new(),
            Work::Seal { tests, .. } => format!("{} tests", tests.len()),
        }
    }
}

/// The first few of a list.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=3 => shown,
        more => format!("{shown} and {} more", more - 3),
    }
}

impl Plan {
    /// What instances may do to the root file system.
    pub fn root(&self) -> Root {
        match self.layers.last().map(|layer| &layer.work) {
            Some(Work::Seal { root, .. }) => *root,
            _ => Root::default(),
        }
    }

    /// Stacks `works`, each with the name of the recipe it comes from, and gives every layer its id.
    pub(super) fn stack(
        name: String,
        works: Vec<(String, Work)>,
        instance: InstanceDefaults,
    ) -> Result<Plan, serde_json::Error> {
        let mut layers: Vec<Layer> = Vec::with_capacity(works.len());
        for (recipe, work) in works {
            let parent = layers.last().map_or("", |layer| layer.id.as_str());
            let format = if matches!(work, Work::Seal { .. }) { SEAL_FORMAT } else { FORMAT };
            let id = LayerId(hash(format, parent, &work)?.to_hex().to_string());
            layers.push(Layer { id, recipe, work });
        }
        let seal = layers.last().map_or("", |layer| layer.id.as_str());
        let image = hash(IMAGE_FORMAT, seal, &(&name, &instance))?;
        Ok(Plan { name, layers, instance, image })
    }
}

/// The parent's id has a fixed length, so that it cannot run into the definition.
fn hash(format: &str, parent: &str, definition: &impl Serialize) -> Result<blake3::Hash, serde_json::Error> {
    let mut hasher = blake3::Hasher::new_derive_key(format);
    hasher.update(parent.as_bytes());
    hasher.update(&serde_json::to_vec(definition)?);
    Ok(hasher.finalize())
}
