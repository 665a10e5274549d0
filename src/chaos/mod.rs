//! Scenarios, schedules, faults, and the engine that runs them against a fleet.
