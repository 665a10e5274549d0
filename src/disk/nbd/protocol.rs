//! The numbers of the NBD protocol, and its requests.

use std::io;

pub(super) const INIT_MAGIC: &[u8; 8] = b"NBDMAGIC";
pub(super) const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const REPLY_MAGIC: u32 = 0x6744_6698;

/// Handshake flags, the same in both directions.
pub(super) const FIXED_NEWSTYLE: u16 = 1 << 0;
pub(super) const NO_ZEROES: u16 = 1 << 1;

/// What the disk can do.
pub(super) const TRANSMISSION_FLAGS: u16 =
    HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_ZEROES | MULTI;
const HAS_FLAGS: u16 = 1 << 0;
const SEND_FLUSH: u16 = 1 << 2;
const SEND_FUA: u16 = 1 << 3;
const SEND_TRIM: u16 = 1 << 5;
const SEND_ZEROES: u16 = 1 << 6;
/// What one connection flushed is flushed for all.
const MULTI: u16 = 1 << 8;

pub(super) const OPT_EXPORT_NAME: u32 = 1;
pub(super) const OPT_ABORT: u32 = 2;
pub(super) const OPT_LIST: u32 = 3;
pub(super) const OPT_INFO: u32 = 6;
pub(super) const OPT_GO: u32 = 7;

pub(super) const REP_ACK: u32 = 1;
pub(super) const REP_SERVER: u32 = 2;
pub(super) const REP_INFO: u32 = 3;
pub(super) const REP_ERR_UNSUP: u32 = 1 << 31 | 1;
pub(super) const REP_ERR_INVALID: u32 = 1 << 31 | 3;

pub(super) const INFO_EXPORT: u16 = 0;
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

/// Longest read or write; trims and zeroes may be as long as the disk.
pub(super) const MAX_LENGTH: u32 = 32 << 20;
/// What guests' filesystems use.
pub(super) const PREFERRED_BLOCK: u32 = 4096;

pub(super) const COMMAND_FUA: u16 = 1 << 0;
/// Zeroes that must take room: ours take none, and that is known to whoever reads on.
pub(super) const COMMAND_NO_HOLE: u16 = 1 << 1;

/// Errors as the protocol numbers them, which is as Linux does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Errno {
    Io = 5,
    Invalid = 22,
    NoSpace = 28,
    Unsupported = 95,
}

impl From<io::Error> for Errno {
    /// What the guest is told of an error of the host.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Errno::NoSpace,
            _ => Errno::Io,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    Zero,
    /// One that we did not offer.
    Other,
}

pub(super) const REQUEST_BYTES: usize = 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: Command,
    /// The other end's name for it.
    pub(super) handle: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Request {
    /// `None`: this is no request, and nobody knows where the next one begins.
    pub(super) fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        let (command, rest) = rest.split_first_chunk::<2>()?;
        let (handle, rest) = rest.split_first_chunk::<8>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, _) = rest.split_first_chunk::<4>()?;
        (u32::from_be_bytes(*magic) == REQUEST_MAGIC).then(|| Request {
            flags: u16::from_be_bytes(*flags),
            command: match u16::from_be_bytes(*command) {
                0 => Command::Read,
                1 => Command::Write,
                2 => Command::Disconnect,
                3 => Command::Flush,
                4 => Command::Trim,
                6 => Command::Zero,
                _ => Command::Other,
            },
            handle: u64::from_be_bytes(*handle),
            offset: u64::from_be_bytes(*offset),
            length: u32::from_be_bytes(*length),
        })
    }
}
