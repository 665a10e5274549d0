//! Sealing: an image must not carry what every instance has to make for itself, or what belongs to the bake.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{At, BakeError};
use super::layer::{Oven, TREE};
use super::sandbox::Access;
use crate::recipe::plan::Root;
use crate::store::Package;

/// What sealing finds out about an image.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub packages: Vec<Package>,
    /// The kernel's release.
    pub kernel: String,
}

/// Removes what installing leaves behind, then writes to /run/out what the disk needs, the list of packages,
/// and the findings of a search that looks further than the removal did.
const SEAL: &str = include_str!("seal.sh");

/// The first process of the initial RAM disk.
const INITRD: &str = include_str!("initrd.sh");

/// Cleans the tree, looks whether it is clean, and keeps kernel and boot loader beside it.
pub(super) fn seal(oven: &Oven<'_>, root: Root) -> Result<Sealed, BakeError> {
    let out = oven.work().join("layer/boot");
    fs::create_dir(&out).at(&out)?;
    let init = out.join("initrd.sh");
    fs::write(&init, INITRD).at(&init)?;
    let kind = if root == Root::Readonly { "readonly" } else { "writable" };
    let access = Access { binds: vec![(out.clone(), "/run/out", true)], ..Access::default() };
    oven.sandboxed(TREE, access, &["sh", "-eu", "-c", SEAL, "seal", kind], Duration::from_secs(300))?;
    let read = |name: &str| {
        let path = out.join(name);
        plain(&path)?;
        let text = fs::read(&path).at(&path)?;
        fs::remove_file(&path).at(&path)?;
        Ok::<_, BakeError>(String::from_utf8_lossy(&text).into_owned())
    };
    let findings: Vec<String> = read("findings")?.lines().map(str::to_owned).collect();
    if !findings.is_empty() {
        return Err(BakeError::NotSealed(findings));
    }
    let packages = parse_packages(&read("packages")?);
    let kernel = read("kernel")?.trim().to_owned();
    // Still there when the image has no busybox to make an initial RAM disk with.
    if init.exists() {
        fs::remove_file(&init).at(&init)?;
    }
    let mut needed = vec![("vmlinuz", "kernel"), ("boot.efi", "boot loader (systemd-boot-efi)")];
    if root == Root::Readonly {
        needed.push(("initrd.img", "`busybox-static` and `dmsetup`, which open a read-only root"));
    }
    if let Some((_, what)) = needed.into_iter().find(|(file, _)| !out.join(file).is_file()) {
        return Err(BakeError::Incomplete(what));
    }
    for entry in fs::read_dir(&out).at(&out)? {
        plain(&entry.at(&out)?.path())?;
    }
    Ok(Sealed { packages, kernel })
}

/// Refuses what is not a file: it was written by programs of the image, which may mean it ill, and a link
/// would lead us to a file of the host.
fn plain(path: &Path) -> Result<(), BakeError> {
    match fs::symlink_metadata(path).at(path)?.is_file() {
        true => Ok(()),
        false => Err(BakeError::NotSealed(vec![format!("{} that is no file", path.display())])),
    }
}

fn parse_packages(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut next = || fields.next();
            Some(Package {
                name: next()?,
                version: next()?,
                arch: next()?,
                source: next()?,
                source_version: next()?,
            })
        })
        .collect();
    packages.sort();
    packages
}
