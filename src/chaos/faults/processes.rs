//! What faults of processes share: which processes are meant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All of this name, as `ps -o comm` shows it: at most 15 characters, without path and arguments.
    Name(String),
    /// All of this service of systemd, such as `nginx.service`, whoever started them.
    Service(String),
}

impl Which {
    pub(super) fn vars(&self) -> Vec<(&'static str, String)> {
        match self {
            Which::Name(name) => vec![("process", name.clone()), ("whose", format!("`{name}`"))],
            Which::Service(name) => vec![("service", unit(name)), ("whose", unit(name))],
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Which::Name(name) if name.is_empty() || name.len() > 15 || name.contains('/') => Err(format!(
                "`{name}` is not a name that `ps -o comm` shows: 1 to 15 characters, without a path"
            )),
            Which::Name(_) => Ok(()),
            Which::Service(name) => check_unit(name),
        }
    }
}

/// A service's full name.
pub(super) fn unit(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.service") }
}

pub(super) fn check_unit(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    match !name.is_empty() && !name.starts_with(['-', '.']) && name.chars().all(good) {
        true => Ok(()),
        false => Err(format!("`{name}` is not the name of a service")),
    }
}
