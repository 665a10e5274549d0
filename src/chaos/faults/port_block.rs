//! `network.port_block`: what is for one port does not arrive, as behind a firewall.
//!
//! Proof: the switch has dropped frames because of it.

use super::links::{self, LinkFault, Proof, dropped, link_fault};
use super::rules::Traffic;
use super::{About, Documented};
use crate::network::{Filter, Impairment, Protocol};

link_fault!(PortBlock {
    /// The port, on the targets (direction `in`), on their peers (`out`), or on both.
    port: u16,
    /// Whose port it is.
    #[serde(default)]
    protocol: Protocol,
});

impl Documented for PortBlock {
    const ABOUT: About = About {
        details: "A firewall rule in the wrong place: what is for the port is dropped without a word, and \
                  connections that stood go silent in that direction.",
        example: "network.port_block: { target: { one: web }, port: 80, direction: in, with_client: true }",
        local: "The fleet's switch drops the packets of the protocol that are for the port. Of a packet in \
                pieces it drops the first.",
        proof: "The switch has dropped packets because of it. Where nobody sends any, some are sent on \
                purpose.",
        ..links::ABOUT
    };
}

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
