//! What everybody needs who runs a machine with QEMU: how guests run here, and the conversation with one QEMU.
//!
//! It knows neither fleets nor images, and starts nothing.

pub mod accel;
pub(crate) mod qmp;

/// The program.
pub(crate) const HYPERVISOR: &str = "qemu-system-x86_64";
