//! Fake nodes: the far end of a port, as a hypervisor would hold it.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::network::{Impairment, LinkRule, PortSpec, RuleSet, Switch, SwitchSpec};

/// Far longer than anything takes; reached only by a test that fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn mac(index: u8) -> [u8; 6] {
    [0x02, 0, 10, 77, 0, 10 + index]
}

pub(super) fn address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 10 + index)
}

/// A folder with the sockets of the nodes `n1`, `n2` and so on.
pub(super) struct Site {
    folder: TempDir,
    pub(super) spec: SwitchSpec,
}

impl Site {
    pub(super) fn new(nodes: u8) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = (1..=nodes).map(|index| PortSpec {
            name: format!("n{index}"),
            mac: mac(index),
            address: address(index),
            local: folder.path().join(format!("{index}.switch")),
            remote: folder.path().join(format!("{index}.node")),
        });
        let spec = SwitchSpec { ports: ports.collect(), pcap: None };
        Site { folder, spec }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn start(&self) -> Switch {
        Switch::start(self.spec.clone()).expect("a switch")
    }

    pub(super) fn port(&self, index: u8) -> &PortSpec {
        &self.spec.ports[usize::from(index) - 1]
    }

    pub(super) fn node(&self, index: u8) -> Node {
        let port = self.port(index);
        Node::at(&port.remote, &port.local, mac(index))
    }
}

/// One node that speaks raw frames.
pub(super) struct Node {
    socket: UnixDatagram,
    switch: PathBuf,
    mac: [u8; 6],
}

impl Node {
    fn at(own: &Path, switch: &Path, mac: [u8; 6]) -> Self {
        let _ = std::fs::remove_file(own);
        let socket = UnixDatagram::bind(own).expect("the node's socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Node { socket, switch: switch.to_owned(), mac }
    }

    /// Sends a frame with this payload; `to` is a hardware address.
    pub(super) fn send(&self, to: [u8; 6], payload: &[u8]) {
        self.send_raw(&frame(to, self.mac, payload));
    }

    pub(super) fn send_raw(&self, frame: &[u8]) {
        self.socket.send_to(frame, &self.switch).expect("a running switch");
    }

    /// Waits for the next frame and returns its payload.
    pub(super) fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 10_000];
        let length = self.socket.recv(&mut buffer).expect("a frame");
        buffer[14..length].to_vec()
    }

    /// Whether nothing waits to be received.
    pub(super) fn is_idle(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let nothing = self.socket.recv(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).expect("a socket");
        nothing
    }
}

pub(super) fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    // An experimental ethertype, so that no stack takes an interest.
    [&to[..], &from, &[0x88, 0xb5], payload].concat()
}

/// A set named `fault` with the same impairment on each of the links.
pub(super) fn rules(fault: &str, links: &[(&str, &str)], impairment: &Impairment) -> RuleSet {
    let rules = links.iter().map(|(from, to)| LinkRule {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
        impairment: impairment.clone(),
    });
    RuleSet { fault: fault.to_owned(), seed: 7, rules: rules.collect() }
}
