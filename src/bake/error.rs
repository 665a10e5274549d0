//! Why a bake failed, in words for whoever wrote the recipe.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::userns::NotAllowed;

#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("{} belongs to user {owner}: a store can be used by the user alone who made it", path.display())]
    OtherOwner { path: PathBuf, owner: u32 },
    #[error("`{tool}` is not installed")]
    MissingTool {
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    #[error("{stage} of recipe `{recipe}` {why}{}", indented(tail))]
    Failed {
        recipe: String,
        /// Such as `run (install the agent)`.
        stage: String,
        /// `failed with exit code 1`, `was killed by signal 9`, `took longer than 10m`.
        why: String,
        /// The last lines that it printed.
        tail: String,
        log: PathBuf,
    },
    #[error("the secret `{0}` is not given")]
    NoSecret(String),
    #[error("{stage} leaves a secret in the image{}", indented(&places.join("\n")))]
    SecretLeft { stage: String, places: Vec<String> },
    #[error("recipe `{recipe}` cannot be held to its lock file{}", indented(&lines.join("\n")))]
    Drifted { recipe: String, lines: Vec<String> },
    #[error("the lock file of recipe `{recipe}` {why}")]
    NotLocked { recipe: String, why: &'static str },
    #[error("{} changed while it was being baked", .0.display())]
    Changed(PathBuf),
    #[error("the image cannot be sealed, because it would carry{}", indented(&.0.join("\n")))]
    NotSealed(Vec<String>),
    #[error("the image has no {0}")]
    Incomplete(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}

/// Gives an input/output error the path that it is about.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, BakeError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BakeError> {
        self.map_err(|source| BakeError::Io { path: path.to_owned(), source })
    }
}
