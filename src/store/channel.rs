//! Channels: names such as `candidate` and `stable` that point at an image, moved by evidence alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{At, ImageId, Store, StoreError, entries, good_name};
use crate::home::write_atomically;

/// Where a channel points, since when and why; `channels/NAME/CHANNEL.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    pub image: ImageId,
    /// In RFC 3339.
    pub promoted_at: String,
    /// What was proven about the image, as the caller put it.
    pub evidence: serde_json::Value,
    /// The image that the channel pointed at before.
    pub previous: Option<ImageId>,
}

impl Store {
    /// Points `channel` of the image `name` at `id`, which must exist, and keeps the evidence with it.
    pub fn promote(
        &self,
        name: &str,
        channel: &str,
        id: &ImageId,
        evidence: &serde_json::Value,
    ) -> Result<Promotion, StoreError> {
        let path = self.channel_path(name, channel)?;
        self.image(id)?;
        let before = match self.promotion(name, channel) {
            Ok(before) => Some(before.image),
            Err(StoreError::NoSuchChannel { .. }) => None,
            Err(error) => return Err(error),
        };
        let promotion = Promotion {
            image: id.clone(),
            promoted_at: jiff::Timestamp::now().to_string(),
            evidence: evidence.clone(),
            previous: before,
        };
        let text = serde_json::to_vec_pretty(&promotion)
            .map_err(|error| StoreError::Damaged { path: path.clone(), why: error.to_string() })?;
        write_atomically(&path, &text).at(&path)?;
        Ok(promotion)
    }

    /// Where `NAME:CHANNEL` points.
    pub fn promotion(&self, name: &str, channel: &str) -> Result<Promotion, StoreError> {
        let path = self.channel_path(name, channel)?;
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| StoreError::Damaged { path, why: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NoSuchChannel {
                name: name.to_owned(),
                channel: channel.to_owned(),
                known: self.channels(name)?.into_keys().collect(),
            }),
            Err(error) => Err(error).at(&path),
        }
    }

    /// All channels of the image `name`.
    pub fn channels(&self, name: &str) -> Result<BTreeMap<String, Promotion>, StoreError> {
        let files = entries(&self.root().join("channels").join(good_name(name)?))?;
        let channels = files.iter().filter_map(|file| file.strip_suffix(".json"));
        channels.map(|channel| Ok((channel.to_owned(), self.promotion(name, channel)?))).collect()
    }

    fn channel_path(&self, name: &str, channel: &str) -> Result<PathBuf, StoreError> {
        let (name, channel) = (good_name(name)?, good_name(channel)?);
        Ok(self.root().join("channels").join(name).join(format!("{channel}.json")))
    }
}
