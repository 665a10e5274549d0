//! What differs between two images: packages, files, size, kernel, and how they boot.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::FileRecord;
use super::{Image, ImageId, Package, StoreError};

/// The way from one image to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageDiff {
    pub from: ImageId,
    pub to: ImageId,
    pub packages: Changes<Package>,
    pub files: Changes<FileRecord>,
    /// Bytes that are not holes, before and after, and so on below; `None` where nothing changed.
    pub stored_bytes: Option<(u64, u64)>,
    pub disk_bytes: Option<(u64, u64)>,
    pub kernel: Option<(String, String)>,
    pub kernel_cmdline: Option<(String, String)>,
}

/// Things that came, went, or stayed under their name and changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changes<T> {
    pub added: Vec<T>,
    pub removed: Vec<T>,
    pub changed: Vec<Change<T>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change<T> {
    pub before: T,
    pub after: T,
    /// In what: `version`, `content`, `mode`, ...
    pub differs: Vec<&'static str>,
}

impl<T> Changes<T> {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Compares two lists, each of whose members has a key of its own.
    fn between<K: Ord>(
        before: Vec<T>,
        after: Vec<T>,
        key: impl Fn(&T) -> K,
        differences: impl Fn(&T, &T) -> Vec<&'static str>,
    ) -> Self {
        let mut before: BTreeMap<K, T> = before.into_iter().map(|thing| (key(&thing), thing)).collect();
        let mut changes = Changes { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
        for thing in after {
            match before.remove(&key(&thing)) {
                None => changes.added.push(thing),
                Some(old) => {
                    let differs = differences(&old, &thing);
                    if !differs.is_empty() {
                        changes.changed.push(Change { before: old, after: thing, differs });
                    }
                }
            }
        }
        changes.removed = before.into_values().collect();
        changes
    }
}

impl ImageDiff {
    /// Compares two images by what their manifests and lists of files say.
    pub fn between(from: &Image, to: &Image) -> Result<Self, StoreError> {
        let (a, b) = (&from.manifest, &to.manifest);
        let change = |a: &String, b: &String| (a != b).then(|| (a.clone(), b.clone()));
        Ok(ImageDiff {
            from: a.id.clone(),
            to: b.id.clone(),
            packages: packages(a.packages.clone(), b.packages.clone()),
            files: files(from.files()?, to.files()?),
            stored_bytes: (a.stored_bytes != b.stored_bytes).then_some((a.stored_bytes, b.stored_bytes)),
            disk_bytes: (a.disk_bytes != b.disk_bytes).then_some((a.disk_bytes, b.disk_bytes)),
            kernel: change(&a.kernel, &b.kernel),
            kernel_cmdline: change(&a.kernel_cmdline, &b.kernel_cmdline),
        })
    }

    /// Whether the images hold the same, however they are called.
    pub fn is_empty(&self) -> bool {
        let ImageDiff { packages, files, disk_bytes, kernel, kernel_cmdline, .. } = self;
        packages.is_empty()
            && files.is_empty()
            && disk_bytes.is_none()
            && kernel.is_none()
            && kernel_cmdline.is_none()
    }
}

fn packages(before: Vec<Package>, after: Vec<Package>) -> Changes<Package> {
    let key = |package: &Package| (package.name.clone(), package.arch.clone());
    Changes::between(
        before,
        after,
        key,
        |a, b| {
            if a.version == b.version { Vec::new() } else { vec!["version"] }
        },
    )
}

/// Compares two lists of files.
pub fn files(before: Vec<FileRecord>, after: Vec<FileRecord>) -> Changes<FileRecord> {
    Changes::between(before, after, |file| file.path.clone(), |a, b| a.differences(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::FileKind;

    fn package(name: &str, version: &str) -> Package {
        let [name, version] = [name, version].map(str::to_owned);
        let (source, source_version) = (name.clone(), version.clone());
        Package { name, version, arch: "amd64".to_owned(), source, source_version }
    }

    fn file(path: &str, digest: &str, mode: u32) -> FileRecord {
        FileRecord {
            path: path.to_owned(),
            kind: FileKind::File,
            mode,
            uid: 0,
            gid: 0,
            size: 1,
            mtime_ns: 0,
            digest: Some(digest.to_owned()),
            target: None,
            device: None,
            xattrs: BTreeMap::new(),
        }
    }

    #[test]
    fn what_came_went_and_changed_is_told_apart() {
        let changes = packages(
            vec![package("curl", "1"), package("gone", "1"), package("same", "1")],
            vec![package("curl", "2"), package("new", "1"), package("same", "1")],
        );
        assert_eq!(changes.added, [package("new", "1")]);
        assert_eq!(changes.removed, [package("gone", "1")]);
        let changed: Vec<_> = changes.changed.iter().map(|change| (&change.after, &change.differs)).collect();
        assert_eq!(changed, [(&package("curl", "2"), &vec!["version"])]);
    }

    #[test]
    fn a_file_says_in_what_it_changed() {
        let before = vec![file("/a", "1", 0o644), file("/b", "1", 0o644)];
        let changes = files(before.clone(), vec![file("/a", "2", 0o600), file("/b", "1", 0o644)]);
        assert_eq!(changes.changed.len(), 1);
        assert_eq!(changes.changed[0].differs, ["content", "mode"]);
        assert!(files(before.clone(), before).is_empty());
    }
}
