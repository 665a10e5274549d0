//! Frames through real sockets and the switch's own thread.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};

use super::node::{Site, address, frame, mac, rules};
use crate::network::{CLIENT_ADDRESS, CLIENT_MAC, Impairment, NetworkError, Switch};

fn cut() -> Impairment {
    Impairment { cut: true, ..Impairment::default() }
}

#[test]
fn unicast_reaches_its_port_alone_and_broadcast_all_others() {
    let site = Site::new(3);
    let _switch = site.start();
    let (one, two, three) = (site.node(1), site.node(2), site.node(3));
    one.send(mac(2), b"for two");
    one.send([0xff; 6], b"for all");
    assert_eq!(two.receive(), b"for two");
    assert_eq!(two.receive(), b"for all");
    assert_eq!(three.receive(), b"for all");
    assert!(one.is_idle());
}

#[test]
fn a_cut_is_one_way_counted_and_healed() {
    let site = Site::new(3);
    let switch = site.start();
    let (one, two, three) = (site.node(1), site.node(2), site.node(3));
    switch.install(rules("cut", &[("n1", "n2")], &cut())).expect("rules");
    assert_eq!(switch.faults(), ["cut"]);

    one.send(mac(2), b"lost");
    // Once this has arrived, what was sent before it has met its fate.
    one.send(mac(3), b"marker");
    assert_eq!(three.receive(), b"marker");
    assert!(two.is_idle());
    two.send(mac(1), b"back");
    assert_eq!(one.receive(), b"back");

    let counters = switch.counters("cut").expect("counters");
    assert_eq!((counters.seen, counters.dropped), (1, 1));
    assert_eq!(switch.remove("cut"), Some(counters));
    assert_eq!((switch.remove("cut"), switch.counters("cut")), (None, None));
    one.send(mac(2), b"healed");
    assert_eq!(two.receive(), b"healed");
}

#[test]
fn a_held_switch_keeps_frames_for_this_life_and_another() {
    let site = Site::new(2);
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    one.send(mac(2), b"before");
    assert_eq!(two.receive(), b"before");
    switch.hold();
    one.send(mac(2), b"first");
    one.send(mac(2), b"second");
    let held = switch.release();
    assert_eq!(held.iter().map(|held| held.to.as_str()).collect::<Vec<_>>(), ["n2", "n2"]);
    assert_eq!((two.receive(), two.receive()), (b"first".to_vec(), b"second".to_vec()));
    drop(switch);

    let restored = site.start();
    let two = site.node(2);
    restored.inject(held);
    assert_eq!((two.receive(), two.receive()), (b"first".to_vec(), b"second".to_vec()));
    assert!(restored.release().is_empty());
}

#[test]
fn delayed_frames_are_late_in_order_and_delivered_by_removal() {
    let site = Site::new(2);
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    let asked = Duration::from_millis(30);
    switch
        .install(rules("slow", &[("n1", "n2")], &Impairment { delay: asked, ..Impairment::default() }))
        .expect("rules");
    let begun = Instant::now();
    for index in 0..20 {
        one.send(mac(2), &[index]);
    }
    for index in 0..20 {
        assert_eq!(two.receive(), [index]);
    }
    assert!(begun.elapsed() >= asked);
    switch.remove("slow").expect("counters");

    let forever = Impairment { delay: Duration::from_secs(3_600), ..Impairment::default() };
    switch.install(rules("stuck", &[("n1", "n2")], &forever)).expect("rules");
    one.send(mac(2), b"held");
    while switch.counters("stuck").expect("counters").delayed == 0 {
        std::thread::yield_now();
    }
    assert!(two.is_idle());
    switch.remove("stuck").expect("counters");
    assert_eq!(two.receive(), b"held");
}

#[test]
fn a_set_takes_effect_on_all_links_between_two_frames() {
    let site = Site::new(3);
    let switch = site.start();
    let (one, two, three) = (site.node(1), site.node(2), site.node(3));
    let all = rules("part", &[("n1", "n2"), ("n1", "n3")], &cut());
    for round in 0..200_u32 {
        // Each broadcast must reach both or none, whenever the set comes and goes.
        one.send([0xff; 6], &round.to_be_bytes());
        if round % 2 == 0 {
            switch.install(all.clone()).expect("rules");
        } else {
            switch.remove("part").expect("counters");
        }
        if round % 50 == 49 {
            one.send([0xff; 6], b"end");
            let drain = |node: &super::node::Node| {
                std::iter::from_fn(|| Some(node.receive()).filter(|got| got != b"end")).collect::<Vec<_>>()
            };
            assert_eq!(drain(&two), drain(&three));
        }
    }
}

