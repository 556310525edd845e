//! Auto-remediation: the safety envelope and the hand-over to actions.

pub mod envelope;
