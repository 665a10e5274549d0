//! Rules that look into frames: port filters, resets, wrong answers to questions for names.

use std::time::Instant;

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket,
    UdpRepr,
};

use super::node::{address, mac, rules};
use crate::network::fabric::{Delivery, Fabric};
use crate::network::{CLIENT, Filter, Impairment, Lie, Names, Protocol, RuleCounters, dns};

fn fabric(impairment: &Impairment) -> Fabric {
    let ports = (1..=2).map(|index| (format!("n{index}"), mac(index)));
    let mut fabric = Fabric::new(ports.chain([(CLIENT.to_owned(), mac(9))]));
    let links = [("n1", "n2"), ("n2", "n1"), ("n1", CLIENT)];
    fabric.install(Instant::now(), &rules("f", &links, impairment)).expect("rules");
    fabric
}

/// What comes of a frame from n1: the receiving port and the frame.
fn send(fabric: &mut Fabric, frame: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut out: Vec<Delivery<'_>> = Vec::new();
    fabric.enter(Instant::now(), 0, frame, &mut out);
    out.into_iter().map(|delivery| (delivery.to, delivery.frame.into_owned())).collect()
}

fn counters(fabric: &Fabric) -> RuleCounters {
    fabric.counters("f").expect("installed rules")
}

/// A packet from n1 to the port of `to`, in a frame.
fn packet(to: u8, protocol: IpProtocol, length: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: address(1),
        dst_addr: address(to),
        next_header: protocol,
        payload_len: length,
        hop_limit: 64,
    };
    let mut bytes = vec![0; header.buffer_len() + length];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    fill(packet.payload_mut());
    [&mac(to)[..], &mac(1), &[8, 0], &bytes].concat()
}

fn segment(control: TcpControl, acknowledges: Option<i32>, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: ports.0,
        dst_port: ports.1,
        control,
        seq_number: TcpSeqNumber(1_000),
        ack_number: acknowledges.map(TcpSeqNumber),
        window_len: 100,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload,
    };
    packet(2, IpProtocol::Tcp, segment.buffer_len(), |bytes| {
        let (from, to) = (address(1).into(), address(2).into());
        segment.emit(&mut TcpPacket::new_unchecked(bytes), &from, &to, &ChecksumCapabilities::default());
    })
}

