//! Bytes on the control socket of a fleet's supervisor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ovenproof::fleet::qemu::fuzzing::on_the_control_socket(bytes));
