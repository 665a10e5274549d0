//! Reaching into one instance: opening a connection to a port, running a command, measuring once.
//!
//! This room knows one instance at a time and nothing of fleets, faults or scenarios. Providers hand
//! out [`Dialer`]s and [`Session`]s; probes and workload clients use them.

pub mod dial;
#[cfg(test)]
pub(crate) mod fake;
pub mod http;
pub mod key;
pub mod postgres;
pub mod probe;
pub mod redis;
pub mod session;
pub mod ssh;

pub use dial::{DialError, Dialer, Stream};
pub use key::KeyPair;
pub use session::{ExecOutput, ExitStatus, Session, SessionError};
pub use ssh::SshSession;
