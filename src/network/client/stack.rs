//! The TCP/IP stack of the node `client`: smoltcp on one port of the switch, with the names in its DNS.
//!
//! It owns every socket and knows when one may go. It never waits: its thread asks it to take a turn and
//! hears when the next one is due.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{Socket, tcp, udp};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpAddress, IpCidr,
};

use super::device::Device;
use crate::network::{CLIENT_ADDRESS, CLIENT_MAC, dns};

/// Bytes that a connection buffers in each direction. One more would need a scaled window, and the stack takes
/// back what it rounds off when it scales, which can lock up two connections of its kind.
const BUFFER: usize = 65_535;
/// The range of local ports; one is not used again before all others were.
const FIRST_PORT: u16 = 32_768;
/// Connections that were dropped but still have something to say, at most.
const LINGERING: usize = 128;
/// How much faster the stack's clock runs than ours. It never retransmits within a second of its clock, nor can
/// it be told to; this makes that 200 ms, as clients on Linux have it, and TIME-WAIT two seconds.
const CLOCK_RATE: u32 = 5;
/// How long a dropped connection tries to get its last bytes to a node that does not answer.
const LINGER: Duration = Duration::from_secs(60);
/// The stack forgets hardware addresses after a minute of its clock and then asks for one a second in all.
const NEIGHBOUR_REFRESH: Duration = Duration::from_secs(5);

/// A node as the client sees it.
#[derive(Debug, Clone)]
pub(in crate::network) struct Neighbour {
    pub(in crate::network) name: String,
    pub(in crate::network) address: Ipv4Addr,
    pub(in crate::network) mac: [u8; 6],
}

/// When the stack wants its next turn.
pub(super) struct Next {
    /// After so long at the latest.
    pub(super) within: Duration,
    /// As soon as the switch takes frames again.
    pub(super) when_writable: bool,
}

pub(super) struct Stack {
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    dns: SocketHandle,
    neighbours: Vec<Neighbour>,
    names: HashMap<String, Ipv4Addr>,
    /// Dropped by their users, oldest first.
    lingering: VecDeque<SocketHandle>,
    next_port: u16,
    started: Instant,
    refresh_at: Instant,
    ended: bool,
}

