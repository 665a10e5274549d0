//! The way in for fuzz targets: bytes of a guest, through everything of this room that looks at them.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::fuzzing::Client;
use super::fabric::Fabric;
use super::wire::{Reader, Writer};
use super::{CLIENT, CLIENT_MAC, Filter, Impairment, Lie, LinkRule, Names, Protocol, RuleSet, dns};

const GUEST: [u8; 6] = [2, 0, 10, 77, 0, 11];

/// The client goes on from one input to the next, as it would.
struct World {
    guest: UnixStream,
    client: Client,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        let (guest, client) = UnixStream::pair().unwrap_or_else(|error| panic!("{error}"));
        World { guest, client: Client::new(Arc::new(client), GUEST) }
    }
}

/// Survives `bytes`, as they could come from a guest.
pub fn from_guest(bytes: &[u8]) {
    let _ = dns::answer(bytes, |_| Some(Ipv4Addr::LOCALHOST));
    let mut writer = Writer::default();
    // Once as frames that the guest cut itself, once as what a frame holds.
    let (there, here) = UnixStream::pair().unwrap_or_else(|error| panic!("{error}"));
    writer.push(bytes);
    for mac in [GUEST, CLIENT_MAC, [0xff; 6]] {
        writer.push(&[&mac[..], &GUEST, &[8, 0], bytes].concat());
        writer.push(&[&mac[..], &GUEST, bytes].concat());
    }
    let _ = writer.flush(there.as_fd());
    let mut reader = Reader::default();
    while matches!(reader.fill(here.as_fd()), Ok(true)) {
        let now = Instant::now();
        let frames: Vec<&[u8]> = reader.take().flatten().collect();
        rules().iter().for_each(|impairment| through(now, impairment, &frames));
    }
    WORLD.with_borrow_mut(|world| {
        let mut writer = Writer::default();
        writer.push(&[&CLIENT_MAC[..], &GUEST, &[8, 0], bytes].concat());
        writer.push(&[&CLIENT_MAC[..], &GUEST, bytes].concat());
        let _ = writer.flush(world.guest.as_fd());
        world.client.turn();
        while matches!(reader.fill(world.guest.as_fd()), Ok(true)) {
            reader.take().for_each(drop);
        }
    });
}

fn rules() -> [Impairment; 4] {
    let names = |answer| Some(Names { names: Vec::new(), answer });
    let only = Some(Filter { protocol: Protocol::Tcp, port: Some(80), replies: true });
    [
        Impairment { only, reset: 0.5, ..Impairment::default() },
        Impairment { names: names(Lie::Address(Ipv4Addr::LOCALHOST)), ..Impairment::default() },
        Impairment { names: names(Lie::Timeout), ..Impairment::default() },
        Impairment { corrupt: 0.5, duplicate: 0.5, delay: Duration::from_millis(1), ..Impairment::default() },
    ]
}

fn through(now: Instant, impairment: &Impairment, frames: &[&[u8]]) {
    let mut fabric = Fabric::new([("guest".to_owned(), GUEST), (CLIENT.to_owned(), CLIENT_MAC)]);
    let rule = LinkRule { from: "guest".into(), to: CLIENT.into(), impairment: impairment.clone() };
    let set = RuleSet { fault: "f".to_owned(), seed: 1, rules: vec![rule] };
    let _ = fabric.install(now, &set);
    let mut out = Vec::new();
    for frame in frames {
        fabric.enter(now, 0, frame, &mut out);
    }
    fabric.expire(now + Duration::from_secs(1), &mut Vec::new());
}
