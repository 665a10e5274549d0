//! SSH keys, made by us for one fleet and thrown away with it.

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

/// An ed25519 key pair in OpenSSH's formats.
#[derive(Clone)]
pub struct KeyPair {
    /// The private key file's text.
    pub private: String,
    /// The public key as one line, without a comment or line end.
    pub public: String,
    /// The public key as it goes over the wire: what a server shows.
    pub wire: Vec<u8>,
}

/// A key could not be made or read; says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad SSH key: {0}")]
pub struct BadKey(String);

impl KeyPair {
    pub fn generate() -> Result<Self, BadKey> {
        Self::of(&PrivateKey::from(Ed25519Keypair::from_seed(&rand::random())))
    }

    /// Reads the text of a private key file.
    pub fn from_private(text: &str) -> Result<Self, BadKey> {
        Self::of(&PrivateKey::from_openssh(text).map_err(|error| BadKey(error.to_string()))?)
    }

    fn of(key: &PrivateKey) -> Result<Self, BadKey> {
        let bad = |error: ssh_key::Error| BadKey(error.to_string());
        Ok(KeyPair {
            private: key.to_openssh(LineEnding::LF).map_err(bad)?.to_string(),
            public: key.public_key().to_openssh().map_err(bad)?,
            wire: key.public_key().to_bytes().map_err(bad)?,
        })
    }
}

impl std::fmt::Debug for KeyPair {
    /// Never the private part.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_private(&key.private).unwrap();
        assert_eq!((&again.public, &again.wire), (&key.public, &key.wire));
        assert!(key.public.starts_with("ssh-ed25519 AAAA"));
        assert!(!format!("{key:?}").contains("PRIVATE"));
        assert!(KeyPair::from_private("nonsense").is_err());
    }
}