#[test]
fn a_node_that_never_reads_stops_nobody() {
    let site = Site::new(3);
    let switch = site.start();
    let (one, two, _deaf) = (site.node(1), site.node(2), site.node(3));
    for index in 0..2_000_u32 {
        one.send(mac(3), &[0; 1_400]);
        one.send(mac(2), &index.to_be_bytes());
        assert_eq!(two.receive(), index.to_be_bytes());
    }
    let stats = switch.stats("n3").expect("stats");
    assert!(stats.overrun > 1_000, "{stats:?}");
    assert_eq!(switch.stats("n2").expect("stats").overrun, 0);
}

#[test]
fn a_flood_and_garbage_cost_the_others_nothing() {
    let site = Site::new(5);
    let switch = site.start();
    let (one, two, _deaf) = (site.node(1), site.node(2), site.node(3));
    let (flooder, babbler) = (site.node(4), site.node(5));
    let done = Arc::new(AtomicBool::new(false));
    let spam = |send: Box<dyn Fn() + Send>| {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                send();
            }
        })
    };
    let flooding = spam(Box::new(move || flooder.send(mac(3), &[0; 1_400])));
    // Lengths that are none, frames for nobody, frames that are too short and too long.
    let noise: Vec<u8> = (0..=u8::MAX).cycle().take(4_000).map(|byte| byte.wrapping_mul(31)).collect();
    let babbling = spam(Box::new(move || {
        babbler.send_raw(&[0xff; 3]);
        babbler.send([0x02, 9, 9, 9, 9, 9], &noise);
        babbler.send_raw(&[&mac(2)[..], &noise, &noise, &noise].concat());
    }));
    let mut rounds = 0_u32;
    // Both are taken from in turn: what the others say to each other arrives, whole and in order, meanwhile.
    while rounds < 2_000 || ["n4", "n5"].iter().any(|name| switch.stats(name).expect("stats").sent < 2_000) {
        one.send(mac(2), &rounds.to_be_bytes());
        assert_eq!(two.receive(), rounds.to_be_bytes());
        two.send(mac(1), &rounds.to_be_bytes());
        assert_eq!(one.receive(), rounds.to_be_bytes());
        rounds += 1;
    }
    done.store(true, Ordering::Relaxed);
    flooding.join().expect("the flooder");
    babbling.join().expect("the babbler");
    let (one, five) = (switch.stats("n1").expect("stats"), switch.stats("n5").expect("stats"));
    assert_eq!((one.received, one.overrun, one.absent), (u64::from(rounds), 0, 0));
    assert!(five.malformed > 0 && five.unknown > 0, "{five:?}");
    assert!(switch.stats("n3").expect("stats").overrun > 0);
}

#[test]
fn a_node_whose_bytes_are_no_frames_is_survived() {
    let site = Site::new(2);
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    one.send_bytes(&[0xff; 5_000]);
    while switch.stats("n1").expect("stats").malformed == 0 {
        std::thread::yield_now();
    }
    // Who calls last is the node.
    let one = site.node(1);
    one.send(mac(2), b"again");
    assert_eq!(two.receive(), b"again");
}

#[test]
fn a_burst_waits_for_a_slow_receiver() {
    let site = Site::new(2);
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    for index in 0..300_u32 {
        one.send(mac(2), &index.to_be_bytes());
    }
    for index in 0..300_u32 {
        assert_eq!(two.receive(), index.to_be_bytes());
    }
    assert_eq!(switch.stats("n2").expect("stats").overrun, 0);
}

#[test]
fn a_node_may_vanish_and_come_back_at_the_same_place() {
    let site = Site::new(2);
    let switch = site.start();
    let one = site.node(1);
    one.send(mac(2), b"nobody there");
    while switch.stats("n2").expect("stats").absent == 0 {
        std::thread::yield_now();
    }
    for round in 0..3_u8 {
        let two = site.node(2);
        one.send(mac(2), &[round]);
        assert_eq!(two.receive(), [round]);
        two.send(mac(1), &[round, round]);
        assert_eq!(one.receive(), [round, round]);
    }
}

#[test]
fn garbage_is_counted_and_survived() {
    let site = Site::new(2);
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    one.send_raw(b"short");
    one.send_raw(&frame(mac(2), mac(1), &[0; 9_500]));
    one.send([0x02, 9, 9, 9, 9, 9], b"for nobody");
    for length in 0..200 {
        // As IPv4, ARP and IPv6 to the client.
        for kind in [[8, 0], [8, 6], [0x86, 0xdd]] {
            let bytes: Vec<u8> =
                (0..length).map(|index| (index as u8).wrapping_mul(length as u8) ^ 0x45).collect();
            one.send_raw(&[&CLIENT_MAC[..], &mac(1), &kind, &bytes].concat());
        }
    }
    one.send(mac(2), b"still there");
    assert_eq!(two.receive(), b"still there");
    let stats = switch.stats("n1").expect("stats");
    assert_eq!((stats.malformed, stats.unknown), (2, 1));
}

