//! Frames on a byte stream, each behind its length, as hypervisors send them over a Unix socket.
//!
//! Many frames travel in one system call, and their bytes are looked at where they arrived. A wire moves bytes
//! and never interprets them.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// The longest frame that is taken; longer ones are reported and skipped.
pub(super) const MAX_FRAME: usize = 9_216;
/// Bytes before each frame: its length, big-endian.
const HEADER: usize = 4;
/// What is read at once, at most, so that one sender is not listened to for long.
const READ: usize = 64 << 10;

/// What has arrived, taken apart into frames.
#[derive(Default)]
pub(super) struct Reader {
    /// Empty until the first byte is read, then of one size.
    bytes: Vec<u8>,
    /// Where the bytes that were not taken yet begin, and where they end.
    start: usize,
    end: usize,
    /// Bytes of a frame that is too long, still to come.
    skip: usize,
}

impl Reader {
    /// Reads what is there, once and without waiting. False: the other side has closed.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        if self.bytes.is_empty() {
            self.bytes.resize(READ + HEADER + MAX_FRAME, 0);
        }
        // What is left is the beginning of one frame at most.
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let (count, _) = recv(socket, room, RecvFlags::DONTWAIT)?;
        self.end += count;
        Ok(count > 0)
    }

    /// The whole frames that have arrived, in order; `None` stands for one that is too long.
    pub(super) fn take(&mut self) -> Frames<'_> {
        let skipped = self.skip.min(self.end - self.start);
        (self.start, self.skip) = (self.start + skipped, self.skip - skipped);
        let begin = self.start;
        while let Some(length) = length_at(&self.bytes, self.start, self.end) {
            let after = self.start + HEADER + length;
            if length <= MAX_FRAME && after > self.end {
                break;
            }
            self.skip = after.saturating_sub(self.end);
            self.start = after.min(self.end);
        }
        Frames { bytes: self.bytes.get(begin..self.start).unwrap_or_default() }
    }
}

fn length_at(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let header = bytes.get(start..end)?.first_chunk::<HEADER>()?;
    Some(u32::from_be_bytes(*header) as usize)
}

/// See [`Reader::take`].
pub(super) struct Frames<'r> {
    bytes: &'r [u8],
}

impl<'r> Iterator for Frames<'r> {
    type Item = Option<&'r [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = length_at(self.bytes, 0, self.bytes.len())?;
        let (_, rest) = self.bytes.split_at_checked(HEADER)?;
        let (frame, rest) = rest.split_at(length.min(rest.len()));
        self.bytes = rest;
        Some((length <= MAX_FRAME).then_some(frame))
    }
}

/// What is to be sent.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
}

impl Writer {
    pub(super) fn push(&mut self, frame: &[u8]) {
        // Frames come from a reader or from us, and both have none that is longer than four gigabytes.
        self.bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(frame);
    }

    /// Bytes that are not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends what the socket takes without waiting.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.waiting() > 0 {
            match send(socket, self.bytes.get(self.sent..).unwrap_or_default(), FLAGS) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Rather than with each call: what is moved is never more than what was sent.
        if self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    fn sent(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::default();
        frames.iter().for_each(|frame| writer.push(frame));
        writer.bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_arrive_however_the_bytes_are_cut(
            lengths in prop::collection::vec(prop_oneof![0_usize..100, 1_000_usize..12_000], 0..20),
            cuts in prop::collection::vec(1_usize..5_000, 1..50),
        ) {
            let frames: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(index, length)| vec![index as u8; *length]).collect();
            let (mut there, here) = UnixStream::pair().unwrap();
            let (mut reader, mut got) = (Reader::default(), Vec::new());
            let bytes = sent(&frames);
            let (mut rest, mut turn) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*turn.next().unwrap()));
                rest = later;
                there.write_all(piece).unwrap();
                prop_assert!(reader.fill(here.as_fd()).unwrap());
                got.extend(reader.take().map(|frame| frame.map(<[u8]>::to_vec)));
            }
            let expected: Vec<_> =
                frames.into_iter().map(|frame| (frame.len() <= MAX_FRAME).then_some(frame)).collect();
            prop_assert_eq!(got, expected);
            drop(there);
            prop_assert!(!reader.fill(here.as_fd()).unwrap());
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut there, here) = UnixStream::pair().unwrap();
            there.write_all(&bytes).unwrap();
            let mut reader = Reader::default();
            if !bytes.is_empty() {
                reader.fill(here.as_fd()).unwrap();
            }
            prop_assert!(reader.take().flatten().all(|frame| frame.len() <= MAX_FRAME));
        }
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_keeps_its_order() {
        let (there, here) = UnixStream::pair().unwrap();
        let frames: Vec<Vec<u8>> =
            (0..2_000_u16).map(|index| [&index.to_be_bytes()[..], &[0; 1_000]].concat()).collect();
        let mut writer = Writer::default();
        frames.iter().for_each(|frame| writer.push(frame));
        let (mut reader, mut got) = (Reader::default(), Vec::new());
        writer.flush(there.as_fd()).unwrap();
        assert!(writer.waiting() > 0);
        while got.len() < frames.len() {
            reader.fill(here.as_fd()).unwrap();
            got.extend(reader.take().flatten().map(<[u8]>::to_vec));
            writer.flush(there.as_fd()).unwrap();
        }
        assert!(got == frames);
        drop(here);
        writer.push(b"x");
        assert!(writer.flush(there.as_fd()).is_err());
    }
}
