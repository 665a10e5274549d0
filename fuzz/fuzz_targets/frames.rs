//! Bytes of a guest on the wire to the switch: frames, Ethernet, ARP, IPv4, TCP, UDP, questions for names.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ovenproof::network::fuzzing::from_guest(bytes));
