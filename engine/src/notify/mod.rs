//! Telling people: the outbox worker, mails and how they look.
//!
//! What is to be told was committed to the outbox together with the transition
//! it tells of; this module only delivers, at least once, each row with the
//! Message-ID it was stored with.

pub mod backoff;
pub mod dispatcher;
pub mod mail;
pub mod render;
mod smtp;
mod tell;
pub mod together;

pub use dispatcher::{Dispatcher, DueDelivery, Outbound};
pub use mail::{Delivery, Mail, MailSetupError, Mailer};
pub use render::{Rendered, Renderer};
pub use tell::{Notifier, RunNotifier};
