//! Tests of the switch as a whole, with sockets and threads but without virtual machines.

mod dialing;
mod node;
mod packets;
mod rules;
mod server;
mod switching;
