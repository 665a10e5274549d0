//! Requests and their answers.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::handshake::shake;
use super::lane::{Lane, Waiting, Work};
use super::protocol::{
    COMMAND_FUA, COMMAND_NO_HOLE, Command, Errno, MAX_LENGTH, REPLY_MAGIC, REQUEST_BYTES, Request,
};
use super::wire::{Input, Output};
use crate::disk::SECTOR;
use crate::disk::device::Disk;
use crate::disk::troubles::{Fate, Kind};

const REPLY_BYTES: usize = 16;

/// Answers what comes from `reader` on `writer` until it ends; `ended` says early that nobody wants answers any
/// more. An error is the end of a conversation with somebody who does not keep to the protocol, or whose
/// connection broke.
pub fn converse(
    disk: &Disk,
    ended: &AtomicBool,
    reader: impl Read,
    writer: impl Write + Send,
) -> io::Result<()> {
    let stream = Mutex::new(writer);
    let (mut input, mut output) = (Input::new(reader), Output::new(&stream));
    if !shake(disk.size(), &mut input, &mut output)? {
        return Ok(());
    }
    let lane = Lane::new(disk, ended);
    std::thread::scope(|scope| {
        let mut waiter = None;
        let outcome = transmit(disk, &mut input, &mut output, |answer| {
            // Most conversations never need one.
            waiter.get_or_insert_with(|| scope.spawn(|| lane.run(&stream)));
            lane.push(answer);
        });
        lane.end();
        outcome
    })
}

fn transmit(
    disk: &Disk,
    input: &mut Input<impl Read>,
    output: &mut Output<'_, impl Write>,
    mut wait: impl FnMut(Waiting),
) -> io::Result<()> {
    loop {
        // Nothing is held back from somebody who waits for it before they go on.
        if output.is_full() || !input.has(REQUEST_BYTES) {
            output.send()?;
        }
        let request = match input.array() {
            Ok(bytes) => Request::parse(&bytes).ok_or(ErrorKind::InvalidData)?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let kind = match request.command {
            Command::Disconnect => return Ok(()),
            Command::Read => Kind::Read,
            Command::Flush => Kind::Flush,
            Command::Write | Command::Trim | Command::Zero | Command::Other => Kind::Write,
        };
        let fate = disk.troubles().decide(kind, request.offset, u64::from(request.length));
        let due = Instant::now() + fate.delay;
        if kind == Kind::Flush && disk.flushes_slowly() && !fate.fails {
            let stalled_by = fate.stalled_by;
            wait(Waiting { due, stalled_by, work: Work::Flush(request.handle) });
            continue;
        }
        let before = output.len();
        answer(disk, request, &fate, input, output)?;
        if fate.waits() {
            let work = Work::Send(output.take(before));
            // Those before it do not wait.
            output.send()?;
            wait(Waiting { due, stalled_by: fate.stalled_by, work });
        }
    }
}

fn answer(
    disk: &Disk,
    request: Request,
    fate: &Fate,
    input: &mut Input<impl Read>,
    output: &mut Output<'_, impl Write>,
) -> io::Result<()> {
    let Request { flags, command, handle, offset, length } = request;
    let through = flags & COMMAND_FUA != 0;
    let count = length as usize;
    let fits =
        disk.sectors(offset, u64::from(length)).is_some() && flags & !(COMMAND_FUA | COMMAND_NO_HOLE) == 0;
    let refused = match (fits || command == Command::Flush, fate.fails) {
        (_, true) => Some(Errno::Io),
        (false, _) => Some(Errno::Invalid),
        (true, false) => None,
    };
    let done = match (command, refused) {
        // Nobody knows what to make of so many bytes, nor where the next request begins.
        (Command::Write, _) if length > MAX_LENGTH => return Err(ErrorKind::InvalidData.into()),
        (Command::Write, Some(errno)) => {
            input.skip(count)?;
            Err(errno)
        }
        (Command::Other | Command::Disconnect, _) => Err(Errno::Unsupported),
        (_, Some(errno)) => Err(errno),
        (Command::Read, None) if length > MAX_LENGTH => Err(Errno::Invalid),
        (Command::Read, None) => {
            let room = output.room(REPLY_BYTES + count);
            let (head, data) = room.split_at_mut(REPLY_BYTES);
            let read = disk.read(offset, data).map_err(Errno::from);
            let read_whole = read.is_ok();
            fate.flip(offset / SECTOR, data);
            head.copy_from_slice(&reply(handle, read));
            output.advance(if read_whole { REPLY_BYTES + count } else { REPLY_BYTES });
            return Ok(());
        }
        (Command::Write, None) => {
            let data = input.bytes(count)?;
            disk.write(offset, data, through).map_err(Errno::from)
        }
        (Command::Flush, None) => disk.flush().map_err(Errno::from),
        // What was trimmed may read as anything: zeroes are the most that a guest can hope for.
        (Command::Trim | Command::Zero, None) => {
            disk.zero(offset, u64::from(length), through).map_err(Errno::from)
        }
    };
    output.put(&reply(handle, done));
    Ok(())
}

pub(super) fn reply(handle: u64, done: Result<(), Errno>) -> [u8; REPLY_BYTES] {
    let mut bytes = [0; REPLY_BYTES];
    let (magic, rest) = bytes.split_at_mut(4);
    let (error, name) = rest.split_at_mut(4);
    magic.copy_from_slice(&REPLY_MAGIC.to_be_bytes());
    error.copy_from_slice(&done.map_or_else(|errno| errno as u32, |()| 0).to_be_bytes());
    name.copy_from_slice(&handle.to_be_bytes());
    bytes
}
