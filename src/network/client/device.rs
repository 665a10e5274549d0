//! The wire between the stack of `client` and the switch, as smoltcp wants to see it.
//!
//! It carries frames, a batch a system call; when the switch is behind, the stack has to wait, and no frame
//! is lost on this stretch.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use smoltcp::phy::{DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::network::wire::{Reader, Writer};

/// Ethernet header and 1500 bytes.
const MAX_FRAME: usize = 1_514;

/// Bytes that wait for the switch, at most: some sixty full frames.
const OUTBOX: usize = 96 << 10;

pub(super) struct Device {
    socket: Arc<UnixStream>,
    reader: Reader,
    /// What was read and is still to be received.
    inbox: VecDeque<Vec<u8>>,
    /// Whether another batch may be taken in this turn.
    may_receive: bool,
    outbox: Writer,
    /// Frames that come from nowhere, before everything else.
    injected: Vec<Vec<u8>>,
}

impl Device {
    pub(super) fn new(socket: Arc<UnixStream>) -> Self {
        Device {
            socket,
            reader: Reader::default(),
            inbox: VecDeque::new(),
            may_receive: false,
            outbox: Writer::default(),
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
        if self.outbox.flush(self.socket.as_fd()).is_err() {
            // The switch is gone, and with it everyone who could miss these.
            self.outbox = Writer::default();
        }
        self.outbox.waiting() > 0
    }

    fn has_room(&mut self) -> bool {
        if self.outbox.waiting() >= OUTBOX {
            self.flush();
        }
        self.outbox.waiting() < OUTBOX
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        if let Some(frame) = self.injected.pop() {
            return Some(frame);
        }
        if self.inbox.is_empty() && std::mem::take(&mut self.may_receive) {
            // With a switch that is gone there is nothing to receive.
            if self.reader.fill(self.socket.as_fd()).unwrap_or(false) {
                self.inbox.extend(self.reader.take().flatten().map(<[u8]>::to_vec));
            }
        }
        self.inbox.pop_front()
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

pub(super) struct Outgoing<'a>(&'a mut Writer);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push(&frame);
        result
    }
}
