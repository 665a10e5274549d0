//! What a bake tells whoever watches: one event when a layer is begun, one when it is done.

use std::time::Duration;

/// Told about each layer in order, and about the disk at the end.
pub trait Progress {
    /// Work on a layer began; not called for layers that are reused.
    fn started(&mut self, _layer: &LayerNote<'_>) {}

    /// A layer is there.
    fn finished(&mut self, layer: &LayerNote<'_>, outcome: Outcome);
}

/// Which layer is spoken of.
#[derive(Debug, Clone, Copy)]
pub struct LayerNote<'a> {
    /// `base`, `packages`, `files`, `run`, `services`, `seal` or `disk`.
    pub kind: &'a str,
    /// The recipe of the chain that it comes from.
    pub recipe: &'a str,
    /// What it is about, in one short line; may be empty.
    pub about: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already.
    Reused,
    Made(Duration),
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn finished(&mut self, _: &LayerNote<'_>, _: Outcome) {}
}
