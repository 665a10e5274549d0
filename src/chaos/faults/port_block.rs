//! `network.port_block`: what is for one port does not arrive, as behind a firewall.
//!
//! Proof: the switch has dropped frames because of it.

use super::links::{LinkFault, Proof, dropped, link_fault};
use super::rules::Traffic;
use crate::network::{Filter, Impairment, Protocol};

link_fault!(PortBlock {
    /// The port, on the targets (direction `in`), on their peers (`out`), or on both.
    port: u16,
    #[serde(default)]
    protocol: Protocol,
});

impl LinkFault for PortBlock {
    fn impairment(&self) -> Impairment {
        let only = Filter { protocol: self.protocol, port: Some(self.port), replies: false };
        Impairment { only: Some(only), cut: true, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        dropped
    }

    fn traffic(&self) -> Traffic {
        match self.protocol {
            Protocol::Tcp => Traffic::Connection(self.port),
            Protocol::Udp => Traffic::Datagrams(self.port),
        }
    }

    fn sensible(&self) -> Result<(), String> {
        match self.port {
            0 => Err("port 0 is no port that anything could be sent to".to_owned()),
            _ => Ok(()),
        }
    }
}
