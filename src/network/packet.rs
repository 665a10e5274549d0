//! As much of Ethernet, IPv4, TCP and UDP as rules look at, and the few packets that they make.
//!
//! Every function is total: whatever a guest sends, it is understood or it is not, and nothing fails.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::dns;
use super::rule::{Filter, Names, Protocol};

type Packet<'f> = Ipv4Packet<&'f [u8]>;

/// Hops that a packet of ours may take, as Linux has it.
const HOP_LIMIT: u8 = 64;

/// Whether the frame is one of those that the filter means.
pub(super) fn matches(filter: &Filter, frame: &[u8]) -> bool {
    let ports = match filter.protocol {
        Protocol::Tcp => tcp(frame).map(|(_, segment)| (segment.src_port(), segment.dst_port())),
        Protocol::Udp => udp(frame).map(|(_, datagram)| (datagram.src_port(), datagram.dst_port())),
    };
    ports.is_some_and(|(from, to)| {
        filter.port.is_none_or(|port| port == to || (filter.replies && port == from))
    })
}

/// Two frames that end the connection to which a TCP segment belongs: one for the receiver, one for the sender
/// of the segment. `None` if it is no segment of an open connection.
pub(super) fn resets(frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (packet, segment) = tcp(frame)?;
    if segment.syn() || segment.rst() || !segment.ack() {
        return None;
    }
    // Each end takes a reset only at the very number that it expects next.
    let (number, expected) = (segment.seq_number(), segment.ack_number());
    let reset = |source_port, target_port, seq_number, ack_number| TcpRepr {
        src_port: source_port,
        dst_port: target_port,
        control: TcpControl::Rst,
        seq_number,
        ack_number: Some(ack_number),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    };
    let after: TcpSeqNumber = number + segment.segment_len();
    let onward = reset(segment.src_port(), segment.dst_port(), number, expected);
    let back = reset(segment.dst_port(), segment.src_port(), expected, after);
    let (source, target) = (packet.src_addr(), packet.dst_addr());
    let build = |frame: &[u8], source: Ipv4Addr, target: Ipv4Addr, segment: &TcpRepr<'_>| {
        ipv4(frame, (source, target), IpProtocol::Tcp, segment.buffer_len(), |payload| {
            let checksums = ChecksumCapabilities::default();
            segment.emit(&mut TcpPacket::new_unchecked(payload), &source.into(), &target.into(), &checksums);
        })
    };
    Some((build(frame, source, target, &onward), build(&returned(frame)?, target, source, &back)))
}

/// What a question for a name gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misled {
    /// A frame for the one who asked.
    Answer(Vec<u8>),
    Silence,
}

/// The fate of a frame that asks for one of the names; `None` if it does not.
pub(super) fn mislead(names: &Names, frame: &[u8]) -> Option<Misled> {
    let (packet, datagram) = udp(frame)?;
    if datagram.dst_port() != dns::PORT {
        return None;
    }
    let Some(answer) = dns::mislead(datagram.payload(), names)? else { return Some(Misled::Silence) };
    let header = UdpRepr { src_port: datagram.dst_port(), dst_port: datagram.src_port() };
    let (source, target) = (packet.dst_addr(), packet.src_addr());
    let length = header.header_len() + answer.len();
    let back = ipv4(&returned(frame)?, (source, target), IpProtocol::Udp, length, |payload| {
        header.emit(
            &mut UdpPacket::new_unchecked(payload),
            &source.into(),
            &target.into(),
            answer.len(),
            |payload| payload.copy_from_slice(&answer),
            &ChecksumCapabilities::default(),
        );
    });
    Some(Misled::Answer(back))
}

fn tcp(frame: &[u8]) -> Option<(Packet<'_>, TcpPacket<&[u8]>)> {
    let (packet, payload) = unfragmented(frame, IpProtocol::Tcp)?;
    Some((packet, TcpPacket::new_checked(payload).ok()?))
}

fn udp(frame: &[u8]) -> Option<(Packet<'_>, UdpPacket<&[u8]>)> {
    let (packet, payload) = unfragmented(frame, IpProtocol::Udp)?;
    Some((packet, UdpPacket::new_checked(payload).ok()?))
}

/// The IPv4 packet in the frame, and its payload, if both are whole.
fn unfragmented(frame: &[u8], protocol: IpProtocol) -> Option<(Packet<'_>, &[u8])> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let bytes = frame.get(ETHERNET_HEADER_LEN..)?;
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let whole = packet.version() == 4 && packet.frag_offset() == 0 && !packet.more_frags();
    if !whole || packet.next_header() != protocol {
        return None;
    }
    let payload = bytes.get(usize::from(packet.header_len())..usize::from(packet.total_len()))?;
    Some((packet, payload))
}

/// The Ethernet header of a frame that goes back to the sender.
fn returned(frame: &[u8]) -> Option<Vec<u8>> {
    let (target, source, kind) = (frame.get(..6)?, frame.get(6..12)?, frame.get(12..14)?);
    Some([source, target, kind].concat())
}

/// A frame with the Ethernet header of `like` and a packet whose payload, `length` bytes, is written by `fill`.
fn ipv4(
    like: &[u8],
    (source, target): (Ipv4Addr, Ipv4Addr),
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: target,
        next_header: protocol,
        payload_len: length,
        hop_limit: HOP_LIMIT,
    };
    let mut frame: Vec<u8> = like.iter().copied().take(ETHERNET_HEADER_LEN).collect();
    frame.resize(ETHERNET_HEADER_LEN + header.buffer_len() + length, 0);
    if let Some(bytes) = frame.get_mut(ETHERNET_HEADER_LEN..) {
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        header.emit(&mut packet, &ChecksumCapabilities::default());
        fill(packet.payload_mut());
    }
    frame
}