#[test]
fn the_client_answers_to_its_address() {
    let site = Site::new(1);
    let _switch = site.start();
    let one = site.node(1);
    let (own, target) = (address(1).octets(), CLIENT_ADDRESS.octets());
    let request = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac(1), &own, &[0; 6], &target].concat();
    one.send_raw(&[&[0xff; 6][..], &mac(1), &[8, 6], &request].concat());
    let reply = one.receive();
    assert_eq!(reply[..8], [0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!((&reply[8..14], &reply[14..18]), (&CLIENT_MAC[..], &target[..]));
}

/// An IPv4 packet from node 1 to the client, in a frame.
fn packet(protocol: IpProtocol, length: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: address(1),
        dst_addr: CLIENT_ADDRESS,
        next_header: protocol,
        payload_len: length,
        hop_limit: 64,
    };
    let mut bytes = vec![0; header.buffer_len() + length];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    fill(packet.payload_mut());
    [&CLIENT_MAC[..], &mac(1), &[8, 0], &bytes].concat()
}

#[test]
fn the_client_answers_pings_and_knows_the_names() {
    let site = Site::new(2);
    let _switch = site.start();
    let one = site.node(1);
    let checksums = ChecksumCapabilities::default();
    // Nothing is asked for first: the client knows its neighbours.
    let ping = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: b"ping" };
    one.send_raw(&packet(IpProtocol::Icmp, ping.buffer_len(), |payload| {
        ping.emit(&mut Icmpv4Packet::new_unchecked(payload), &checksums);
    }));
    let bytes = one.receive();
    let reply = Ipv4Packet::new_checked(&bytes).expect("a packet");
    let reply = Icmpv4Packet::new_checked(reply.payload()).expect("a message");
    let reply = Icmpv4Repr::parse(&reply, &checksums).expect("a message");
    assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 1, seq_no: 2, data: b"ping" });

    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02N2\x00\x00\x01\x00\x01";
    let udp = UdpRepr { src_port: 4_000, dst_port: 53 };
    one.send_raw(&packet(IpProtocol::Udp, udp.header_len() + query.len(), |payload| {
        udp.emit(
            &mut UdpPacket::new_unchecked(payload),
            &address(1).into(),
            &CLIENT_ADDRESS.into(),
            query.len(),
            |payload| payload.copy_from_slice(query),
            &checksums,
        );
    }));
    let bytes = one.receive();
    let reply = Ipv4Packet::new_checked(&bytes).expect("a packet");
    assert!(reply.payload().ends_with(&address(2).octets()));
}

#[test]
fn specs_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut Site)| {
        let mut site = Site::new(2);
        change(&mut site);
        Switch::start(site.spec.clone()).err().expect("a refusal").to_string()
    };
    assert_eq!(refused(&|site| site.spec.ports[1].name = "n1".into()), "two ports have the name n1");
    assert_eq!(refused(&|site| site.spec.ports[1].name = "client".into()), "two ports have the name client");
    assert_eq!(
        refused(&|site| site.spec.ports[1].mac = mac(1)),
        "two ports have the hardware address 02:00:0a:4d:00:0b"
    );
    assert_eq!(
        refused(&|site| site.spec.ports[1].address = CLIENT_ADDRESS),
        "two ports have the address 10.77.0.1"
    );
    assert!(refused(&|site| site.spec.ports[0].mac[0] = 1).contains("multicast"));
    let missing = refused(&|site| site.spec.ports[0].socket = site.path("no/such/folder"));
    assert!(missing.starts_with("cannot bind"), "{missing}");
}

#[test]
fn a_switch_takes_over_the_sockets_of_a_dead_one_and_removes_its_own() {
    let site = Site::new(2);
    drop(std::os::unix::net::UnixListener::bind(&site.port(1).socket).expect("a socket"));
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    one.send(mac(2), b"x");
    assert_eq!(two.receive(), b"x");
    drop(switch);
    assert!(!site.port(1).socket.exists() && !site.port(2).socket.exists());
    std::fs::write(&site.port(1).socket, "not a socket").expect("a file");
    assert!(matches!(Switch::start(site.spec.clone()), Err(NetworkError::Io { .. })));
}

#[test]
fn the_capture_holds_what_was_delivered() {
    let mut site = Site::new(2);
    site.spec.pcap = Some(site.path("fleet.pcap"));
    let switch = site.start();
    let (one, two) = (site.node(1), site.node(2));
    switch.install(rules("cut", &[("n2", "n1")], &cut())).expect("rules");
    two.send(mac(1), b"never delivered");
    for _ in 0..3 {
        one.send(mac(2), &[0; 50]);
        two.receive();
    }
    drop(switch);
    let bytes = std::fs::read(site.path("fleet.pcap")).expect("a capture");
    assert_eq!(bytes.len(), 24 + 3 * (16 + 64));
    // An independent reader, where there is one.
    if let Ok(output) = Command::new("tcpdump").arg("-enr").arg(site.path("fleet.pcap")).output() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("02:00:0a:4d:00:0b > 02:00:0a:4d:00:0c").count(), 3, "{text}");
    }
}
