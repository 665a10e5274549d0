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

use super::disk::DiskFormat;
use super::instance::InstanceDefaults;
use super::lock::{Package, Section};

/// Raised whenever the same plan would be baked to something else than before.
const FORMAT: &str = "ovenproof layer v4";
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

/// Everything a bake needs; a pure value, the same for the same recipe files, lock files and variables.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The recipe's name.
    pub name: String,
    /// Base first, seal last.
    pub layers: Vec<Layer>,
    pub instance: InstanceDefaults,
    /// The id of the image that this plan makes, once no packages are open: its layers, its name, and what it says of instances.
    #[serde(skip)]
    pub image: blake3::Hash,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    pub id: LayerId,
    /// The recipe of the chain that it comes from; not part of the id.
    pub recipe: String,
    pub work: Work,
    /// Of a layer that installs packages: what it must come to, to the version; part of the id. `None` leaves
    /// it open, and then no id from here on up is known before the layer is there.
    pub lock: Option<Vec<Package>>,
    /// What to hold to where `lock` leaves it open: the versions of a lock file that was made for other
    /// packages.
    #[serde(skip)]
    pub hold: Vec<Package>,
    /// Ask the archive even if it is known what the layer came to before.
    #[serde(skip)]
    pub fresh: bool,
}

/// What is done to make a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A bare Debian.
    Base(Debian),
    /// A disk that somebody else made: what stands on it is done in a machine that runs from it.
    Disk(SourceDisk),
    Packages(Vec<String>),
    Users(Vec<User>),
    Files(Vec<PlannedFile>),
    Run(Step),
    Services(Services),
    /// What is on the disk becomes a tree, as if it had been baked as one; the tests run in the machine.
    Root {
        tests: Vec<String>,
    },
    /// The tests run, then everything goes that must differ between instances.
    Seal {
        tests: Vec<String>,
        /// Words added to the kernel's command line.
        kernel_cmdline: Vec<String>,
        root: Root,
    },
}

/// A release of Debian and where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Debian {
    pub suite: String,
    /// Debian's own archive, if there is none.
    pub mirror: Option<String>,
    pub components: Vec<String>,
    /// Lines of a `sources.list`.
    pub sources: Vec<String>,
    pub keyring: Option<Keyring>,
}

/// A disk in a file of its own, such as a cloud image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceDisk {
    /// BLAKE3 of the file.
    pub digest: String,
    pub format: DiskFormat,
    /// As a machine sees it.
    pub bytes: u64,
    #[serde(skip)]
    pub path: PathBuf,
}

/// Keys that an archive is signed with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Keyring {
    /// BLAKE3 of the file.
    pub digest: String,
    #[serde(skip)]
    pub path: PathBuf,
}

/// A user of the image; a group of the same name is made for it unless it has another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct User {
    pub name: String,
    pub uid: Option<u32>,
    pub group: Option<String>,
    pub groups: Vec<String>,
    pub shell: Option<String>,
    pub home: Option<String>,
    pub system: bool,
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
    /// BLAKE3 of the content; of a directory, `directory`, or `folder` if it is left alone when it is there.
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
    Directory,
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
    /// Names alone: what they stand for is no part of any plan.
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Services {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub mask: Vec<String>,
}

impl Services {
    /// What is to be said to systemctl, in this order.
    pub fn verbs(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let verbs = [("mask", &self.mask), ("disable", &self.disable), ("enable", &self.enable)];
        verbs.into_iter().map(|(verb, units)| (verb, units.as_slice())).filter(|(_, units)| !units.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.enable.is_empty() && self.disable.is_empty() && self.mask.is_empty()
    }
}

impl Work {
    /// What a layer that installs packages asks for: what its section of a lock file is made for.
    pub fn request(&self) -> Option<Vec<String>> {
        match self {
            Work::Base(debian) => {
                let mut request = vec![format!("debian:{}", debian.suite)];
                request.extend(debian.mirror.clone());
                request.extend(debian.components.iter().cloned());
                request.extend(debian.sources.iter().cloned());
                Some(request)
            }
            Work::Packages(names) => Some(names.clone()),
            _ => None,
        }
    }

    /// A word for the kind of layer: `base`, `packages`, `users`, `files`, `run`, `services`, `root`, `seal`.
    pub fn kind(&self) -> &'static str {
        match self {
            Work::Base(_) | Work::Disk(_) => "base",
            Work::Packages(_) => "packages",
            Work::Users(_) => "users",
            Work::Files(_) => "files",
            Work::Run(_) => "run",
            Work::Services(_) => "services",
            Work::Root { .. } => "root",
            Work::Seal { .. } => "seal",
        }
    }

