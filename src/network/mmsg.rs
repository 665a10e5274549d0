//! Many datagrams a system call. The only place of this room that talks to the kernel without a safe wrapper.
//!
//! It moves bytes between sockets and buffers and never interprets them.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams a call, at most.
pub(super) const BATCH: usize = 64;
/// The longest frame that is taken; longer ones are reported as cut short.
pub(super) const MAX_FRAME: usize = 9_216;
/// Distance of two buffers: not a power of two, so that they do not compete for the same cache lines.
const STRIDE: usize = MAX_FRAME + 192;

/// Buffers for one call of [`Inbox::receive`], used again and again.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// Length of each received frame; `None` if it was longer than [`MAX_FRAME`].
    lengths: Vec<Option<usize>>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Inbox { bytes: vec![0; BATCH * STRIDE], lengths: Vec::with_capacity(BATCH) }
    }

    /// Takes what is there without waiting, [`BATCH`] datagrams at most, and says how many.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.lengths.clear();
        // SAFETY: both types are plain C structures for which all-zero bytes are a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        for ((vector, header), buffer) in
            vectors.iter_mut().zip(&mut headers).zip(self.bytes.chunks_exact_mut(STRIDE))
        {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = MAX_FRAME;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `headers` has BATCH entries, each with one vector that points to MAX_FRAME writable bytes of
        // `self.bytes`; vectors, headers and bytes outlive the call and nothing else refers to the bytes.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.lengths.extend(headers.iter().take(count).map(|header| {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            whole.then_some(header.msg_len as usize)
        }));
        Ok(count)
    }

    /// One frame of the last call; `None` if it was too long or there is none.
    pub(super) fn frame(&self, index: usize) -> Option<&[u8]> {
        let length = (*self.lengths.get(index)?)?;
        self.bytes.get(index * STRIDE..)?.get(..length)
    }

    /// The frames of the last call, in order of arrival; `None` stands for one that was too long.
    pub(super) fn frames(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.bytes
            .chunks_exact(STRIDE)
            .zip(&self.lengths)
            .map(|(buffer, length)| length.and_then(|length| buffer.get(..length)))
    }
}

/// Sends the first [`BATCH`] of `frames` over a connected socket without waiting. Says how many the kernel
/// took; an error means that not even the first was taken.
pub(super) fn send<T: AsRef<[u8]>>(socket: BorrowedFd<'_>, frames: &[T]) -> io::Result<usize> {
    // SAFETY: both types are plain C structures for which all-zero bytes are a valid value.
    let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let count = frames.len().min(BATCH);
    for ((vector, header), frame) in vectors.iter_mut().zip(&mut headers).zip(frames) {
        let frame = frame.as_ref();
        vector.iov_base = frame.as_ptr().cast_mut().cast();
        vector.iov_len = frame.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers each have one vector over a frame that is borrowed for the whole call;
    // the kernel only reads the bytes of a vector when sending.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
