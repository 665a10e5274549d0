//! As much of an NBD client as it takes to ask a server for anything.

use std::io::{self, ErrorKind, Read, Write};

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const FLUSH: u16 = 3;

pub(crate) struct Client<S> {
    pub(crate) stream: S,
}

impl<S: Read + Write> Client<S> {
    /// Asks for the only export; gives the disk's size in bytes too.
    pub(crate) fn connect(mut stream: S) -> io::Result<(Self, u64)> {
        let mut hello = [0; 18];
        stream.read_exact(&mut hello)?;
        stream.write_all(&3_u32.to_be_bytes())?;
        stream.write_all(&option(7, &[0; 6]))?;
        let mut size = None;
        loop {
            let mut head = [0; 20];
            stream.read_exact(&mut head)?;
            let number = |at: usize| u32::from_be_bytes(*head[at..].first_chunk().unwrap_or(&[0; 4]));
            let mut data = vec![0; number(16) as usize];
            stream.read_exact(&mut data)?;
            match (number(12), data.first_chunk::<2>(), data.get(2..).and_then(|rest| rest.first_chunk())) {
                (3, Some([0, 0]), Some(bytes)) => size = Some(u64::from_be_bytes(*bytes)),
                (3, ..) => {}
                (1, ..) => break,
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        size.map(|size| (Client { stream }, size)).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    pub(crate) fn send(
        &mut self,
        command: u16,
        handle: u64,
        offset: u64,
        length: u32,
        data: &[u8],
    ) -> io::Result<()> {
        self.stream.write_all(&[&request(command, 0, handle, offset, length), data].concat())
    }

    /// The handle and the error number of the next answer.
    pub(crate) fn answer(&mut self) -> io::Result<(u64, u32)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let error = u32::from_be_bytes(*head[4..].first_chunk().unwrap_or(&[0; 4]));
        let handle = u64::from_be_bytes(*head[8..].first_chunk().unwrap_or(&[0; 8]));
        Ok((handle, error))
    }
}

pub(crate) fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    [b"IHAVEOPT", number.to_be_bytes().as_slice(), &length, data].concat()
}

pub(crate) fn request(command: u16, flags: u16, handle: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend([flags.to_be_bytes(), command.to_be_bytes()].concat());
    bytes.extend([handle.to_be_bytes(), offset.to_be_bytes()].concat());
    bytes.extend(length.to_be_bytes());
    bytes
}
