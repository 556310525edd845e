//! What the export macros expand to, as far as it is not generated.

use std::sync::Once;

use crate::action::{Action, ActionContext, ActionError, ActionReport};
use crate::notifier::{Notification, Notifier, NotifyError, Receipt};
use crate::parser::{Batch, LogParser, ParseError, RawRecords, Records};
use crate::probe::{Probe, ProbeError, Report, Request};
use crate::{config, log};

/// Sends a panic's text to the run's log before the trap, which by itself says
/// no more than "unreachable".
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| log::error(&info.to_string())));
    });
}

/// Serves `probe.check`.
pub fn check<P: Probe>(request: Request) -> Result<Report, ProbeError> {
    prepare();
    let config = config::parse::<P::Config>(&request.config)?;
    P::check(&request, config)
}

/// Serves `action.run`.
pub fn act<A: Action>(context: ActionContext) -> Result<ActionReport, ActionError> {
    prepare();
    let config = config::parse::<A::Config>(&context.config)?;
    A::run(&context, config)
}

/// Serves `notifier.notify`.
pub fn notify<N: Notifier>(notification: Notification) -> Result<Receipt, NotifyError> {
    prepare();
    let config = config::parse::<N::Config>(&notification.config)?;
    N::notify(&notification, config)
}

/// The one parser of an instance, between `configure` and the instance's end.
pub struct Parsing<P>(Option<P>);

impl<P: LogParser> Parsing<P> {
    /// Nothing is configured yet.
    pub const fn new() -> Self {
        Parsing(None)
    }

    /// Serves `log-parser.configure`.
    pub fn configure(&mut self, json: &str) -> Result<(), ParseError> {
        prepare();
        self.0 = Some(P::configure(config::parse::<P::Config>(json)?)?);
        Ok(())
    }

    /// Serves `log-parser.parse`.
    pub fn parse(&mut self, batch: &Batch) -> Result<RawRecords, ParseError> {
        let mut records = Records::new(&batch.text, batch.ends.len());
        self.parser()?.parse(batch, &mut records)?;
        Ok(records.finish())
    }

    /// Serves `log-parser.flush`.
    pub fn flush(&mut self) -> Result<RawRecords, ParseError> {
        let mut records = Records::new("", 0);
        self.parser()?.flush(&mut records)?;
        Ok(records.finish())
    }

    fn parser(&mut self) -> Result<&mut P, ParseError> {
        self.0.as_mut().ok_or_else(|| {
            ParseError::Failed("expected a call of configure first, found none".to_owned())
        })
    }
}

impl<P: LogParser> Default for Parsing<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Exports a [`Probe`](crate::Probe) as the component's `probe` interface.
#[macro_export]
macro_rules! export_probe {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::probe::exports::bellwether::plugin::probe as world;
            struct Exported;
            impl world::Guest for Exported {
                fn describe() -> $crate::Manifest {
                    $crate::prepare();
                    <$plugin as $crate::Probe>::describe()
                }
                fn check(request: world::Request) -> Result<world::Report, world::ProbeError> {
                    $crate::check::<$plugin>(request)
                }
            }
    $crate::bindings::probe::export_world!(Exported with_types_in $crate::bindings::probe);
        };
    };
}

/// Exports a [`LogParser`](crate::LogParser) as the component's `log-parser`
/// interface.
#[macro_export]
macro_rules! export_log_parser {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::log_parser::exports::bellwether::plugin::log_parser as world;
            ::std::thread_local! {
                static PARSING: ::std::cell::RefCell<$crate::Parsing<$plugin>> =
                    const { ::std::cell::RefCell::new($crate::Parsing::new()) };
            }
            struct Exported;
            impl world::Guest for Exported {
                fn describe() -> $crate::Manifest {
                    $crate::prepare();
                    <$plugin as $crate::LogParser>::describe()
                }
                fn configure(config: ::std::string::String) -> Result<(), world::ParseError> {
                    PARSING.with_borrow_mut(|parsing| parsing.configure(&config))
                }
                fn parse(batch: world::Batch) -> Result<world::Records, world::ParseError> {
                    PARSING.with_borrow_mut(|parsing| parsing.parse(&batch))
                }
                fn flush() -> Result<world::Records, world::ParseError> {
                    PARSING.with_borrow_mut(|parsing| parsing.flush())
                }
            }
            $crate::bindings::log_parser::export_world!(
                Exported with_types_in $crate::bindings::log_parser
            );
        };
    };
}

/// Exports an [`Action`](crate::Action) as the component's `action` interface.
#[macro_export]
macro_rules! export_action {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::action::exports::bellwether::plugin::action as world;
            struct Exported;
            impl world::Guest for Exported {
                fn describe() -> $crate::Manifest {
                    $crate::prepare();
                    <$plugin as $crate::Action>::describe()
                }
                fn run(context: world::Context) -> Result<world::Report, world::ActionError> {
                    $crate::act::<$plugin>(context)
                }
            }
            $crate::bindings::action::export_world!(
                Exported with_types_in $crate::bindings::action
            );
        };
    };
}

/// Exports a [`Notifier`](crate::Notifier) as the component's `notifier`
/// interface.
#[macro_export]
macro_rules! export_notifier {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::notifier::exports::bellwether::plugin::notifier as world;
            struct Exported;
            impl world::Guest for Exported {
                fn describe() -> $crate::Manifest {
                    $crate::prepare();
                    <$plugin as $crate::Notifier>::describe()
                }
                fn notify(
                    notification: world::Notification,
                ) -> Result<world::Receipt, world::NotifyError> {
                    $crate::notify::<$plugin>(notification)
                }
            }
            $crate::bindings::notifier::export_world!(
                Exported with_types_in $crate::bindings::notifier
            );
        };
    };
}
