//! A fleet spec resolved: every instance by name, with its address and its files rendered.
//!
//! [`resolve`] is pure apart from the image look-up it is given; it creates nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tera::{Context, Tera};

use super::spec::{FleetSpec, RoleSpec};
use crate::diagnostic::Position;
use crate::guest::probe::ProbeSpec;
/// The node from which probes and workloads reach the service, and its address on every fleet's network.
pub use crate::network::{CLIENT, CLIENT_ADDRESS};
use crate::recipe::InstanceFile;
use crate::store::{Image, ImageId};
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
/// The node from which probes and workloads reach the service, and its address on every fleet's network.
pub use crate::network::{CLIENT, CLIENT_ADDRESS};
use crate::recipe::InstanceFile;
use crate::store::{Image, ImageId};
