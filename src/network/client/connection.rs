//! One TCP connection of the client, as a stream.
//!
//! It holds a place in the stack and nothing else; the stack's thread does the talking. There are no time
//! limits in here: who waits for a node that does not answer brings their own.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::RecvError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::stack::Stack;

/// Dropping it closes the connection. What was written is still sent, unless bytes that arrived were never
/// read: then the node gets a reset.
pub(super) struct Connection {
    shared: Arc<Shared>,
    handle: SocketHandle,
    /// Whether we have closed our direction.
    shut: bool,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, handle: SocketHandle) -> Self {
        Connection { shared, handle, shut: false }
    }

    pub(super) fn stack(&self) -> MutexGuard<'_, Stack> {
        self.shared.stack()
    }

    pub(super) fn handle(&self) -> SocketHandle {
        self.handle
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut stack = self.stack();
        let socket = stack.socket(self.handle);
        let queued = socket.recv_queue();
        let taken = socket.recv(|bytes| {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(bytes.get(..count).unwrap_or_default());
            (count, count)
        });
        match taken {
            Ok(0) => {
                socket.register_recv_waker(context.waker());
                Poll::Pending
            }
            Ok(_) => {
                // The node may have stopped for want of room; with little queued it has not.
                let crowded = queued >= socket.recv_capacity() / 4;
                drop(stack);
                if crowded {
                    self.shared.wake.wake();
                }
                Poll::Ready(Ok(()))
            }
            Err(RecvError::Finished) => Poll::Ready(Ok(())),
            Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut stack = self.stack();
        let socket = stack.socket(self.handle);
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
            Ok(count) => {
                drop(stack);
                self.shared.wake.wake();
                Poll::Ready(Ok(count))
            }
            Err(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Written bytes are on their way without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stack().socket(self.handle).close();
        self.shut = true;
        self.shared.wake.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stack().give_up(self.handle);
        self.shared.wake.wake();
    }
}
