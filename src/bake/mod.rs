//! Baking: a plan becomes layers, layers become a disk, the disk becomes an image in the store.