impl Stack {
    pub(super) fn new(socket: Arc<UnixStream>, neighbours: Vec<Neighbour>) -> Self {
        let mut device = Device::new(socket);
        let started = Instant::now();
        let mut config = Config::new(EthernetAddress(CLIENT_MAC).into());
        // Sequence numbers and ports are no part of the experiment: what a node remembers of an earlier client
        // must not be met again.
        config.random_seed = rand::random();
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The list has room for at least one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(CLIENT_ADDRESS), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let packets = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 256], vec![0; 64 << 10]);
        let mut resolver = udp::Socket::new(packets(), packets());
        // Fails only for port 0 and for a socket that is open already.
        let _ = resolver.bind(dns::PORT);
        let dns = sockets.add(resolver);
        let mut names: HashMap<String, Ipv4Addr> =
            neighbours.iter().map(|node| (node.name.to_ascii_lowercase(), node.address)).collect();
        names.insert(crate::network::CLIENT.to_owned(), CLIENT_ADDRESS);
        Stack {
            interface,
            device,
            sockets,
            dns,
            neighbours,
            names,
            lingering: VecDeque::new(),
            next_port: rand::random_range(FIRST_PORT..=u16::MAX),
            started,
            refresh_at: started,
            ended: false,
        }
    }

    pub(super) fn knows(&self, address: Ipv4Addr) -> bool {
        self.neighbours.iter().any(|node| node.address == address)
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Starts to connect. `None` if there is no such port or no local port is left.
    pub(super) fn connect(&mut self, to: Ipv4Addr, port: u16) -> Option<SocketHandle> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // Clients of services are request and response; waiting to fill a segment would only add to latency.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let local = self.local_port()?;
        socket.connect(self.interface.context(), (IpAddress::Ipv4(to), port), local).ok()?;
        Some(self.sockets.add(socket))
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Takes back a connection that its user dropped: what was written still goes out, unless something that
    /// the node sent was never read; then the node is told so by a reset.
    pub(super) fn give_up(&mut self, handle: SocketHandle) {
        let socket = self.socket(handle);
        if socket.can_recv() {
            socket.abort();
        } else {
            socket.close();
            socket.set_timeout(Some((LINGER * CLOCK_RATE).into()));
        }
        self.lingering.push_back(handle);
    }

    /// Resets every connection: nothing moves them any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for (_, socket) in self.sockets.iter_mut() {
            if let Socket::Tcp(socket) = socket {
                socket.abort();
            }
        }
    }

    /// Receives, answers, sends.
    pub(super) fn turn(&mut self) -> Next {
        if self.refresh_at <= Instant::now() {
            self.introduce_neighbours();
            self.refresh_at = Instant::now() + NEIGHBOUR_REFRESH;
        }
        self.device.allow_batch();
        self.poll();
        while self.answer_names() {
            self.poll();
        }
        self.reap();
        let when_writable = self.device.flush();
        let now = self.now();
        let within = match self.interface.poll_delay(now, &self.sockets) {
            // What is due now but does not get out waits for the switch.
            Some(delay) if !(when_writable && delay == smoltcp::time::Duration::ZERO) => {
                Duration::from(delay) / CLOCK_RATE
            }
            _ => NEIGHBOUR_REFRESH,
        };
        Next { within: within.min(self.refresh_at.saturating_duration_since(Instant::now())), when_writable }
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.device, &mut self.sockets);
    }

    /// Has the stack learn every node's hardware address, as from a static table: a dial must measure the
    /// way to the node and not how often the question for its address got lost.
    fn introduce_neighbours(&mut self) {
        for node in &self.neighbours {
            let arp = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress(node.mac),
                source_protocol_addr: node.address,
                target_hardware_addr: EthernetAddress(CLIENT_MAC),
                target_protocol_addr: CLIENT_ADDRESS,
            };
            let header = EthernetRepr {
                src_addr: EthernetAddress(node.mac),
                dst_addr: EthernetAddress(CLIENT_MAC),
                ethertype: EthernetProtocol::Arp,
            };
            let mut bytes = vec![0; header.buffer_len() + arp.buffer_len()];
            let mut frame = EthernetFrame::new_unchecked(&mut bytes);
            header.emit(&mut frame);
            arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            self.device.inject(bytes);
        }
    }

    fn answer_names(&mut self) -> bool {
        let socket = self.sockets.get_mut::<udp::Socket>(self.dns);
        let mut answered = false;
        while let Ok((query, from)) = socket.recv() {
            let reply = dns::answer(query, |name| self.names.get(name).copied());
            // A full buffer loses the reply, as a busy server would.
            answered |= reply.is_some_and(|reply| socket.send_slice(&reply, from).is_ok());
        }
        answered
    }

    /// Frees the sockets of dropped connections that are done, and the oldest when there are too many.
    fn reap(&mut self) {
        let excess = self.lingering.len().saturating_sub(LINGERING);
        let mut index = 0;
        self.lingering.retain(|handle| {
            let socket = self.sockets.get_mut::<tcp::Socket>(*handle);
            let closed = socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none();
            let settled = socket.state() == tcp::State::TimeWait;
            if closed || (settled && index < excess) {
                self.sockets.remove(*handle);
                index += 1;
                return false;
            }
            // Nobody will read it, and the node should not wait for that.
            if socket.can_recv() || index < excess {
                socket.abort();
            }
            index += 1;
            true
        });
    }

    fn local_port(&mut self) -> Option<u16> {
        (FIRST_PORT..=u16::MAX).find_map(|_| {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            let taken = self.sockets.iter().any(|(_, socket)| match socket {
                Socket::Tcp(socket) => socket.local_endpoint().is_some_and(|local| local.port == port),
                _ => false,
            });
            (!taken).then_some(port)
        })
    }

    fn now(&self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(
            i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX),
        )
    }
}
