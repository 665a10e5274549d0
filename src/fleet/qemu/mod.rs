//! VMs on this machine.
