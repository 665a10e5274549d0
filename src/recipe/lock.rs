//! Lock files: the exact packages that a recipe's own layers install, in `NAME.lock` beside `NAME.yaml`.
//!
//! A recipe's lock covers its own layers alone, so that recipes on top of it share them: each layer that
//! installs packages has a section, which names what was asked for and what came of it. A section that was
//! made for something else only holds its versions where it can; see [`Layer::lock`](super::Layer).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{BadFile, Located, parse_yaml, read_text};

/// A package as it is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
}

/// What one layer asked for, and what it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub request: Vec<String>,
    /// Sorted.
    pub packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockForm {
    layers: Vec<SectionForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SectionForm {
    request: Vec<String>,
    packages: Vec<Located<String>>,
}

/// Where the lock file of a recipe lies.
pub fn path_of(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}

/// The sections of the lock file at `path`; none if there is no such file.
pub fn read(path: &Path) -> Result<Vec<Section>, BadFile> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = read_text(path)?;
    let mut sections = Vec::new();
    for form in parse_yaml::<LockForm>(path, &text)?.layers {
        let mut packages = Vec::new();
        for line in &form.packages {
            let package = parse(line).ok_or_else(|| {
                BadFile::at(path, &text, line.at, format!("`{line}` is not a package"))
                    .help("expected `NAME VERSION ARCHITECTURE`; `ovenproof bake --update` writes it anew")
            })?;
            packages.push(package);
        }
        packages.sort();
        sections.push(Section { request: form.request, packages });
    }
    Ok(sections)
}

fn parse(line: &str) -> Option<Package> {
    let mut words = line.split(' ').map(str::to_owned);
    let package = Package { name: words.next()?, version: words.next()?, arch: words.next()? };
    // They end up in files of the package manager.
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let good = plain(&package.name, "+-.") && plain(&package.version, "+-.:~") && plain(&package.arch, "-");
    (good && words.next().is_none()).then_some(package)
}

/// The text of a lock file.
pub fn write(recipe: &str, sections: &[Section]) -> String {
    let mut text = format!(
        "# What the recipe `{recipe}` installs, to the version. Written by `ovenproof bake`, moved by `--update`.\n\
         layers:\n"
    );
    for section in sections {
        let request: Vec<String> = section.request.iter().map(|word| quoted(word)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- request: [{}]\n  packages:", request.join(", "));
        for Package { name, version, arch } in &section.packages {
            let _ = writeln!(text, "  - {name} {version} {arch}");
        }
        if section.packages.is_empty() {
            text.truncate(text.trim_end().len());
            text.push_str(" []\n");
        }
    }
    text
}

/// Always in quotes, so that no word is taken for something else.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "''"))
}

/// What `new` has that `old` has not and the other way round, a line each, sorted by name.
pub fn difference(old: &[Section], new: &[Section]) -> Vec<String> {
    let versions = |sections: &[Section]| -> BTreeMap<String, String> {
        let packages = sections.iter().flat_map(|section| section.packages.clone());
        packages.map(|package| (package.name, package.version)).collect()
    };
    let (old, new) = (versions(old), versions(new));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let lines = names.into_iter().filter_map(|name| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{name} {old} -> {new}")),
        (Some(old), None) => Some(format!("- {name} {old}")),
        (None, Some(new)) => Some(format!("+ {name} {new}")),
        (None, None) => None,
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.to_owned(), version: version.to_owned(), arch: "amd64".to_owned() }
    }

    #[test]
    fn the_difference_is_told_a_line_each() {
        let section = |packages| [Section { request: Vec::new(), packages }];
        let old = section(vec![package("a", "1"), package("b", "1"), package("c", "1")]);
        let new = section(vec![package("a", "1"), package("b", "1:2~x"), package("d", "3")]);
        assert_eq!(difference(&old, &new), ["b 1 -> 1:2~x", "- c 1", "+ d 3"]);
    }

    #[test]
    fn a_spoilt_line_is_answered_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        for (line, good) in
            [("a 1 amd64", true), ("a 1", false), ("a 1 amd64 x", false), ("a $(x) amd64", false)]
        {
            std::fs::write(&path, format!("layers:\n- request: [a]\n  packages:\n  - {line}\n")).unwrap();
            let answer = read(&path);
            assert_eq!(answer.is_ok(), good, "{line}");
            assert!(good || answer.unwrap_err().to_string().contains("x.lock:4:5"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            names in proptest::collection::btree_set("[a-z][a-z0-9+.-]{1,8}", 0..5),
            version in "([0-9]:)?[0-9][0-9a-z.+~-]{0,8}",
            request in proptest::collection::vec("[ -~]{1,20}", 0..3),
        ) {
            let packages = names.iter().map(|name| package(name, &version)).collect();
            let sections = vec![Section { request, packages }];
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.lock");
            std::fs::write(&path, write("x", &sections)).unwrap();
            prop_assert_eq!(read(&path).unwrap(), sections);
        }
    }
}