    /// What it is about, in one short line.
    pub fn about(&self) -> String {
        match self {
            Work::Base(debian) => format!("debian:{}", debian.suite),
            Work::Disk(disk) => {
                format!("file:{}", disk.path.file_name().unwrap_or_default().to_string_lossy())
            }
            Work::Users(users) => some(&users.iter().map(|user| user.name.clone()).collect::<Vec<_>>()),
            Work::Packages(names) => some(names),
            Work::Files(files) => some(&files.iter().map(|file| file.path.clone()).collect::<Vec<_>>()),
            Work::Run(step) => step.title.clone(),
            Work::Services(services) => {
                let all = [&services.enable, &services.disable, &services.mask];
                some(&all.into_iter().flatten().cloned().collect::<Vec<_>>())
            }
            Work::Seal { tests, .. } | Work::Root { tests } if tests.is_empty() => String::new(),
            Work::Seal { tests, .. } | Work::Root { tests } => format!("{} tests", tests.len()),
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

    /// The disk that all stands on, and how many layers are made in a machine that runs from it, itself
    /// included.
    pub fn disk(&self) -> Option<(&SourceDisk, usize)> {
        let Some(Work::Disk(disk)) = self.layers.first().map(|layer| &layer.work) else { return None };
        let end = self.layers.iter().position(|layer| matches!(layer.work, Work::Root { .. }));
        Some((disk, end.unwrap_or(self.layers.len())))
    }

    /// Stacks `works`, each with the name of the recipe it comes from, and gives every layer its id. `locks`
    /// has the lock files of recipes that have one.
    pub(super) fn stack(
        name: String,
        works: Vec<(String, Work)>,
        locks: &BTreeMap<String, Vec<Section>>,
        instance: InstanceDefaults,
    ) -> Result<Plan, serde_json::Error> {
        let mut layers: Vec<Layer> = Vec::with_capacity(works.len());
        for (recipe, work) in works {
            layers.push(Layer {
                id: LayerId(String::new()),
                recipe,
                work,
                lock: None,
                hold: Vec::new(),
                fresh: false,
            });
        }
        for layer in &mut layers {
            let Some(request) = layer.work.request() else { continue };
            let sections = locks.get(&layer.recipe).map_or(&[][..], Vec::as_slice);
            match sections.iter().find(|section| section.request == request) {
                Some(section) => layer.lock = Some(section.packages.clone()),
                None => layer.hold = sections.iter().flat_map(|section| section.packages.clone()).collect(),
            }
        }
        let mut plan = Plan { name, layers, instance, image: blake3::Hash::from_bytes([0; 32]) };
        plan.name_layers()?;
        Ok(plan)
    }

    fn name_layers(&mut self) -> Result<(), serde_json::Error> {
        let mut parent = String::new();
        for layer in &mut self.layers {
            let format = if matches!(layer.work, Work::Seal { .. }) { SEAL_FORMAT } else { FORMAT };
            parent = hash(format, &parent, &(&layer.work, &layer.lock))?.to_hex().to_string();
            layer.id = LayerId(parent.clone());
        }
        self.image = hash(IMAGE_FORMAT, &parent, &(&self.name, &self.instance))?;
        Ok(())
    }

    /// The first layer whose packages are still open: from there on, ids are not the last word.
    pub fn open(&self) -> Option<usize> {
        self.layers.iter().position(|layer| layer.work.request().is_some() && layer.lock.is_none())
    }

    /// Says what the packages of a layer have come to.
    pub fn settle(&mut self, index: usize, packages: Vec<Package>) -> Result<(), serde_json::Error> {
        if let Some(layer) = self.layers.get_mut(index) {
            layer.lock = Some(packages);
        }
        self.name_layers()
    }

    /// Forgets what the lock file of a recipe says.
    pub fn unlock(&mut self, recipe: &str) -> Result<(), serde_json::Error> {
        for layer in self.layers.iter_mut().filter(|layer| layer.recipe == recipe) {
            (layer.lock, layer.hold, layer.fresh) = (None, Vec::new(), true);
        }
        self.name_layers()
    }

    /// What the lock file of a recipe of the chain should say, as far as it is known.
    pub fn lock_of(&self, recipe: &str) -> Vec<Section> {
        let own = self.layers.iter().filter(|layer| layer.recipe == recipe);
        own.filter_map(|layer| {
            Some(Section { request: layer.work.request()?, packages: layer.lock.clone()? })
        })
        .collect()
    }
}

/// The parent's id has a fixed length, so that it cannot run into the definition.
fn hash(format: &str, parent: &str, definition: &impl Serialize) -> Result<blake3::Hash, serde_json::Error> {
    let mut hasher = blake3::Hasher::new_derive_key(format);
    hasher.update(parent.as_bytes());
    hasher.update(&serde_json::to_vec(definition)?);
    Ok(hasher.finalize())
}
