//! A fleet spec resolved: every instance by name, with its address and its files rendered.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::guest::probe::ProbeSpec;
/// The node from which probes and workloads reach the service, and its address on every fleet's network.
pub use crate::network::{CLIENT, CLIENT_ADDRESS};
use crate::store::ImageId;
use crate::units::{Size, Span};

/// Everything a provider needs to create a fleet; a pure value, the same for the same spec and images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetPlan {
    pub name: String,
    /// In order of role name, then index.
    pub nodes: Vec<NodePlan>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePlan {
    /// `ROLE-INDEX`; resolves from every node and from `client`.
    pub name: String,
    pub role: String,
    /// From 1.
    pub index: u8,
    pub zone: String,
    /// On the fleet's network, 10.77.0.0/24; `client` is 10.77.0.1.
    pub address: Ipv4Addr,
    pub image: ImageId,
    pub memory: Size,
    pub cpus: u8,
    pub disk: Size,
    pub ready: Option<(ProbeSpec, Span)>,
    pub files: Vec<RenderedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    pub path: String,
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}
