//! The ways into a node that lead through its fleet's supervisor: connections to its ports, and to its SSH server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::control::{Address, Request, gone};
use crate::guest::ssh::Endpoint;
use crate::guest::{DialError, Dialer, Stream};

pub(crate) struct NodeDialer {
    pub address: Arc<Address>,
    pub node: String,
}

#[async_trait]
impl Dialer for NodeDialer {
    async fn dial(&self, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, DialError> {
        let within = deadline.saturating_duration_since(Instant::now());
        let request = Request::Dial { node: self.node.clone(), port, within };
        let dialed = async {
            let connection = self.address.connect().await;
            let mut connection = connection.map_err(|error| DialError::Fleet(error.to_string()))?;
            connection.dial(&request).await?;
            Ok(Box::new(connection.into_stream()) as Box<dyn Stream>)
        };
        // The supervisor keeps the deadline; this is for one that is stuck.
        let grace = deadline + Duration::from_secs(2);
        timeout_at(grace, dialed).await.unwrap_or_else(|_| Err(DialError::Fleet("it is stuck".to_owned())))
    }
}

pub(crate) struct SshEndpoint {
    pub address: Arc<Address>,
    pub node: String,
}

#[async_trait]
impl Endpoint for SshEndpoint {
    async fn address(&self) -> Result<SocketAddr, String> {
        let ask = async {
            let mut connection = self.address.connect().await.map_err(|error| gone(&error.to_string()))?;
            connection.ask::<u16>(&Request::SshPort { node: self.node.clone() }).await
        };
        let port = ask.await.map_err(|error| error.to_string())?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }
}
