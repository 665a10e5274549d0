//! Requests and their answers.

use std::io::{self, ErrorKind, Read, Write};

use super::handshake::shake;
use super::protocol::{
    COMMAND_FUA, COMMAND_NO_HOLE, Command, Errno, MAX_LENGTH, REPLY_MAGIC, REQUEST_BYTES, Request,
};
use super::wire::{Input, Output};
use crate::disk::device::Disk;

const REPLY_BYTES: usize = 16;

/// Answers what comes from `reader` on `writer` until it ends. An error is the end of a conversation with
/// somebody who does not keep to the protocol, or whose connection broke.
pub fn converse(disk: &Disk, reader: impl Read, writer: impl Write) -> io::Result<()> {
    let (mut input, mut output) = (Input::new(reader), Output::new(writer));
    if !shake(disk.size(), &mut input, &mut output)? {
        return Ok(());
    }
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
        if request.command == Command::Disconnect {
            return Ok(());
        }
        answer(disk, request, &mut input, &mut output)?;
    }
}

fn answer(
    disk: &Disk,
    request: Request,
    input: &mut Input<impl Read>,
    output: &mut Output<impl Write>,
) -> io::Result<()> {
    let Request { flags, command, handle, offset, length } = request;
    let through = flags & COMMAND_FUA != 0;
    let count = length as usize;
    let fits =
        disk.sectors(offset, u64::from(length)).is_some() && flags & !(COMMAND_FUA | COMMAND_NO_HOLE) == 0;
    let done = match command {
        Command::Write if length > MAX_LENGTH => return Err(ErrorKind::InvalidData.into()),
        Command::Write if !fits => {
            input.skip(count)?;
            Err(Errno::Invalid)
        }
        Command::Write => {
            let data = input.bytes(count)?;
            disk.write(offset, data, through).map_err(Errno::from)
        }
        Command::Read if !fits || length > MAX_LENGTH => Err(Errno::Invalid),
        Command::Read => {
            let room = output.room(REPLY_BYTES + count);
            let read = disk.read(offset, &mut room[REPLY_BYTES..]).map_err(Errno::from);
            reply(output, handle, read);
            if read.is_ok() {
                output.advance(count);
            }
            return Ok(());
        }
        Command::Flush => disk.flush().map_err(Errno::from),
        Command::Trim | Command::Zero if !fits => Err(Errno::Invalid),
        // What was trimmed may read as anything: zeroes are the most that a guest can hope for.
        Command::Trim | Command::Zero => disk.zero(offset, u64::from(length), through).map_err(Errno::from),
        Command::Other | Command::Disconnect => Err(Errno::Unsupported),
    };
    reply(output, handle, done);
    Ok(())
}

fn reply(output: &mut Output<impl Write>, handle: u64, done: Result<(), Errno>) {
    output.put(&REPLY_MAGIC.to_be_bytes());
    output.put(&done.map_or_else(|errno| errno as u32, |()| 0).to_be_bytes());
    output.put(&handle.to_be_bytes());
}
