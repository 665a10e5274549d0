//! Where the recipe of a name lies: what its lock file stands for is needed, whatever was baked since.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{At, Store, StoreError, good_name};
use crate::home::write_atomically;

/// The recipe that a name was baked from last, `names/NAME/recipe.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Absolute.
    pub recipe: PathBuf,
    /// Variables that were given values.
    pub sets: Vec<(String, String)>,
}

impl Store {
    /// Remembers where the recipe `name` lies.
    pub fn set_origin(&self, name: &str, origin: &Origin) -> Result<(), StoreError> {
        let path = self.origin_path(name)?;
        if self.origin(name)?.as_ref() == Some(origin) {
            return Ok(());
        }
        let text = serde_json::to_vec(origin).map_err(io::Error::from).at(&path)?;
        write_atomically(&path, &text).at(&path)
    }

    /// Where the recipe `name` lay when it was baked last; `None` if that is not known.
    pub fn origin(&self, name: &str) -> Result<Option<Origin>, StoreError> {
        let path = self.origin_path(name)?;
        match fs::read(&path) {
            // One that cannot be read is written anew by the next bake.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path),
        }
    }

    fn origin_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root().join("names").join(good_name(name)?).join("recipe.json"))
    }
}