fn datagram(to: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let header = UdpRepr { src_port: 4_000, dst_port: port };
    packet(to, IpProtocol::Udp, header.header_len() + payload.len(), |bytes| {
        header.emit(
            &mut UdpPacket::new_unchecked(bytes),
            &address(1).into(),
            &address(to).into(),
            payload.len(),
            |into| into.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

/// The TCP segment in a frame, its checksums right.
fn parse(frame: &[u8]) -> (Vec<u8>, TcpRepr<'_>) {
    let packet = Ipv4Packet::new_checked(&frame[14..]).expect("a packet");
    let header = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).expect("a packet");
    let bytes = &frame[14 + usize::from(packet.header_len())..];
    let segment = TcpPacket::new_checked(bytes).expect("a segment");
    let (from, to) = (header.src_addr.into(), header.dst_addr.into());
    let segment = TcpRepr::parse(&segment, &from, &to, &ChecksumCapabilities::default()).expect("a segment");
    (frame[..12].to_vec(), segment)
}

#[test]
fn a_blocked_port_is_one_protocol_and_one_direction() {
    let only = Some(Filter { protocol: Protocol::Tcp, port: Some(80), replies: false });
    let mut fabric = fabric(&Impairment { only, cut: true, ..Impairment::default() });
    let syn = |ports| segment(TcpControl::Syn, None, ports, b"");
    assert_eq!(send(&mut fabric, &syn((4_000, 80))), []);
    for other in [syn((4_000, 81)), syn((80, 4_000)), datagram(2, 80, b"x")] {
        assert_eq!(send(&mut fabric, &other), [(1, other.clone())]);
    }
    // Only the first piece of a packet says to which port it goes.
    let mut piece = syn((4_000, 80));
    piece[21] = 1;
    assert_eq!(send(&mut fabric, &piece).len(), 1);
    assert_eq!(counters(&fabric), RuleCounters { seen: 1, dropped: 1, ..RuleCounters::default() });
}

#[test]
fn a_reset_reaches_both_ends_at_the_number_that_each_expects() {
    let only = Some(Filter { protocol: Protocol::Tcp, port: Some(80), replies: true });
    let mut fabric = fabric(&Impairment { only, reset: 1.0, ..Impairment::default() });
    let sent = segment(TcpControl::Psh, Some(5_000), (4_000, 80), b"hello");
    let got = send(&mut fabric, &sent);
    assert_eq!(got.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [0, 1]);
    let (macs, back) = parse(&got[0].1);
    assert_eq!(macs, [mac(1), mac(2)].concat());
    assert_eq!((back.src_port, back.dst_port, back.control), (80, 4_000, TcpControl::Rst));
    assert_eq!((back.seq_number, back.ack_number), (TcpSeqNumber(5_000), Some(TcpSeqNumber(1_005))));
    let (macs, onward) = parse(&got[1].1);
    assert_eq!(macs, [mac(2), mac(1)].concat());
    assert_eq!((onward.src_port, onward.dst_port, onward.control), (4_000, 80, TcpControl::Rst));
    assert_eq!((onward.seq_number, onward.ack_number), (TcpSeqNumber(1_000), Some(TcpSeqNumber(5_000))));
    // Also of a connection in the other direction, but not of another port, nor before it is open.
    assert_eq!(send(&mut fabric, &segment(TcpControl::None, Some(1), (80, 4_000), b"")).len(), 2);
    for spared in [
        segment(TcpControl::None, Some(1), (4_000, 81), b""),
        segment(TcpControl::Syn, None, (4_000, 80), b""),
        segment(TcpControl::Rst, Some(1), (4_000, 80), b""),
    ] {
        assert_eq!(send(&mut fabric, &spared), [(1, spared.clone())]);
    }
    assert_eq!(counters(&fabric).reset, 2);
}

#[test]
fn a_question_gets_the_wrong_answer_and_other_frames_pass() {
    let names = |answer| Some(Names { names: vec!["n2".to_owned()], answer });
    let question = datagram(9, dns::PORT, &dns::question("n2"));
    let mut lying = fabric(&Impairment { names: names(Lie::Nxdomain), ..Impairment::default() });
    let got = send(&mut lying, &question);
    assert_eq!((got.len(), got[0].0), (1, 0));
    let frame = EthernetFrame::new_checked(&got[0].1[..]).expect("a frame");
    assert_eq!((frame.src_addr().0, frame.dst_addr().0), (mac(9), mac(1)));
    let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
    assert_eq!((packet.src_addr(), packet.dst_addr()), (address(9), address(1)));
    let reply = UdpPacket::new_checked(packet.payload()).expect("a datagram");
    assert_eq!((reply.src_port(), reply.dst_port()), (dns::PORT, 4_000));
    assert!(reply.verify_checksum(&address(9).into(), &address(1).into()));
    assert_eq!(reply.payload()[3] & 15, 3, "the name does not exist");
    for other in [datagram(9, dns::PORT, &dns::question("n1")), datagram(9, 54, &dns::question("n2"))] {
        assert_eq!(send(&mut lying, &other), [(2, other.clone())]);
    }
    assert_eq!(counters(&lying), RuleCounters { seen: 1, misled: 1, ..RuleCounters::default() });

    let mut silent = fabric(&Impairment { names: names(Lie::Timeout), ..Impairment::default() });
    assert_eq!(send(&mut silent, &question), []);
    assert_eq!(counters(&silent), RuleCounters { seen: 1, dropped: 1, ..RuleCounters::default() });
}

proptest! {
    #[test]
    fn any_frame_is_survived_by_rules_that_look_into_it(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), like in 0_usize..3, at in 0_usize..60, byte: u8,
    ) {
        let reset = Impairment { reset: 1.0, ..Impairment::default() };
        let lie = Names { names: Vec::new(), answer: Lie::Servfail };
        let lie = Impairment { names: Some(lie), ..Impairment::default() };
        let only = Some(Filter { protocol: Protocol::Udp, port: None, replies: true });
        let filter = Impairment { only, cut: true, ..Impairment::default() };
        // From nothing, or one byte away from something that is understood.
        match like {
            0 => {}
            1 => bytes = segment(TcpControl::Psh, Some(1), (4_000, 80), &bytes),
            _ => bytes = datagram(9, dns::PORT, &[&dns::question("n2")[..], &bytes].concat()),
        }
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        for impairment in [reset, lie, filter] {
            for (_, frame) in send(&mut fabric(&impairment), &bytes) {
                prop_assert!(frame.len() >= 14);
            }
        }
    }
}
