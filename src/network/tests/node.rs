//! Fake nodes: the far end of a port, as a hypervisor would hold it.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
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
            socket: folder.path().join(format!("{index}.sock")),
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

    /// Joins a switch that runs.
    pub(super) fn node(&self, index: u8) -> Node {
        Node::at(&self.port(index).socket, mac(index))
    }
}

/// One node that speaks raw frames.
pub(super) struct Node {
    stream: UnixStream,
    mac: [u8; 6],
}

impl Node {
    fn at(switch: &Path, mac: [u8; 6]) -> Self {
        let stream = UnixStream::connect(switch).expect("a running switch");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Node { stream, mac }
    }

    /// Sends a frame with this payload; `to` is a hardware address.
    pub(super) fn send(&self, to: [u8; 6], payload: &[u8]) {
        self.send_raw(&frame(to, self.mac, payload));
    }

    pub(super) fn send_raw(&self, frame: &[u8]) {
        let length = (frame.len() as u32).to_be_bytes();
        (&self.stream).write_all(&[&length, frame].concat()).expect("a running switch");
    }

    /// Sends bytes that are no frames.
    pub(super) fn send_bytes(&self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).expect("a running switch");
    }

    /// Waits for the next frame and returns its payload.
    pub(super) fn receive(&self) -> Vec<u8> {
        let mut length = [0; 4];
        (&self.stream).read_exact(&mut length).expect("a frame");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        (&self.stream).read_exact(&mut frame).expect("a frame");
        frame.split_off(14)
    }

    /// Whether nothing waits to be received.
    pub(super) fn is_idle(&self) -> bool {
        let found = recv(&self.stream, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK);
        found.is_err_and(|error| error == Errno::AGAIN)
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
