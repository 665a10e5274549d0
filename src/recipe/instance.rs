//! What a recipe says about the instances that will be made of its image.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::probe::ProbeSpec;
use crate::units::{Size, Span};

/// The name of an instance's own disk, which no volume beside it can have.
pub const ROOT_DISK: &str = "root";

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
    /// Data disks by name: each instance has its own, which outlives it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, VolumeSpec>,
}

/// A data disk that outlives the instance it is attached to. It begins empty, with the owner and the mode
/// that the directory has in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// It only takes the room of what is in it, and may grow from one `up` to the next, not shrink.
    pub size: Size,
    /// The directory that lies on it, before any service starts.
    pub mount: String,
}

impl VolumeSpec {
    /// A name is a file system's label and a disk's serial number.
    const LONGEST_NAME: usize = 16;
    const LEAST: Size = Size(16 << 20);
    /// What the system itself must find in the image, or does not keep.
    const TAKEN: [&str; 12] =
        ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr"];

    /// What is wrong with a volume called `name`, in words.
    pub fn check(&self, name: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || name.len() > Self::LONGEST_NAME || !name.chars().all(plain) {
            let most = Self::LONGEST_NAME;
            return Err(format!(
                "`{name}` cannot be a volume's name, expected a letter and then letters, digits or `-`, all \
                 lower-case and at most {most}"
            ));
        }
        if name == ROOT_DISK {
            return Err(format!("`{name}` cannot be a volume's name: an instance's own disk is called so"));
        }
        if self.size < Self::LEAST || !self.size.0.is_multiple_of(1 << 20) {
            return Err(format!(
                "a volume of {} is not possible, expected whole megabytes from {}",
                self.size,
                Self::LEAST
            ));
        }
        let mount = &self.mount;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        let parts: Vec<&str> = mount.split('/').skip(1).collect();
        let sound = parts.iter().all(|part| !part.is_empty() && *part != "." && *part != "..");
        if !mount.starts_with('/') || !mount.chars().all(plain) || !sound {
            return Err(format!(
                "`{mount}` cannot be mounted on, expected an absolute path of letters, digits and `._-+@`"
            ));
        }
        match parts.first() {
            Some(first) if Self::TAKEN.contains(first) => {
                Err(format!("`{mount}` cannot be mounted on: `/{first}` belongs to the system"))
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with all volumes of one instance, in words.
    pub fn check_all(volumes: &BTreeMap<String, VolumeSpec>) -> Result<(), String> {
        const MOST: usize = 8;
        if volumes.len() > MOST {
            return Err(format!("{} volumes are too many, expected at most {MOST}", volumes.len()));
        }
        let mut mounts = BTreeMap::new();
        for (name, volume) in volumes {
            volume.check(name)?;
            if let Some(other) = mounts.insert(&volume.mount, name) {
                return Err(format!("the volumes `{other}` and `{name}` are both on `{}`", volume.mount));
            }
        }
        Ok(())
    }
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
            volumes: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_that_cannot_be_are_refused_with_the_reason() {
        let check = |name: &str, size: u64, mount: &str| {
            let volume = VolumeSpec { size: Size(size), mount: mount.to_owned() };
            VolumeSpec::check_all(&BTreeMap::from([(name.to_owned(), volume)])).unwrap_err()
        };
        let refused = [
            check("Data", 1 << 30, "/data"),
            check("a-name-that-is-long", 1 << 30, "/data"),
            check("root", 1 << 30, "/data"),
            check("data", 1 << 20, "/data"),
            check("data", (1 << 30) + 1, "/data"),
            check("data", 1 << 30, "data"),
            check("data", 1 << 30, "/var/../etc"),
            check("data", 1 << 30, "/a:b"),
            check("data", 1 << 30, "/"),
            check("data", 1 << 30, "/etc/x"),
        ];
        insta::assert_snapshot!(refused.join("\n"), @"
        `Data` cannot be a volume's name, expected a letter and then letters, digits or `-`, all lower-case and at most 16
        `a-name-that-is-long` cannot be a volume's name, expected a letter and then letters, digits or `-`, all lower-case and at most 16
        `root` cannot be a volume's name: an instance's own disk is called so
        a volume of 1M is not possible, expected whole megabytes from 16M
        a volume of 1.0G is not possible, expected whole megabytes from 16M
        `data` cannot be mounted on, expected an absolute path of letters, digits and `._-+@`
        `/var/../etc` cannot be mounted on, expected an absolute path of letters, digits and `._-+@`
        `/a:b` cannot be mounted on, expected an absolute path of letters, digits and `._-+@`
        `/` cannot be mounted on, expected an absolute path of letters, digits and `._-+@`
        `/etc/x` cannot be mounted on: `/etc` belongs to the system
        ");
        let at = |mount: &str| VolumeSpec { size: Size(1 << 30), mount: mount.to_owned() };
        let good = BTreeMap::from([("data".to_owned(), at("/var/lib/etcd")), ("b".to_owned(), at("/srv"))]);
        assert_eq!(VolumeSpec::check_all(&good), Ok(()));
        let twice = BTreeMap::from([("a".to_owned(), at("/srv")), ("b".to_owned(), at("/srv"))]);
        assert_eq!(VolumeSpec::check_all(&twice).unwrap_err(), "the volumes `a` and `b` are both on `/srv`");
    }
}
