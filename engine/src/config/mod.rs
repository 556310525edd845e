//! Configuration: read, validated once, handed out as one value.
//!
//! [`load()`] turns files into a [`Spec`](spec::Spec), [`merge()`] adds what was
//! made in the UI, [`Config::build`] checks the meaning of all of it.

pub mod document;
pub mod export;
pub mod grants_syntax;
pub mod input;
pub mod load;
pub mod merge;
pub mod plugins;
pub mod problem;
pub mod reference;
pub mod schema;
pub mod spec;
pub mod templates;
pub mod units;
pub mod validate;

pub mod model;

pub use document::Document;
pub use export::export_yaml;
pub use input::InputSpec;
pub use load::{Loaded, load, load_str, parse_object, parse_spec};
pub use merge::{Merged, Origin, UiObjects, merge};
pub use model::{
    CheckDef, Config, ContactDef, LogSourceDef, NodeDef, PluginDef, RemediationDef, SmtpDef,
    SmtpTls, SmtpTransport,
};
pub use plugins::{PluginFacts, PluginKind, PluginLookup};
pub use problem::{Origins, Place, Problem, closest};
