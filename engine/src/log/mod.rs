//! Sources of log lines, their parsing, and searching what was parsed.
//!
//! A source follows files ([`follow`]), hands batches of lines to its parser
//! ([`parser`]) and sends records together with how far it got ([`source`]).
//! Records and checkpoint commit in one transaction, so a restart neither loses
//! nor doubles a line.

pub mod files;
pub mod follow;
mod followed;
pub mod lines;
pub mod parser;
pub mod source;

pub use follow::{Follower, FollowerOptions};
pub use parser::{LineBatch, LineParser, Parsed, ParsedRecord};
pub use source::{LogBatch, Source, SourceEvent, Stopped};
