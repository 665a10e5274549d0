//! What lies in a tree, listed by a process that may read all of it.
//!
//! Trees are seen as an image will only inside a namespace, where layers are mounted and owners are who they
//! are. So this executable is started there once more, with the hidden command [`INVENTORY`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};

use crate::store::files::{FileKind, FileRecord};

/// The hidden command that lists a tree.
pub const INVENTORY: &str = "__inventory";

/// Writes one JSON line for each thing in `tree` to `list`, each directory followed by what is in it, by name.
pub fn write(tree: &Path, list: &Path) -> io::Result<()> {
    let mut output = BufWriter::new(File::create(list)?);
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let path = tree.join(&below);
        let meta = fs::symlink_metadata(&path)?;
        let record = record(&path, &below, &meta)?;
        serde_json::to_writer(&mut output, &record)?;
        output.write_all(b"\n")?;
        if meta.is_dir() {
            let mut names = fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            // The last in is the first out.
            names.sort_by(|a, b| b.cmp(a));
            open.extend(names.iter().map(|name| below.join(name)));
        }
    }
    output.into_inner()?.sync_data()
}

fn record(path: &Path, below: &Path, meta: &Metadata) -> io::Result<FileRecord> {
    let kind = match meta.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link,
        kind if kind.is_char_device() => FileKind::CharacterDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        kind if kind.is_fifo() => FileKind::Pipe,
        _ => FileKind::Socket,
    };
    let is_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
    Ok(FileRecord {
        path: Path::new("/").join(below).to_string_lossy().into_owned(),
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        size: if kind == FileKind::File { meta.len() } else { 0 },
        mtime_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        digest: if kind == FileKind::File { Some(digest(path)?) } else { None },
        target: match kind {
            FileKind::Link => Some(fs::read_link(path)?.to_string_lossy().into_owned()),
            _ => None,
        },
        device: is_device.then(|| (major(meta.rdev()), minor(meta.rdev()))),
        xattrs: xattrs(path)?,
    })
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, String>> {
    // No kernel gives longer ones.
    let mut names = vec![0; 1 << 16];
    let length = match llistxattr(path, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(path, name, value.as_mut_slice())?;
        let value = value.iter().take(length).map(|byte| format!("{byte:02x}")).collect();
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

/// The words that start this executable to list `tree` into `list`.
pub(super) fn command_line(
    tree: impl AsRef<OsStr>,
    list: impl AsRef<OsStr>,
) -> io::Result<[std::ffi::OsString; 4]> {
    let own = std::env::current_exe()?.into_os_string();
    Ok([own, INVENTORY.into(), tree.as_ref().into(), list.as_ref().into()])
}

/// The digest of a layer, of which `list` was made: of everything but its own directory, and its record, which
/// is written last.
pub(super) fn digest_of_layer(list: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for line in fs::read_to_string(list)?.lines() {
        if !line.starts_with(r#"{"path":"/","#) && !line.starts_with(r#"{"path":"/layer.json","#) {
            hasher.update(line.as_bytes()).update(b"\n");
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_listed_with_all_that_matters() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, list) = (dir.path().join("tree"), dir.path().join("list"));
        fs::create_dir_all(tree.join("b-dir")).unwrap();
        fs::write(tree.join("b-dir/file"), "content").unwrap();
        fs::set_permissions(tree.join("b-dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("../nowhere", tree.join("a-link")).unwrap();
        write(&tree, &list).unwrap();
        let records = crate::store::files::read(&list).unwrap();
        let paths: Vec<&str> = records.iter().map(|record| record.path.as_str()).collect();
        assert_eq!(paths, ["/", "/a-link", "/b-dir", "/b-dir/file"]);
        assert_eq!(records[1].target.as_deref(), Some("../nowhere"));
        let file = &records[3];
        assert_eq!((file.kind, file.mode, file.size), (FileKind::File, 0o4755, 7));
        assert_eq!(file.digest.as_deref(), Some(blake3::hash(b"content").to_hex().as_str()));
        // The same again, but for what is changed.
        let before = fs::read(&list).unwrap();
        write(&tree, &list).unwrap();
        assert_eq!(fs::read(&list).unwrap(), before);
        fs::write(tree.join("b-dir/file"), "other").unwrap();
        write(&tree, &list).unwrap();
        assert_eq!(crate::store::files::read(&list).unwrap()[3].differences(file), ["content", "time"]);
    }

    #[test]
    fn the_digest_of_a_layer_leaves_out_its_record_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (layer, list) = (dir.path().join("layer"), dir.path().join("list"));
        fs::create_dir_all(layer.join("tree")).unwrap();
        fs::write(layer.join("tree/layer.json"), "content").unwrap();
        let digest = || {
            write(&layer, &list).unwrap();
            digest_of_layer(&list).unwrap()
        };
        let before = digest();
        fs::write(layer.join("layer.json"), "record").unwrap();
        assert_eq!(digest(), before);
        fs::write(layer.join("tree/layer.json"), "changed").unwrap();
        assert_ne!(digest(), before);
    }
}
