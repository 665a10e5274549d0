//! Files and folders that a recipe reads: found inside its own folders and nowhere else.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The regular file or the folder that `relative` names under `root`; the error is a sentence for the user.
///
/// Absolute paths, `..` and symbolic links that lead out are refused: a recipe from elsewhere must not be
/// able to read the files of whoever bakes it.
pub fn inside(root: &Path, relative: &str) -> Result<PathBuf, String> {
    let path = Path::new(relative);
    if relative.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("`{relative}` is not a plain path inside {}", root.display()));
    }
    let found = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file `{relative}` in {}", root.display()),
        _ => format!("`{relative}` cannot be read: {error}"),
    };
    let full = root.join(path).canonicalize().map_err(found)?;
    if !full.starts_with(root.canonicalize().map_err(found)?) {
        return Err(format!("`{relative}` is a link that leads out of {}", root.display()));
    }
    match full.is_file() || full.is_dir() {
        true => Ok(full),
        false => Err(format!("`{relative}` is not a file")),
    }
}

/// Like [`inside`], a regular file alone.
pub fn file_inside(root: &Path, relative: &str) -> Result<PathBuf, String> {
    let full = inside(root, relative)?;
    if full.is_file() { Ok(full) } else { Err(format!("`{relative}` is not a file")) }
}

/// Whether `path` is absolute and plain: no `.`, `..`, doubled or trailing slashes, control characters.
pub fn is_plain_absolute(path: &str) -> bool {
    path.len() > 1
        && path.starts_with('/')
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(char::is_control)
}
