//! The ledger: what exists outside our processes, written down before it exists.
