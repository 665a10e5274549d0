//! The handle to a running switch: start it, put rules on it, dial through it.
//!
//! Every call but [`Switch::dial`] waits for the switch's thread to finish its batch, a fraction of a
//! millisecond, and may be made from async code.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::sockopt::set_socket_send_buffer_size;

use super::capture::Capture;
use super::client::{Client, Neighbour};
use super::engine::{Driver, Engine};
use super::fabric::Fabric;
use super::hold::HeldFrame;
use super::port::{Port, PortStats};
use super::rule::{RuleCounters, RuleSet};
use super::{CLIENT, CLIENT_ADDRESS, CLIENT_MAC};
use crate::guest::{DialError, Stream};

/// One node on the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Rules and the DNS call the node by it.
    pub name: String,
    /// The node's hardware address: a unicast one, unique on the switch.
    pub mac: [u8; 6],
    /// The node's address, in the /24 of `client`.
    pub address: Ipv4Addr,
    /// Where the node calls, over a Unix stream socket on which each frame is preceded by its length (four bytes,
    /// big-endian). It may come, go and come again at any time; who calls last is the node.
    pub socket: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchSpec {
    /// The nodes. The port `client` is always there besides them.
    pub ports: Vec<PortSpec>,
    /// Where every delivered frame is recorded; an existing file is replaced.
    pub pcap: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("two ports have the {what} {value}")]
    Taken { what: &'static str, value: String },
    #[error("{mac} of port `{name}` is a multicast address")]
    Multicast { name: String, mac: String },
    #[error("there is no port `{0}`")]
    NoSuchPort(String),
    #[error("there is no link from `{0}` to itself")]
    SelfLink(String),
    #[error("the rules of `{0}` are installed already")]
    FaultInstalled(String),
    #[error("{what} is a chance between 0 and 1, not {chance}")]
    Chance { what: &'static str, chance: f64 },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the switch has stopped")]
    Stopped,
}

/// A running switch. Clones are handles to the same one; it ends when the last of them is dropped.
#[derive(Clone)]
pub struct Switch {
    inner: Arc<Inner>,
}

/// Dropped in this order: the client ends its connections while frames still move.
struct Inner {
    client: Client,
    driver: Driver,
}

impl Switch {
    /// Binds every port's socket and starts to move frames.
    pub fn start(spec: SwitchSpec) -> Result<Switch, NetworkError> {
        check(&spec.ports)?;
        let mut ports = Vec::with_capacity(spec.ports.len() + 1);
        for port in &spec.ports {
            let bound = Port::listen(&port.socket);
            ports.push(
                bound.map_err(|source| failed(format!("cannot bind {}", port.socket.display()), source))?,
            );
        }
        let capture = match &spec.pcap {
            Some(path) => Some(
                Capture::create(path)
                    .map_err(|source| failed(format!("cannot write {}", path.display()), source))?,
            ),
            None => None,
        };
        let thread = |source| failed("cannot start the switch's threads".to_owned(), source);
        let (ours, clients) = pair().map_err(thread)?;
        ports.push(Port::of(ours));
        let nodes = spec.ports.iter().map(|port| (port.name.clone(), port.mac));
        let fabric = Fabric::new(nodes.chain([(CLIENT.to_owned(), CLIENT_MAC)]));
        let neighbours = spec.ports.into_iter();
        let neighbours =
            neighbours.map(|PortSpec { name, address, mac, .. }| Neighbour { name, address, mac });
        let driver = Driver::start(Engine { fabric, ports, capture, held: None }).map_err(thread)?;
        let client = Client::start(clients, neighbours.collect()).map_err(thread)?;
        Ok(Switch { inner: Arc::new(Inner { client, driver }) })
    }

    /// Installs all rules of one fault between two frames. On an error none is installed.
    pub fn install(&self, rules: RuleSet) -> Result<(), NetworkError> {
        self.ask(move |engine| engine.fabric.install(Instant::now(), &rules)).ok_or(NetworkError::Stopped)?
    }

    /// Removes the rules of one fault and says what they did; `None` if there are none. Frames that its delay
    /// held back are delivered at once, unless the rules of another fault hold them.
    pub fn remove(&self, fault: &str) -> Option<RuleCounters> {
        let fault = fault.to_owned();
        self.ask(move |engine| {
            let mut out = Vec::new();
            let counters = engine.fabric.remove(Instant::now(), &fault, &mut out);
            engine.deliver(&out);
            counters
        })?
    }

    /// What the rules of one fault did so far; `None` if it is not installed.
    pub fn counters(&self, fault: &str) -> Option<RuleCounters> {
        let fault = fault.to_owned();
        self.ask(move |engine| engine.fabric.counters(&fault))?
    }

    /// Keeps back everything that would be delivered from here on, so that nothing is under way elsewhere.
    pub fn hold(&self) {
        // A switch that has stopped holds everything.
        let _ = self.ask(Engine::hold);
    }

    /// Ends the hold: delivers what was kept back, and gives a copy of what of it was for nodes.
    pub fn release(&self) -> Vec<HeldFrame> {
        self.ask(Engine::release).unwrap_or_default()
    }

    /// Delivers frames that were kept back in an earlier life of the nodes.
    pub fn inject(&self, frames: Vec<HeldFrame>) {
        // Frames may be lost.
        let _ = self.ask(move |engine| engine.inject(frames));
    }

    /// The installed faults, in order of installation.
    pub fn faults(&self) -> Vec<String> {
        self.ask(|engine| engine.fabric.faults()).unwrap_or_default()
    }

    /// What one port saw so far; `None` if there is no such port.
    pub fn stats(&self, port: &str) -> Option<PortStats> {
        let port = port.to_owned();
        self.ask(move |engine| {
            engine.fabric.index(&port).and_then(|index| engine.ports.get(index)).map(|port| port.stats)
        })?
    }

    /// Connects to TCP `port` of a node as `client`, through the rules; returns once the handshake is complete.
    pub async fn dial(
        &self,
        to: Ipv4Addr,
        port: u16,
        deadline: tokio::time::Instant,
    ) -> Result<Box<dyn Stream>, DialError> {
        self.inner.client.dial(to, port, deadline).await
    }

    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Engine) -> T + Send + 'static) -> Option<T> {
        self.inner.driver.ask(work)
    }
}

/// The client's place on the switch. Room for a window of every connection, as far as the host allows.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    for end in [&one, &other] {
        set_socket_send_buffer_size(end, 4 << 20)?;
    }
    Ok((one, other))
}

fn failed(what: String, source: io::Error) -> NetworkError {
    NetworkError::Io { what, source }
}

fn check(ports: &[PortSpec]) -> Result<(), NetworkError> {
    let mut names = HashSet::from([CLIENT]);
    let mut macs = HashSet::from([CLIENT_MAC]);
    let mut addresses = HashSet::from([CLIENT_ADDRESS]);
    for port in ports {
        if port.mac[0] & 1 == 1 {
            return Err(NetworkError::Multicast { name: port.name.clone(), mac: text(port.mac) });
        }
        if !names.insert(&port.name) {
            return Err(NetworkError::Taken { what: "name", value: port.name.clone() });
        }
        if !macs.insert(port.mac) {
            return Err(NetworkError::Taken { what: "hardware address", value: text(port.mac) });
        }
        if !addresses.insert(port.address) {
            return Err(NetworkError::Taken { what: "address", value: port.address.to_string() });
        }
    }
    Ok(())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
