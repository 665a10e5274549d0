//! What both ends agree upon before the first request: there is one disk, whatever name it is asked for by.

use std::io::{self, ErrorKind, Read, Write};

use super::protocol::{
    FIXED_NEWSTYLE, INFO_BLOCK_SIZE, INFO_EXPORT, INIT_MAGIC, MAX_LENGTH, NO_ZEROES, OPT_ABORT,
    OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST, OPTION_MAGIC, OPTION_REPLY_MAGIC, PREFERRED_BLOCK, REP_ACK,
    REP_ERR_INVALID, REP_ERR_UNSUP, REP_INFO, REP_SERVER, TRANSMISSION_FLAGS,
};
use super::wire::{Input, Output};
use crate::disk::SECTOR;

/// Longer than any option that makes sense.
const MAX_OPTION: u32 = 64 << 10;
/// More options than anyone needs to find out that there is one disk.
const MAX_OPTIONS: usize = 64;

/// Returns whether requests follow; the other end may have wanted to look only.
pub(super) fn shake(
    size: u64,
    input: &mut Input<impl Read>,
    output: &mut Output<'_, impl Write>,
) -> io::Result<bool> {
    output.put(INIT_MAGIC);
    output.put(OPTION_MAGIC);
    output.put(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    output.send()?;
    let flags = u32::from_be_bytes(input.array()?);
    let (fixed, no_zeroes) = (u32::from(FIXED_NEWSTYLE), u32::from(NO_ZEROES));
    if flags & fixed == 0 || flags & !(fixed | no_zeroes) != 0 {
        return Err(ErrorKind::InvalidData.into());
    }
    for _ in 0..MAX_OPTIONS {
        if &input.array()? != OPTION_MAGIC {
            return Err(ErrorKind::InvalidData.into());
        }
        let option = u32::from_be_bytes(input.array()?);
        let length = u32::from_be_bytes(input.array()?);
        if length > MAX_OPTION {
            return Err(ErrorKind::InvalidData.into());
        }
        let data = input.bytes(length as usize)?;
        let mut reply = |kind: u32, data: &[u8]| {
            output.put(&OPTION_REPLY_MAGIC.to_be_bytes());
            output.put(&option.to_be_bytes());
            output.put(&kind.to_be_bytes());
            output.put(&(data.len() as u32).to_be_bytes());
            output.put(data);
        };
        match option {
            // Has no way to be refused, nor a reply of the usual shape.
            OPT_EXPORT_NAME => {
                output.put(&size.to_be_bytes());
                output.put(&TRANSMISSION_FLAGS.to_be_bytes());
                if flags & no_zeroes == 0 {
                    output.put(&[0; 124]);
                }
                output.send()?;
                return Ok(true);
            }
            OPT_INFO | OPT_GO if !names_an_export(&data) => reply(REP_ERR_INVALID, &[]),
            OPT_INFO | OPT_GO => {
                let size = size.to_be_bytes();
                let export = [&INFO_EXPORT.to_be_bytes(), size.as_slice(), &TRANSMISSION_FLAGS.to_be_bytes()];
                reply(REP_INFO, &export.concat());
                let block = [SECTOR as u32, PREFERRED_BLOCK, MAX_LENGTH].map(u32::to_be_bytes).concat();
                reply(REP_INFO, &[INFO_BLOCK_SIZE.to_be_bytes().as_slice(), &block].concat());
                reply(REP_ACK, &[]);
            }
            OPT_LIST if data.is_empty() => {
                reply(REP_SERVER, &0_u32.to_be_bytes());
                reply(REP_ACK, &[]);
            }
            OPT_LIST => reply(REP_ERR_INVALID, &[]),
            OPT_ABORT => {
                reply(REP_ACK, &[]);
                // The other end may be gone already.
                let _ = output.send();
                return Ok(false);
            }
            _ => reply(REP_ERR_UNSUP, &[]),
        }
        output.send()?;
        if option == OPT_GO && names_an_export(&data) {
            return Ok(true);
        }
    }
    Err(ErrorKind::InvalidData.into())
}

/// Whether this is a name with its length, and a list of things to be told of with its length.
fn names_an_export(data: &[u8]) -> bool {
    let parsed = || {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let rest = rest.get(u32::from_be_bytes(*length) as usize..)?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        Some(rest.len() == usize::from(u16::from_be_bytes(*count)) * 2)
    };
    parsed() == Some(true)
}
