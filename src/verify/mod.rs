//! Probes, workloads, histories and checkers: what is known about the service, and what follows from it.
