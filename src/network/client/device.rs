//! The wire between the stack of `client` and the switch, as smoltcp wants to see it.
//!
//! It carries frames, a batch a system call; when the switch is behind, the stack has to wait, and no frame
//! is lost on this stretch.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use smoltcp::phy::{DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::network::mmsg::{self, BATCH, Inbox};

/// Ethernet header and 1500 bytes.
const MAX_FRAME: usize = 1_514;

pub(super) struct Device {
    socket: Arc<UnixDatagram>,
    inbox: Inbox,
    received: usize,
    next: usize,
    /// Whether another batch may be taken in this turn.
    may_receive: bool,
    outbox: Vec<Vec<u8>>,
    /// Frames that come from nowhere, before everything else.
    injected: Vec<Vec<u8>>,
}

impl Device {
    pub(super) fn new(socket: Arc<UnixDatagram>) -> Self {
        Device {
            socket,
            inbox: Inbox::new(),
            received: 0,
            next: 0,
            may_receive: false,
            outbox: Vec::new(),
            injected: Vec::new(),
        }
    }

    /// Allows one more batch to be received, so that a turn of the stack is never endless.
    pub(super) fn allow_batch(&mut self) {
        self.may_receive = true;
    }

    /// Has the stack receive a frame that nobody sent.
    pub(super) fn inject(&mut self, frame: Vec<u8>) {
        self.injected.push(frame);
    }

    /// Sends what the stack wrote; whether something is left because the switch is behind.
    pub(super) fn flush(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match mmsg::send(self.socket.as_fd(), &self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The switch is gone, and with it everyone who could miss these.
                Err(_) => self.outbox.clear(),
            }
        }
        false
    }

    fn has_room(&mut self) -> bool {
        if self.outbox.len() >= BATCH {
            self.flush();
        }
        self.outbox.len() < BATCH
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        if let Some(frame) = self.injected.pop() {
            return Some(frame);
        }
        if self.next == self.received && std::mem::take(&mut self.may_receive) {
            self.next = 0;
            self.received = self.inbox.receive(self.socket.as_fd()).unwrap_or(0);
        }
        while self.next < self.received {
            self.next += 1;
            if let Some(frame) = self.inbox.frame(self.next - 1) {
                return Some(frame.to_vec());
            }
        }
        None
    }
}

impl smoltcp::phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Outgoing<'_>)> {
        if !self.has_room() {
            return None;
        }
        let frame = self.next_frame()?;
        Some((Received(frame), Outgoing(&mut self.outbox)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        self.has_room().then_some(Outgoing(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(super) struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}
