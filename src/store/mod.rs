//! The local registry: layers, images and channels, by content.
//!
//! Everything in it is written aside, synced and renamed into place, so that a crash at any moment leaves
//! either the old state or the new one. Nothing here knows how images are made or what they are used for.

pub mod image;

pub use image::{Image, ImageId, Manifest, Package};
