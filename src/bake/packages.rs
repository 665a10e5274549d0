//! Layers that install packages: the base of all, and what comes on top; the cache of what was downloaded, and
//! how a layer is held to the versions of a lock file.
//!
//! Versions are held by preferences that only the one run of apt sees. What a lock names and the archive has
//! no longer is taken from the cache, which for that run is one more source.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::error::{At, BakeError};
use super::layer::{Oven, PATIENCE, TREE};
use super::process::{command, proxies};
use super::sandbox::{Access, EPOCH};
use crate::home::{Lock, create_private_dir};
use crate::recipe::{Debian, Package};

/// Downloaded packages beyond this much are removed, those first that were not used for the longest time.
const CACHE_BYTES: u64 = 2 << 30;
/// The index of the packages in the cache that a lock names.
const INDEX: &str = "Packages";

/// Options that every Debian image is made with; they stay in force for packages added later.
const BASE_OPTIONS: [&str; 15] = [
    "--aptopt=APT::Install-Recommends \"false\"",
    "--aptopt=Acquire::Languages \"none\"",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/groff/*",
    "--dpkgopt=path-exclude=/usr/share/lintian/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    // Licences stay.
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    // Downloaded packages are copied from the cache, and new ones linked to it from where the layer comes to
    // be: see the manual on both skips.
    "--skip=download/empty,essential/unlink",
    "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/partial && \
     find \"$OVENPROOF_DEBS\" -maxdepth 1 -name '*.deb' -exec cp -t \"$1\"/var/cache/apt/archives {} +",
    "--customize-hook=find \"$OVENPROOF_TREE\"/var/cache/apt/archives -maxdepth 1 -name '*.deb' \
     -exec cp --link --no-clobber -t \"$OVENPROOF_DEBS\" {} +",
    // Of the lists only what is new is fetched: apt asks for what has changed since, and checks what it has.
    "--setup-hook=mkdir -p \"$1\"/var/lib/apt/lists && \
     find \"$OVENPROOF_LISTS\" -maxdepth 1 -name '*_dists_*' -exec cp -a -t \"$1\"/var/lib/apt/lists {} +",
    "--customize-hook=new=\"$OVENPROOF_LISTS\"/partial/base && rm -rf \"$new\" && mkdir \"$new\" && \
     find \"$1\"/var/lib/apt/lists -maxdepth 1 -name '*_dists_*' -exec cp -a -t \"$new\" {} + && \
     find \"$new\" -type f -exec mv -t \"$OVENPROOF_LISTS\" {} + && rm -r \"$new\"",
    // The host's name servers and name must not end up in an image.
    "--customize-hook=ln -sf ../run/systemd/resolve/stub-resolv.conf \"$1\"/etc/resolv.conf; \
     echo localhost > \"$1\"/etc/hostname; chmod 644 \"$1\"/etc/hostname",
];

/// What a base is held to a lock with: there before the first list is fetched, gone at the end.
const HOLD_BASE: [&str; 2] = [
    "--setup-hook=mkdir -p \"$1\"/etc/apt/preferences.d \"$1\"/etc/apt/sources.list.d; \
     cp \"$OVENPROOF_PINS\" \"$1\"/etc/apt/preferences.d/oven; \
     echo \"deb [trusted=yes] copy:$OVENPROOF_DEBS ./\" > \"$1\"/etc/apt/sources.list.d/oven.list",
    "--customize-hook=rm \"$1\"/etc/apt/preferences.d/oven \"$1\"/etc/apt/sources.list.d/oven.list",
];

/// Without root there are no devices, and a kernel brings its own: no image has any.
const BASE: &str = r#""$@"; find merged/dev -mindepth 1 -delete"#;

/// No service may start while packages are installed.
pub(super) const INSTALL: &str = r#"
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
mkdir /run/sources
cp -t /run/sources /etc/apt/sources.list.d/* 2> /dev/null || true
if [ -s /run/pins ]; then echo 'deb [trusted=yes] file:/var/cache/apt/archives ./' > /run/sources/oven.list; fi
# No binary caches of the lists: they are ten times what is installed, and gone when the image is sealed.
apt() {
    apt-get -q -y -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dir::Etc::sourceparts=/run/sources -o Dir::Etc::preferences=/run/pins \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}
apt update
apt -o APT::Keep-Downloaded-Packages=true -o Dpkg::Options::=--force-unsafe-io \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
"#;

/// What packages say of themselves, an empty line after each.
const FIELDS: &str = r#"for deb; do dpkg-deb --field "$deb" || echo; echo; done"#;

impl Oven<'_> {
    /// Apt fails at once when another holds its lists or archives; we rather wait. Nothing is removed from
    /// the cache meanwhile either.
    fn lock_apt(&self) -> Result<Lock, BakeError> {
        let path = self.home.cache().join("apt/lock");
        Lock::acquire(&path).at(&path)
    }

    pub(super) fn base(&self, debian: &Debian) -> Result<(), BakeError> {
        let _lock = self.lock_apt()?;
        let (debs, lists) = (self.apt_cache("archives")?, self.lists()?);
        let pins = self.pins(&debs)?;
        let mut command = self.stack.writable(TREE)?;
        command.args(["sh", "-euc", BASE, "base"]);
        for (name, value) in proxies() {
            command.env(name, value);
        }
        // What it writes aside goes where the next sweep finds it.
        command.env("TMPDIR", self.stack.work).env("SOURCE_DATE_EPOCH", EPOCH).env("OVENPROOF_PINS", pins);
        command
            .env("OVENPROOF_DEBS", &debs)
            .env("OVENPROOF_LISTS", lists)
            .env("OVENPROOF_TREE", self.stack.work.join(TREE));
        command.args(["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]);
        command.args(BASE_OPTIONS);
        if !self.held().is_empty() {
            command.args(HOLD_BASE);
        }
        if let Some(keyring) = &debian.keyring {
            if super::layer::digest(&keyring.path).at(&keyring.path)? != keyring.digest {
                return Err(BakeError::Changed(keyring.path.clone()));
            }
            // Packages that are added later come from the same archive.
            command
                .arg(format!("--keyring={}", keyring.path.display()))
                .env("OVENPROOF_KEYRING", &keyring.path);
            command
                .arg("--setup-hook=install -D -m 644 -t \"$1\"/etc/apt/trusted.gpg.d \"$OVENPROOF_KEYRING\"");
        }
        if !debian.components.is_empty() {
            command.arg(format!("--components={}", debian.components.join(",")));
        }
        if !debian.sources.is_empty() {
            // As arguments they would take the place of Debian's own.
            command.env("OVENPROOF_SOURCES", debian.sources.join("\n"));
            command.arg("--setup-hook=echo \"$OVENPROOF_SOURCES\" > \"$1\"/etc/apt/sources.list.d/more.list");
        }
        command.args([&debian.suite, "merged"]).args(&debian.mirror);
        self.execute(&mut command, PATIENCE)?;
        self.bound(&debs)
    }

    pub(super) fn packages(&self, names: &[String]) -> Result<(), BakeError> {
        let _lock = self.lock_apt()?;
        let debs = self.apt_cache("archives")?;
        let access = Access {
            network: true,
            binds: vec![
                (self.pins(&debs)?, "/run/pins", false),
                (debs.clone(), "/var/cache/apt/archives", true),
                (self.lists()?, "/var/lib/apt/lists", true),
            ],
            ..Access::default()
        };
        let mut argv = vec!["sh", "-eu", "-c", INSTALL, "install"];
        argv.extend(names.iter().map(String::as_str));
        self.sandboxed(TREE, access, &argv, PATIENCE)?;
        self.bound(&debs)
    }

    /// The versions that this layer is held to.
    pub(super) fn held(&self) -> &[Package] {
        self.layer.lock.as_ref().unwrap_or(&self.layer.hold)
    }

    /// Writes preferences for apt that hold to these versions, and puts those of them that are in the cache
    /// into its index. Without any the file is empty.
    fn pins(&self, debs: &Path) -> Result<PathBuf, BakeError> {
        let pins = self.stack.work.join("pins");
        let mut text = String::new();
        let mut cached = Vec::new();
        for Package { name, version, arch } in self.held() {
            text.push_str(&format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"));
            let deb = format!("{name}_{}_{arch}.deb", version.replace(':', "%3a"));
            if debs.join(&deb).is_file() {
                cached.push(deb);
            }
        }
        fs::write(&pins, text).at(&pins)?;
        let path = debs.join(INDEX);
        fs::write(&path, index(debs, &cached).at(debs)?).at(&path)?;
        Ok(pins)
    }

    /// Keeps the cache from growing for ever.
    fn bound(&self, debs: &Path) -> Result<(), BakeError> {
        let _ = fs::remove_file(debs.join(INDEX));
        let mut found: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(debs).at(debs)? {
            let path = entry.at(debs)?.path();
            let meta = fs::symlink_metadata(&path).at(&path)?;
            if meta.is_file() && path.extension().is_some_and(|extension| extension == "deb") {
                found.push((meta.accessed().at(&path)?, meta.len(), path));
            }
        }
        for path in surplus(found, CACHE_BYTES) {
            fs::remove_file(&path).at(&path)?;
        }
        Ok(())
    }

    /// What the archive of this suite has.
    fn lists(&self) -> Result<PathBuf, BakeError> {
        self.apt_cache(&format!("lists-{}", self.suite))
    }

    fn apt_cache(&self, name: &str) -> Result<PathBuf, BakeError> {
        let path = self.home.cache().join("apt").join(name);
        let partial = path.join("partial");
        create_private_dir(&partial).at(&partial)?;
        Ok(path)
    }

    /// What this layer has installed or changed, by what its package manager says now and said before.
    pub(super) fn installed(&self) -> Result<Vec<Package>, BakeError> {
        let before = self.stack.lower.iter().rev().find_map(|tree| status(tree).transpose()).transpose();
        let before = before.at(self.stack.work)?.unwrap_or_default();
        let tree = self.stack.work.join(TREE);
        let Some(now) = status(&tree).at(&tree)? else { return Ok(Vec::new()) };
        Ok(now.into_iter().filter(|package| !before.contains(package)).collect())
    }
}

/// Which files of a cache must go so that the rest has at most `limit` bytes: those used least lately.
fn surplus(mut found: Vec<(SystemTime, u64, PathBuf)>, limit: u64) -> Vec<PathBuf> {
    found.sort();
    let mut total: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
    let mut gone = Vec::new();
    for (_, bytes, path) in found {
        if total <= limit {
            break;
        }
        total -= bytes;
        gone.push(path);
    }
    gone
}

/// The packages that the tree of a layer says are installed, sorted; `None` if it says nothing of packages.
///
/// The tree is made by strangers: a link in it is never followed.
fn status(tree: &Path) -> io::Result<Option<Vec<Package>>> {
    let root = openat(CWD, tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat2(&root, "var/lib/dpkg/status", flags, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    File::from(file).take(64 << 20).read_to_end(&mut bytes)?;
    Ok(Some(parse_status(&String::from_utf8_lossy(&bytes))))
}

pub(super) fn parse_status(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = text
        .split("\n\n")
        .filter_map(|paragraph| {
            let fields: BTreeMap<&str, &str> =
                paragraph.lines().filter_map(|line| line.split_once(": ")).collect();
            let field = |name: &str| fields.get(name).map(|value| value.trim().to_owned());
            field("Status").filter(|status| status.ends_with(" installed"))?;
            Some(Package {
                name: field("Package")?,
                version: field("Version")?,
                arch: field("Architecture")?,
            })
        })
        .collect();
    packages.sort();
    packages
}

/// What apt must know of the packages `debs` in the folder `archives`, to take them from there.
fn index(archives: &Path, debs: &[String]) -> io::Result<Vec<u8>> {
    // They are hundreds, and each is opened and hashed: every processor has its share.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = debs.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            debs.chunks(share).map(|debs| scope.spawn(move || index_part(archives, debs))).collect();
        let mut index = Vec::new();
        for part in parts {
            let part = part.join().map_err(|_| io::Error::other("the packages cannot be indexed"))?;
            index.extend(part?);
        }
        Ok(index)
    })
}

/// One worker's share of the index.
fn index_part(archives: &Path, debs: &[String]) -> io::Result<Vec<u8>> {
    let mut index = Vec::new();
    // One process each for all of them; only this digest does apt still trust.
    let digests = command("sha256sum").arg("--").args(debs).current_dir(archives).output()?.stdout;
    let digests = String::from_utf8_lossy(&digests).into_owned();
    let mut fields = command("sh");
    let fields = fields.args(["-c", FIELDS, "fields"]).args(debs).current_dir(archives).output()?.stdout;
    let fields = String::from_utf8_lossy(&fields).into_owned();
    for ((deb, digest), fields) in debs.iter().zip(digests.lines()).zip(fields.split("\n\n")) {
        let (bytes, digest) =
            (fs::metadata(archives.join(deb))?.len(), digest.split(' ').next().unwrap_or_default());
        let fields = fields.trim();
        // One that cannot be read is not offered.
        if !fields.is_empty() && digest.len() == 64 {
            let more = format!("{fields}\nFilename: ./{deb}\nSize: {bytes}\nSHA256: {digest}\n\n");
            index.extend_from_slice(more.as_bytes());
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_installed_is_read_and_what_was_removed_is_not() {
        let text = "Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\nDescription: x\n y: z\n\n\
                    Package: a\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
        let package = Package { name: "b".into(), version: "1:2-3".into(), arch: "amd64".into() };
        assert_eq!(parse_status(text), [package]);
    }

    #[test]
    fn a_link_where_the_status_should_be_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("var/lib")).unwrap();
        assert!(status(folder.path()).unwrap().is_none());
        std::os::unix::fs::symlink("/var/lib/dpkg", folder.path().join("var/lib/dpkg")).unwrap();
        assert!(status(folder.path()).is_err());
    }

    #[test]
    fn the_least_used_packages_go_first() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let found = vec![(at(3), 50, "new".into()), (at(1), 30, "old".into()), (at(2), 30, "older".into())];
        assert_eq!(surplus(found.clone(), 80), [PathBuf::from("old")]);
        assert!(surplus(found.clone(), 110).is_empty());
        assert_eq!(surplus(found, 0).len(), 3);
    }
}
