//! `network.reset`: TCP connections to and from the targets break off; each end is told that the other has
//! ended them.
//!
//! Proof: the switch has sent resets because of it.

use super::links::{self, LinkFault, Proof, link_fault, some};
use super::rules::Traffic;
use super::{About, Documented};
use crate::network::{Filter, Impairment, Protocol};
use crate::units::Share;

/// Where every instance listens.
const SSH: u16 = 22;

fn all() -> Share {
    Share(1.0)
}

link_fault!(Reset {
    /// Only connections to this port, whichever end has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Chance of each segment to end its connection, drawn by the seed.
    #[serde(default = "all")]
    share: Share,
});

impl Documented for Reset {
    const ABOUT: About = About {
        details: "As by a load balancer that restarts or a firewall that forgot its connections. Connections \
                  can still be made; their first segment, or a later one, ends them for both sides.",
        example: "network.reset: { target: { one: web }, port: 80, share: 10% }",
        local: "The fleet's switch replaces a TCP segment by a reset to each end, with the numbers that \
                these expect, by lot from the run's seed.",
        proof: "The switch has sent resets because of it. Where no connection is in use, one is made on \
                purpose.",
        ..links::ABOUT
    };
}

impl LinkFault for Reset {
    fn impairment(&self) -> Impairment {
        let only = Filter { protocol: Protocol::Tcp, port: self.port, replies: true };
        Impairment { only: Some(only), reset: self.share.0, ..Default::default() }
    }

    fn proof(&self) -> Proof {
        |counters| {
            (counters.reset > 0).then(|| format!("the switch reset connections {} times", counters.reset))
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::Connection(self.port.unwrap_or(SSH))
    }

    fn sensible(&self) -> Result<(), String> {
        some(self.share, "a share")?;
        match self.port {
            Some(0) => Err("port 0 is no port that a connection could have".to_owned()),
            _ => Ok(()),
        }
    }
}
