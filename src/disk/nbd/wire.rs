//! Bytes in and out in as few system calls as the other end allows: many small requests come in one read,
//! and their answers go out in one write.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

/// Some sixty small writes, or thousands of requests without data.
const INPUT: usize = 256 << 10;
/// Answers are held back for others to join them up to this.
const OUTPUT: usize = 256 << 10;
/// A buffer that a huge read made huge is given back.
const KEPT: usize = 4 << 20;

pub(super) struct Input<R> {
    stream: R,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(stream: R) -> Self {
        Input { stream, buffer: vec![0; INPUT], from: 0, to: 0 }
    }

    /// Whether so many bytes, at most a buffer's worth, are here without waiting.
    pub(super) fn has(&self, count: usize) -> bool {
        self.to - self.from >= count
    }

    /// The next bytes. An error of the kind `UnexpectedEof` if the other end has closed.
    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        while !self.has(N) {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            match self.stream.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.to += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut array = [0; N];
        array.copy_from_slice(&self.buffer[self.from..self.from + N]);
        self.from += N;
        Ok(array)
    }

    /// The next `count` bytes, straight to where they stay.
    pub(super) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let here = count.min(self.to - self.from);
        let mut bytes = Vec::with_capacity(count);
        bytes.extend_from_slice(&self.buffer[self.from..self.from + here]);
        self.from += here;
        let missing = (count - here) as u64;
        match (&mut self.stream).take(missing).read_to_end(&mut bytes)? as u64 == missing {
            true => Ok(bytes),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: usize) -> io::Result<()> {
        let here = count.min(self.to - self.from);
        self.from += here;
        let missing = (count - here) as u64;
        match io::copy(&mut (&mut self.stream).take(missing), &mut io::sink())? == missing {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Answers on their way to a stream that others write to as well.
pub(super) struct Output<'a, W> {
    stream: &'a Mutex<W>,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a, W: Write> Output<'a, W> {
    pub(super) fn new(stream: &'a Mutex<W>) -> Self {
        Output { stream, buffer: vec![0; OUTPUT], used: 0 }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Room for the next `count` bytes, with anything in it; [`Output::advance`] makes them count.
    pub(super) fn room(&mut self, count: usize) -> &mut [u8] {
        let end = self.used + count;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.used..end]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.used += count;
    }

    /// How many bytes there are; see [`Output::take`].
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Takes back what was put since there were so many bytes.
    pub(super) fn take(&mut self, from: usize) -> Vec<u8> {
        let taken = self.buffer[from..self.used].to_vec();
        self.used = from;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.used >= OUTPUT / 2
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        if self.used > 0 {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.write_all(&self.buffer[..self.used])?;
            self.used = 0;
        }
        if self.buffer.len() > KEPT {
            self.buffer = vec![0; OUTPUT];
        }
        Ok(())
    }
}
