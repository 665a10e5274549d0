//! Opening a connection to a port of one instance, from where clients of the service would stand.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// A byte stream to a port of an instance.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Why no connection came about. In every case nothing was sent, so an operation that needed the
/// connection definitely did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The instance answered that nothing listens there.
    #[error("connection refused")]
    Refused,
    /// The instance is not running, or there is no way to it.
    #[error("host unreachable")]
    Unreachable,
    /// Nothing answered before the deadline.
    #[error("connection timed out")]
    TimedOut,
    /// The fleet itself could not be asked: the supervisor is gone, a socket failed.
    #[error("the fleet did not answer: {0}")]
    Fleet(String),
}

/// Connects to one instance as the node `client`: through the fleet's network, where faults apply.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Connects to TCP `port`; returns once the handshake is complete.
    async fn dial(&self, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, DialError>;
}
