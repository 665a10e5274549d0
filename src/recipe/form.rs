//! The shape of a recipe file after rendering, as serde reads it; nothing here is checked beyond types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::instance::{Readiness, VolumeSpec};
use super::plan::Root;
use super::vars::VarForm;
use crate::diagnostic::Located;
use crate::units::{Size, Span};

/// An image recipe, `images/NAME.yaml`; Tera text that renders to YAML.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// The image's name; the file is called NAME.yaml.
    pub name: Located<String>,
    /// What it stands on: `debian:SUITE`, the name of another recipe in the same folder, or `file:PATH`, a raw or qcow2
    /// disk in that folder, such as a cloud image, in which cloud-init takes the keys of whoever bakes.
    pub from: Located<String>,
    /// Variables that the recipe and its templates use; read before rendering, so written without templating.
    #[serde(default)]
    pub vars: BTreeMap<String, VarForm>,
    /// Where Debian's packages come from; without it, from Debian itself, with its updates.
    pub debian: Option<DebianForm>,
    /// Debian packages, `NAME` or `NAME=VERSION`; installed without what they merely recommend.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Users and their groups, made before the files are put in place.
    #[serde(default)]
    pub users: Vec<UserForm>,
    /// Files and directories put into the image.
    #[serde(default)]
    pub files: Vec<FileForm>,
    /// Commands run in the image, one after the other.
    #[serde(default)]
    pub run: Vec<StepForm>,
    /// What the init system starts.
    #[serde(default)]
    pub services: ServicesForm,
    /// Words added to the kernel's command line.
    #[serde(default)]
    pub kernel_cmdline: Vec<Located<String>>,
    /// Commands that must succeed in the finished image before it is sealed; what they change is thrown away.
    #[serde(default)]
    pub test: Vec<Located<String>>,
    /// Whether instances may change what they boot from; if left out, as in the recipe it stands on.
    pub root: Option<Root>,
    /// Defaults for instances; what is left out comes from the recipe it stands on.
    #[serde(default)]
    pub instance: InstanceForm,
}

/// Where Debian's packages come from, for a recipe that stands on `debian:SUITE`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DebianForm {
    /// URL of the archive, instead of Debian's own; its updates are then left out.
    pub mirror: Option<Located<String>>,
    /// Parts of the archive, such as `main` and `contrib`; `main` if not given.
    #[serde(default)]
    pub components: Vec<Located<String>>,
    /// Further sources, as in a `sources.list`: `deb URL SUITE COMPONENT...`.
    #[serde(default)]
    pub sources: Vec<Located<String>>,
    /// A file of OpenPGP keys in the recipe's folder, which the archive is signed with.
    pub keyring: Option<Located<String>>,
}

/// A user of the image.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserForm {
    pub name: Located<String>,
    /// The user's number, and that of the user's own group; a free one if not given.
    pub uid: Option<Located<u32>>,
    /// The user's first group; one of the user's own name if not given. Made if it is not there.
    pub group: Option<Located<String>>,
    /// Further groups, which must be there.
    #[serde(default)]
    pub groups: Vec<Located<String>>,
    /// What is started at login; nothing that lets anybody in, if not given.
    pub shell: Option<Located<String>>,
    /// The home directory; made, unless the user is one of the system's. `/home/NAME` if not given.
    pub home: Option<Located<String>>,
    /// A user for a service: a low number, no home directory.
    #[serde(default)]
    pub system: bool,
}

/// A file in the image; exactly one of `copy`, `template`, `content` and `directory`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileForm {
    /// Absolute path in the image; missing directories are made.
    pub path: Located<String>,
    /// A file in the recipe's folder, copied as it is; or a folder there, copied with all that is in it.
    pub copy: Option<Located<String>>,
    /// A file under `templates/`, rendered with the recipe's variables.
    pub template: Option<Located<String>>,
    /// The text itself.
    pub content: Option<Located<String>>,
    /// An empty directory, or one that is there already and gets this mode and owner.
    #[serde(default)]
    pub directory: bool,
    /// Permission bits in octal, such as "0644". In a copied folder, files are 0644, or 0755 if they may be run.
    pub mode: Option<Located<String>>,
    /// `USER:GROUP`, names or numbers in the image.
    pub owner: Option<Located<String>>,
}

/// A command run in the image.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepForm {
    /// Shown instead of the command.
    pub name: Option<String>,
    /// Run with `sh -eu`.
    pub command: Located<String>,
    /// Whether the step may reach the network.
    #[serde(default)]
    pub network: bool,
    /// The step fails when it takes longer; 10 minutes if not given.
    pub timeout: Option<Located<Span>>,
    /// Environment variables; nothing of the host's environment is passed on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of secrets, given to the bake with `--secret`; the step finds each as a file `/run/secrets/NAME`.
    #[serde(default)]
    pub secrets: Vec<Located<String>>,
}

/// Units by name, such as `ssh.service`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServicesForm {
    pub enable: Vec<Located<String>>,
    pub disable: Vec<Located<String>>,
    pub mask: Vec<Located<String>>,
}

/// Defaults for instances.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceForm {
    pub memory: Option<Located<Size>>,
    pub cpus: Option<Located<u8>>,
    /// Size of the disk, which only takes the room of what is in it.
    pub disk: Option<Located<Size>>,
    /// When an instance counts as ready.
    pub ready: Option<Readiness>,
    /// TCP ports that the service listens on.
    pub ports: Option<Vec<Located<u16>>>,
    /// Files that differ from instance to instance, rendered with `node` and `fleet` in scope.
    pub files: Vec<InstanceFileForm>,
    /// Data disks by name, that outlive the instances: each instance has its own.
    pub volumes: BTreeMap<String, Located<VolumeSpec>>,
}

/// A file rendered for each instance; exactly one of `content` and `template`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceFileForm {
    /// Absolute path in the instance.
    pub path: Located<String>,
    /// Tera text; since the recipe itself is rendered first, it must stand between raw and endraw tags.
    pub content: Option<Located<String>>,
    /// A file under `templates/`.
    pub template: Option<Located<String>>,
    /// Permission bits in octal, such as "0644".
    pub mode: Option<Located<String>>,
}
