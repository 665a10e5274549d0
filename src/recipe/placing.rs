//! What a recipe puts into an image by itself: files, folders of files, and the users who own them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::check::Rendered;
use super::form::{FileForm, UserForm};
use super::plan::{PlannedFile, Source, User};
use super::{render, source};
use crate::diagnostic::{BadFile, Located};

/// More files than this do not belong in a recipe's folder but in a package.
const MAX_TREE: usize = 10_000;

impl Rendered<'_> {
    pub(super) fn files(&self, forms: &[FileForm]) -> Result<Vec<PlannedFile>, BadFile> {
        let mut files: Vec<PlannedFile> = Vec::new();
        for form in forms {
            let path = self.image_path(&form.path)?;
            if files.iter().any(|file| file.path == path) {
                return Err(self.bad(form.path.at, format!("`{path}` is listed twice")));
            }
            let (user, group) = self.owner(form.owner.as_ref())?;
            let (content, digest, usual) = match (&form.copy, &form.template, &form.content, form.directory) {
                (Some(copy), None, None, false) => match source::inside(&self.folder(), copy) {
                    Ok(found) if found.is_dir() => {
                        let tree = Tree { rendered: self, form, user: &user, group: &group };
                        tree.add(copy, &path, &mut files)?;
                        continue;
                    }
                    Ok(file) => {
                        let digest = self.digest(copy, &file)?;
                        (Source::Copy(file), digest, 0o644)
                    }
                    Err(message) => return Err(self.bad(copy.at, message)),
                },
                (None, Some(template), None, false) => {
                    let (file, text) = self.template(template)?;
                    let text = render::render(&file, &text, self.vars)?;
                    let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
                    (Source::Text(text), digest, 0o644)
                }
                (None, None, Some(text), false) => {
                    let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
                    (Source::Text(text.value.clone()), digest, 0o644)
                }
                (None, None, None, true) => (Source::Directory, "directory".to_owned(), 0o755),
                _ => {
                    let message = format!(
                        "`{path}` needs exactly one of `copy`, `template`, `content` and `directory: true`"
                    );
                    return Err(self.bad(form.path.at, message));
                }
            };
            let mode = form.mode.as_ref().map(|mode| self.mode(Some(mode))).transpose()?.unwrap_or(usual);
            files.push(PlannedFile { path, mode, user, group, digest, source: content });
        }
        Ok(files)
    }

    fn digest(&self, named: &Located<String>, file: &Path) -> Result<String, BadFile> {
        digest(file).map_err(|error| self.bad(named.at, format!("{}: {error}", file.display())))
    }

    pub(super) fn users(&self, forms: &[UserForm]) -> Result<Vec<User>, BadFile> {
        let mut users: Vec<User> = Vec::new();
        for form in forms {
            let name = self.user_name(&form.name)?;
            if users.iter().any(|user| user.name == name) {
                return Err(self.bad(form.name.at, format!("the user `{name}` is listed twice")));
            }
            if let Some(uid) = form.uid.as_ref().filter(|uid| !(1..=59_999).contains(&uid.value)) {
                return Err(self.bad(uid.at, format!("{uid} is not a user's number, expected 1 to 59999")));
            }
            let path = |path: &Option<Located<String>>| {
                path.as_ref()
                    .map(|path| match source::is_plain_absolute(path) && !path.contains(':') {
                        true => Ok(path.value.clone()),
                        false => Err(self.bad(path.at, format!("`{path}` is not an absolute path"))),
                    })
                    .transpose()
            };
            users.push(User {
                uid: form.uid.as_ref().map(|uid| uid.value),
                group: form.group.as_ref().map(|group| self.user_name(group)).transpose()?,
                groups: form.groups.iter().map(|group| self.user_name(group)).collect::<Result<_, _>>()?,
                shell: path(&form.shell)?,
                home: path(&form.home)?,
                system: form.system,
                name,
            });
        }
        Ok(users)
    }

    /// A name of a user or a group, as Debian allows them.
    fn user_name(&self, name: &Located<String>) -> Result<String, BadFile> {
        let plain = (1..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
        match plain {
            true => Ok(name.value.clone()),
            false => Err(self
                .bad(name.at, format!("`{name}` is not a name of a user or group"))
                .help("expected lower-case letters, digits, hyphens and underscores, a letter first")),
        }
    }
}

/// A folder on its way into the image.
struct Tree<'a> {
    rendered: &'a Rendered<'a>,
    form: &'a FileForm,
    user: &'a str,
    group: &'a str,
}

impl Tree<'_> {
    /// Adds the folder `relative` and all in it, in the order of their names, as `path`.
    fn add(
        &self,
        relative: &Located<String>,
        path: &str,
        files: &mut Vec<PlannedFile>,
    ) -> Result<(), BadFile> {
        let bad = |message: String| self.rendered.bad(relative.at, message);
        if let Some(mode) = &self.form.mode {
            let message = "the files of a folder have modes of their own".to_owned();
            return Err(self.rendered.bad(mode.at, message).help("0755 if they may be run, else 0644"));
        }
        let mut open = vec![(relative.value.clone(), path.to_owned())];
        while let Some((from, to)) = open.pop() {
            self.push(files, to.clone(), 0o755, "folder".to_owned(), Source::Directory);
            for name in names(&self.rendered.folder().join(&from))
                .map_err(|error| bad(format!("`{from}`: {error}")))?
            {
                let (inner, target) = (format!("{from}/{name}"), format!("{to}/{name}"));
                if !source::is_plain_absolute(&target) {
                    return Err(bad(format!("`{inner}` has a name that cannot stand in an image")));
                }
                let found = source::inside(&self.rendered.folder(), &inner).map_err(bad)?;
                let link = self.rendered.folder().join(&inner).is_symlink();
                if found.is_dir() && link {
                    return Err(bad(format!(
                        "`{inner}` is a link to a folder; only links to files are followed"
                    )));
                }
                if found.is_dir() {
                    open.push((inner, target));
                    continue;
                }
                let mode = fs::metadata(&found).map_err(|error| bad(format!("`{inner}`: {error}")))?;
                let mode = if mode.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                let digest = self.rendered.digest(relative, &found)?;
                self.push(files, target, mode, digest, Source::Copy(found));
            }
            if files.len() > MAX_TREE {
                return Err(bad(format!("`{relative}` has more than {MAX_TREE} files")));
            }
        }
        let own = files.iter().position(|file| file.path == path).unwrap_or_default();
        if let Some(tree) = files.get_mut(own..) {
            // Folders before what is in them.
            tree.sort_by(|one, other| one.path.cmp(&other.path));
        }
        Ok(())
    }

    fn push(&self, files: &mut Vec<PlannedFile>, path: String, mode: u32, digest: String, source: Source) {
        let (user, group) = (self.user.to_owned(), self.group.to_owned());
        files.push(PlannedFile { path, mode, user, group, digest, source });
    }
}

/// Names in a folder that are text; others cannot be named in a plan.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.into_string().map_err(|name| {
            io::Error::other(format!("the name of {} is not text", PathBuf::from(name).display()))
        })?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}
