//! One number from which every random choice of a run follows.
//!
//! Each consumer draws from its own stream, named by a label, so that adding a consumer or drawing once
//! more in one place never changes what another place draws.

use std::fmt;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The seed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed from the operating system, short enough to be read aloud.
    pub fn random() -> Self {
        Seed(u64::from(rand::random::<u32>()))
    }

    /// The random stream that belongs to `label`; the same seed and label give the same stream on every
    /// machine and in every version (ChaCha8 keyed by BLAKE3 of both).
    pub fn stream(self, label: &str) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new_derive_key("ovenproof seed stream v1");
        hasher.update(&self.0.to_le_bytes());
        hasher.update(label.as_bytes());
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_are_stable_and_independent() {
        assert_eq!(Seed(7).stream("targets").next_u64(), Seed(7).stream("targets").next_u64());
        assert_ne!(Seed(7).stream("targets").next_u64(), Seed(7).stream("links").next_u64());
        assert_ne!(Seed(7).stream("targets").next_u64(), Seed(8).stream("targets").next_u64());
    }
}
