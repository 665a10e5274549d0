//! A folder with a person's files in it, and what the tool says of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{Said, everything_below, ovenproof};

/// Refusing takes no time; this is for a machine that does much else.
const AT_ONCE: Duration = Duration::from_secs(30);

pub(crate) struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// A folder with these files in it.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let desk = Desk { dir: tempfile::tempdir().unwrap() };
        for (name, text) in files {
            desk.put(name, text.as_bytes());
        }
        desk
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the tool in the folder, with a home that does not exist yet.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let mut command = ovenproof(&self.path().join("home"));
        command.current_dir(self.path()).args(arguments);
        let mut said: Said = assert_cmd::Command::from_std(command).timeout(AT_ONCE).output().unwrap().into();
        let dir = self.path().to_str().unwrap();
        for text in [&mut said.stdout, &mut said.stderr] {
            *text = text.replace(dir, "[DIR]");
        }
        said
    }

    /// What the tool says when it refuses: once, on standard error, having created nothing.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let before = everything_below(self.path());
        let said = self.run(arguments).exits(2);
        assert_eq!(said.stdout, "", "{arguments:?} printed a result");
        assert_eq!(said.stderr.matches("error: ").count(), 1, "{arguments:?}: {}", said.stderr);
        for jargon in JARGON {
            assert!(!said.stderr.contains(jargon), "{arguments:?} says `{jargon}`: {}", said.stderr);
        }
        assert_eq!(everything_below(self.path()), before, "{arguments:?} created something");
        format!("$ ovenproof {}\n{}", arguments.join(" "), said.stderr)
    }
}

/// Words of the libraries that read files, which mean nothing to whoever wrote the file.
const JARGON: &[&str] = &[
    "panicked",
    "sequence start",
    "mapping start",
    "DuplicateKeyPolicy",
    "Options",
    "scalar",
    "struct ",
    "variant",
    "invalid type",
    "invalid digit",
    "invalid u",
    "deserialize",
    "serde",
    "EOF",
    "budget",
    "breach",
    "Some(",
    "None",
    "os error",
];

/// What is said of each variation of a good file: what is replaced in it, and by what.
pub(crate) fn variations(good: &str, mistakes: &[(&str, &str)], said: impl Fn(&str) -> String) -> String {
    let mut all = Vec::new();
    for (from, to) in mistakes {
        assert!(good.contains(from), "{from}");
        all.push(said(&good.replacen(from, to, 1)));
    }
    all.join("\n")
}
