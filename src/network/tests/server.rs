//! A node with a TCP stack of its own: an echo service behind a port of the switch.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::pipe;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::network::PortSpec;
use crate::network::wire::{Reader, Writer};

/// Sends back what it gets; closes when the client has.
pub(super) const ECHO: u16 = 7;
/// Never reads.
pub(super) const DEAF: u16 = 8;
/// Resets the connection at the first byte.
pub(super) const RESET: u16 = 9;
/// Sends `hello` and closes.
pub(super) const HELLO: u16 = 10;

/// The stack's clock is fast, because its retransmissions are slow.
const CLOCK_RATE: i64 = 5;
/// How many connections a service takes at once.
const BACKLOG: usize = 40;

/// Bytes that a connection buffers in each direction.
pub(super) const BUFFER: usize = 65_535;

/// Runs until dropped.
pub(super) struct Server {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(at: &PortSpec) -> Self {
        let (stopped, stop) = pipe().expect("a pipe");
        let stream = UnixStream::connect(&at.socket).expect("a running switch");
        let (mac, address) = (at.mac, at.address);
        let thread = std::thread::spawn(move || serve(stream, mac, address, &stopped));
        Server { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(stream: UnixStream, mac: [u8; 6], address: Ipv4Addr, stopped: &OwnedFd) {
    let started = Instant::now();
    let mut wire = Wire { stream, reader: Reader::default(), writer: Writer::default(), waiting: Vec::new() };
    let mut interface =
        Interface::new(Config::new(EthernetAddress(mac).into()), &mut wire, smoltcp::time::Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24)).expect("room");
    });
    let mut sockets = SocketSet::new(Vec::new());
    let mut services = Vec::new();
    for service in [ECHO, DEAF, RESET, HELLO] {
        for _ in 0..BACKLOG {
            let buffer = || SocketBuffer::new(vec![0; BUFFER]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.set_ack_delay(None);
            socket.listen(service).expect("a new socket");
            services.push((service, sockets.add(socket)));
        }
    }
    loop {
        let now = smoltcp::time::Instant::from_micros(started.elapsed().as_micros() as i64 * CLOCK_RATE);
        interface.poll(now, &mut wire, &mut sockets);
        for (service, handle) in &services {
            step(*service, sockets.get_mut(*handle));
        }
        if interface.poll(now, &mut wire, &mut sockets) == PollResult::SocketStateChanged {
            continue;
        }
        if wire.writer.flush(wire.stream.as_fd()).is_err() {
            return;
        }
        let wait = interface.poll_delay(now, &sockets).map_or(Duration::from_secs(1), Duration::from)
            / CLOCK_RATE as u32;
        let behind = wire.writer.waiting() > 0;
        let interest = if behind { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = [
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(wire.stream.as_fd(), interest),
        ];
        let _ = poll(&mut polled, Timespec::try_from(wait).ok().as_ref());
        if !polled[0].revents().is_empty() {
            return;
        }
    }
}

fn step(service: u16, socket: &mut Socket<'_>) {
    if !socket.is_open() {
        socket.listen(service).expect("a closed socket");
    }
    if socket.state() == State::Listen {
        return;
    }
    match service {
        ECHO => {
            while socket.can_recv() && socket.can_send() {
                let room = socket.send_capacity() - socket.send_queue();
                let bytes =
                    socket.recv(|bytes| (bytes.len().min(room), bytes[..bytes.len().min(room)].to_vec()));
                socket.send_slice(&bytes.expect("bytes")).expect("room");
            }
            if socket.state() == State::CloseWait && !socket.can_recv() {
                socket.close();
            }
        }
        RESET if socket.can_recv() => socket.abort(),
        HELLO if socket.state() == State::Established => {
            socket.send_slice(b"hello").expect("room");
            socket.close();
        }
        _ => {}
    }
}

struct Wire {
    stream: UnixStream,
    reader: Reader,
    writer: Writer,
    waiting: Vec<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sender<'_>)> {
        if self.waiting.is_empty() {
            self.reader.fill(self.stream.as_fd()).ok()?;
            self.waiting = self.reader.take().flatten().map(<[u8]>::to_vec).collect();
            self.waiting.reverse();
        }
        let frame = self.waiting.pop()?;
        Some((Received(frame), Sender(&mut self.writer)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sender<'_>> {
        Some(Sender(&mut self.writer))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sender<'a>(&'a mut Writer);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push(&frame);
        result
    }
}
