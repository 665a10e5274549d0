//! Answers to DNS queries about the names on the switch.
//!
//! A pure function from bytes to bytes: whatever arrives, it answers or it does not, and never fails. It knows
//! addresses (type A) only; it recurses nowhere.

use std::net::Ipv4Addr;

use super::rule::{Lie, Names};

/// Where servers listen.
pub const PORT: u16 = 53;
const HEADER: usize = 12;
/// Short, so that a resolver in a node does not outlast what a scenario does to names.
const TTL_SECONDS: u32 = 5;
/// The payload size that we announce to resolvers that speak EDNS: fits one frame.
const PAYLOAD: u16 = 1_232;

const TYPE_A: u16 = 1;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

#[derive(Clone, Copy)]
enum Code {
    NoError = 0,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// A question, as far as it is understood here.
struct Query<'q> {
    id: &'q [u8],
    flags: u16,
    /// In lower case and without a dot at its end.
    name: String,
    kind: u16,
    class: u16,
    /// As it stands in the query, to be repeated in the reply.
    question: &'q [u8],
    extended: bool,
}

/// A query for the address of `name`, whose labels are between 1 and 63 bytes long.
pub fn question(name: &str) -> Vec<u8> {
    let mut query = vec![0x6f, 0x76, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend(TYPE_A.to_be_bytes());
    query.extend(CLASS_IN.to_be_bytes());
    query
}

/// Answers one query datagram; `lookup` is asked with the name in lower case and without a dot at its end.
///
/// A known name has an address and nothing else: other types get an empty answer. An unknown name does not
/// exist. `None` is for what is no query, such as garbage and answers: silence is the reply to that.
pub fn answer(query: &[u8], lookup: impl FnOnce(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let query = Query::parse(query)?;
    let (code, address) = if query.flags & OPCODE != 0 {
        (Code::NotImplemented, None)
    } else if query.class != CLASS_IN && query.class != CLASS_ANY {
        (Code::Refused, None)
    } else {
        match lookup(&query.name) {
            Some(address) => (Code::NoError, query.wants_address().then_some(address)),
            None => (Code::NameError, None),
        }
    };
    Some(query.reply(code, address))
}

/// The wrong answer to one query datagram, which is no answer at all for [`Lie::Timeout`]. `None` if it asks for
/// none of the names, or nothing.
pub(super) fn mislead(query: &[u8], names: &Names) -> Option<Option<Vec<u8>>> {
    let query = Query::parse(query)?;
    if !names.names.is_empty() && !names.names.contains(&query.name) {
        return None;
    }
    Some(match names.answer {
        Lie::Nxdomain => Some(query.reply(Code::NameError, None)),
        Lie::Servfail => Some(query.reply(Code::ServerFailure, None)),
        Lie::Timeout => None,
        Lie::Address(address) => Some(query.reply(Code::NoError, query.wants_address().then_some(address))),
    })
}

impl<'q> Query<'q> {
    fn parse(bytes: &'q [u8]) -> Option<Self> {
        let flags = number(bytes, 2)?;
        if flags & RESPONSE != 0 || number(bytes, 4)? != 1 {
            return None;
        }
        let (name, name_end) = name(bytes, HEADER)?;
        Some(Query {
            id: bytes.get(..2)?,
            flags,
            name,
            kind: number(bytes, name_end)?,
            class: number(bytes, name_end + 2)?,
            question: bytes.get(HEADER..name_end + 4)?,
            extended: has_opt(bytes, name_end + 4),
        })
    }

    fn wants_address(&self) -> bool {
        self.kind == TYPE_A || self.kind == TYPE_ANY
    }

    fn reply(&self, code: Code, address: Option<Ipv4Addr>) -> Vec<u8> {
        let mut reply = Vec::with_capacity(HEADER + self.question.len() + 32);
        reply.extend_from_slice(self.id);
        let kept = self.flags & (OPCODE | RECURSION_DESIRED);
        reply.extend((RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | kept | code as u16).to_be_bytes());
        for count in [1, u16::from(address.is_some()), 0, u16::from(self.extended)] {
            reply.extend(count.to_be_bytes());
        }
        reply.extend_from_slice(self.question);
        if let Some(address) = address {
            // The name is a pointer to the one in the question.
            reply.extend((0xc000 | HEADER as u16).to_be_bytes());
            reply.extend(TYPE_A.to_be_bytes());
            reply.extend(CLASS_IN.to_be_bytes());
            reply.extend(TTL_SECONDS.to_be_bytes());
            reply.extend(4_u16.to_be_bytes());
            reply.extend(address.octets());
        }
        if self.extended {
            reply.push(0);
            reply.extend(TYPE_OPT.to_be_bytes());
            reply.extend(PAYLOAD.to_be_bytes());
            reply.extend([0; 6]);
        }
        reply
    }
}

/// The name at `at` in lower case, and where it ends. Names in questions are never compressed.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let start = at;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        // The two upper bits mark pointers; 255 bytes is the longest name.
        if length > 63 || at + length - start > 255 {
            return None;
        }
        let label = message.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        // Bytes outside ASCII stay distinct from every name that a port can have.
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
}

/// Whether the query carries an EDNS record, as the first of its additional records and with no others before.
fn has_opt(query: &[u8], at: usize) -> bool {
    let none_before = number(query, 6) == Some(0) && number(query, 8) == Some(0);
    let additional = number(query, 10).is_some_and(|count| count > 0);
    none_before && additional && query.get(at) == Some(&0) && number(query, at + 1) == Some(TYPE_OPT)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|pair| u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        bytes
    }

    fn lookup(name: &str) -> Option<Ipv4Addr> {
        (name == "etcd-1").then_some(Ipv4Addr::new(10, 77, 0, 11))
    }

    fn code(reply: &[u8]) -> u8 {
        reply[3] & 15
    }

    #[test]
    fn a_known_name_has_its_address_in_any_case() {
        for name in [b"etcd-1", b"ETCD-1"] {
            let query = query(&[name], TYPE_A);
            let reply = answer(&query, lookup).expect("an answer");
            assert_eq!(reply[..4], [0xab, 0xcd, 0x85, 0x80]);
            assert_eq!(reply[4..12], [0, 1, 0, 1, 0, 0, 0, 0]);
            assert_eq!(reply[12..query.len()], query[12..]);
            assert_eq!(reply[query.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 77, 0, 11]);
        }
    }

    #[test]
    fn a_question_of_ours_is_understood() {
        let reply = answer(&question("ETCD-1."), lookup).expect("an answer");
        assert_eq!((code(&reply), &reply[6..8]), (0, &[0, 1][..]));
    }

    #[test]
    fn a_known_name_has_nothing_but_its_address() {
        let reply = answer(&query(&[b"etcd-1"], 28), lookup).expect("an answer");
        assert_eq!((code(&reply), &reply[6..8]), (0, &[0, 0][..]));
    }

    #[test]
    fn an_unknown_name_does_not_exist() {
        for labels in [&[&b"etcd-9"[..]][..], &[b"etcd-1", b"example"], &[b"etcd-1."], &[]] {
            let reply = answer(&query(labels, TYPE_A), lookup).expect("an answer");
            assert_eq!((code(&reply), &reply[6..8]), (3, &[0, 0][..]));
        }
    }

    #[test]
    fn who_speaks_edns_is_answered_in_it() {
        let mut query = query(&[b"etcd-1"], TYPE_A);
        query[11] = 1;
        query.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        let reply = answer(&query, lookup).expect("an answer");
        assert_eq!(reply[10..12], [0, 1]);
        assert!(reply.ends_with(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn a_lie_is_told_to_who_asks_for_the_name_and_to_nobody_else() {
        let lie = |names: &[&str], answer| Names {
            names: names.iter().map(|name| name.to_string()).collect(),
            answer,
        };
        let asked = query(&[b"Etcd-1"], TYPE_A);
        let told = |names: &Names| mislead(&asked, names).expect("a lie").expect("an answer");
        assert_eq!(code(&told(&lie(&["etcd-1"], Lie::Nxdomain))), 3);
        assert_eq!(code(&told(&lie(&[], Lie::Servfail))), 2);
        let wrong = told(&lie(&[], Lie::Address(Ipv4Addr::new(9, 9, 9, 9))));
        assert!(code(&wrong) == 0 && wrong.ends_with(&[0, 4, 9, 9, 9, 9]));
        assert_eq!(mislead(&asked, &lie(&["etcd-1"], Lie::Timeout)), Some(None));
        assert_eq!(mislead(&asked, &lie(&["etcd-2"], Lie::Timeout)), None);
        assert_eq!(mislead(b"garbage", &lie(&[], Lie::Timeout)), None);
    }

    #[test]
    fn what_is_no_query_gets_silence() {
        let mut reply = query(&[b"etcd-1"], TYPE_A);
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, lookup), None);
        let mut looped = query(&[], TYPE_A);
        looped[12] = 0xc0;
        assert_eq!(answer(&looped, lookup), None);
        assert_eq!(answer(b"", lookup), None);
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), header: bool) {
            let bytes = if header { [&query(&[], 1)[..12], &bytes].concat() } else { bytes };
            if let Some(reply) = answer(&bytes, lookup) {
                prop_assert!(reply.len() <= 512);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
            }
        }
    }
}
