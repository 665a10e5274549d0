//! The userspace switch that joins local VMs, and the ways in which its links fail on purpose.
//!
//! The switch is a library driven by the fleet's supervisor. It knows ports by name, frames and rules; it
//! knows nothing of VMs, scenarios or verdicts. It touches nothing of the host but the Unix sockets it is
//! told to use: no bridge, no TAP device, no firewall rule.
//!
//! | part | owns |
//! |---|---|
//! | [`rule`] | the rules as data: what the engine above asks for |
//! | `fabric` | forwarding and rules as a pure state machine over frames and instants |
//! | `stage` | one rule on one link: its random stream, its clock, its counters |
//! | `packet` | what rules read in a frame, and the packets that they make |
//! | `port`, `wire` | Unix sockets with frames on them, and what waits for a slow receiver |
//! | `engine` | the thread that moves the frames |
//! | `capture` | the pcap file |
//! | `client`, [`dns`] | the node from which this process dials, and the names it answers |
//! | [`switch`] | the handle that other rooms hold |

use std::net::Ipv4Addr;

mod capture;
mod client;
pub mod dns;
mod engine;
mod fabric;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hold;
mod packet;
mod port;
pub mod rule;
mod stage;
pub mod switch;
#[cfg(test)]
mod tests;
mod wake;
mod wire;

pub use hold::HeldFrame;
pub use port::PortStats;
pub use rule::{
    Bursts, Distribution, Filter, Flap, Impairment, Lie, LinkRule, Names, Protocol, RuleCounters, RuleSet,
};
pub use switch::{NetworkError, PortSpec, Switch, SwitchSpec};

/// The port from which this process itself reaches the nodes.
pub const CLIENT: &str = "client";
/// Its address; every port is in the same /24.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its hardware address: locally administered, made of its address.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0x00, 10, 77, 0, 1];
