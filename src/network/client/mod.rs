//! The node `client`: a TCP/IP stack of our own on one port of the switch, and connections through it.
//!
//! It has its own thread, so that what clients do never delays a frame between two nodes. Rules apply to its
//! links as to any other. It speaks TCP to nodes, answers their DNS queries and pings, and listens to nothing
//! else.

mod connection;
mod device;
mod stack;

#[cfg(fuzzing)]
pub(super) mod fuzzing {
    //! The stack alone, to be driven by hand.

    use super::*;

    pub(in crate::network) struct Client(Stack);

    impl Client {
        pub(in crate::network) fn new(socket: Arc<UnixStream>, mac: [u8; 6]) -> Self {
            let address = Ipv4Addr::new(10, 77, 0, 11);
            Client(Stack::new(socket, vec![Neighbour { name: "guest".to_owned(), address, mac }]))
        }

        pub(in crate::network) fn turn(&mut self) {
            self.0.turn();
        }
    }
}

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::{io, mem};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::socket::tcp;

use self::connection::Connection;
pub(super) use self::stack::Neighbour;
use self::stack::{Next, Stack};
use super::wake::Wake;
use crate::guest::{DialError, Stream};

/// The running client; it ends when this is dropped, and every connection with it.
pub(super) struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stack: Mutex<Stack>,
    wake: Wake,
}

impl Shared {
    /// A panic of the thread that held the stack ended the stack as well, so what is found is whole.
    fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the stack when its thread ends, in whatever way, so that nobody waits for it in vain.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stack().end();
    }
}

impl Client {
    /// `socket` is the client's end of a pair whose other end is a port of the switch.
    pub(super) fn start(socket: UnixStream, nodes: Vec<Neighbour>) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let stack = Mutex::new(Stack::new(Arc::clone(&socket), nodes));
        let shared = Arc::new(Shared { stack, wake: Wake::new()? });
        let ending = Ending(Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("client".to_owned()).spawn(move || run(&ending.0, &socket))?;
        Ok(Client { shared, thread: Some(thread) })
    }

    pub(super) async fn dial(
        &self,
        to: Ipv4Addr,
        port: u16,
        deadline: tokio::time::Instant,
    ) -> Result<Box<dyn Stream>, DialError> {
        let connection = self.connect(to, port)?;
        let established = poll_fn(|context| {
            let mut stack = connection.stack();
            let ended = stack.ended();
            let socket = stack.socket(connection.handle());
            match socket.state() {
                tcp::State::Closed if ended => Poll::Ready(Err(stopped())),
                // Nothing else closes a socket that has no time limit of its own.
                tcp::State::Closed => Poll::Ready(Err(DialError::Refused)),
                tcp::State::SynSent | tcp::State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(())),
            }
        });
        match tokio::time::timeout_at(deadline, established).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(DialError::TimedOut),
        }
        Ok(Box::new(connection))
    }

    fn connect(&self, to: Ipv4Addr, port: u16) -> Result<Connection, DialError> {
        let mut stack = self.shared.stack();
        if stack.ended() {
            return Err(stopped());
        }
        if !stack.knows(to) {
            return Err(DialError::Unreachable);
        }
        if port == 0 {
            return Err(DialError::Refused);
        }
        let handle =
            stack.connect(to, port).ok_or_else(|| DialError::Fleet("no local port is free".to_owned()))?;
        drop(stack);
        self.shared.wake.wake();
        Ok(Connection::new(Arc::clone(&self.shared), handle))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stack().end();
        self.shared.wake.wake();
        if let Some(thread) = mem::take(&mut self.thread) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn stopped() -> DialError {
    DialError::Fleet("the switch has stopped".to_owned())
}

fn run(shared: &Shared, socket: &UnixStream) {
    loop {
        // Cleared before the turn: who wakes us after this has written after it, too, or is seen by it.
        shared.wake.clear();
        let mut stack = shared.stack();
        let Next { within, when_writable } = stack.turn();
        let ended = stack.ended();
        drop(stack);
        if ended {
            return;
        }
        let interest = if when_writable { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = [
            PollFd::from_borrowed_fd(shared.wake.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(socket.as_fd(), interest),
        ];
        // Interrupted or not, the next turn looks at everything anew.
        let _ = poll(&mut polled, Timespec::try_from(within).ok().as_ref());
    }
}
