//! The whole engine: configuration in, checks, alerts, mails and repairs out,
//! over real sockets and files.

mod authoring;
mod commands;
mod crash;
mod heartbeat;
mod hostile;
mod kept;
mod lifecycle;
mod mail_server;
mod outage;
mod registry;
mod rules;
mod shadow;
mod story;
mod support;
mod time;
mod told;

#[path = "../support/api.rs"]
mod api;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
mod smtp;
#[path = "../support/wat.rs"]
#[expect(dead_code, reason = "others use the rest of it")]
mod wat;
