//! The command line.

mod backtest;
mod bench;
mod client;
pub mod out;
mod plugin;
mod serve;
mod signing;
mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use self::out::say;
use self::plugin::PluginCommand;
use crate::auth::Role;

/// Checks that people write, alerts that can be explained, repairs within
/// limits.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where state is kept.
#[derive(Clone, Debug, clap::Args)]
struct DataDir {
    /// Folder that holds all state
    #[arg(long, default_value = "bellwether-data", env = "BELLWETHER_DATA_DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine
    Serve {
        /// Configuration file or folder
        #[arg(long, env = "BELLWETHER_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        data: DataDir,
        /// Address of the web UI and API
        #[arg(long, default_value = "127.0.0.1:8480", env = "BELLWETHER_LISTEN")]
        listen: SocketAddr,
    },
    /// Run the engine with a shop to watch, break and repair
    Demo {
        /// Folder that holds all state; a new one below the system's for
        /// temporary files where absent
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Address of the web UI and API
        #[arg(long, default_value = "127.0.0.1:8480")]
        listen: SocketAddr,
    },
    /// Work with a check
    #[command(subcommand)]
    Check(CheckCommand),
    /// Work with plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Work with rules
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Check a configuration and say what it holds, using nothing of it
    Plan {
        /// Configuration file or folder
        #[arg(long)]
        config: PathBuf,
    },
    /// Tell a running engine to read its configuration again
    Apply {
        #[command(flatten)]
        server: Server,
    },
    /// Write the configuration of a running engine as YAML
    Export {
        #[command(flatten)]
        server: Server,
    },
    /// Make an API token for a data folder whose engine is stopped
    #[command(subcommand)]
    Token(TokenCommand),
    /// Copy a data folder (database and uploaded plugins) into a new file; the
    /// engine may run
    Backup {
        #[command(flatten)]
        data: DataDir,
        /// New file
        to: PathBuf,
    },
    /// Make a data folder from a backup
    Restore {
        #[command(flatten)]
        data: DataDir,
        /// File that `backup` made
        from: PathBuf,
    },
    /// Print the API's OpenAPI document
    #[command(hide = true)]
    Openapi,
}

/// A running engine.
#[derive(Clone, Debug, clap::Args)]
struct Server {
    /// Its address
    #[arg(long, default_value = "http://127.0.0.1:8480", env = "BELLWETHER_URL")]
    url: String,
    /// API token
    #[arg(long, env = "BELLWETHER_TOKEN", hide_env_values = true)]
    token: String,
}

#[derive(Debug, Subcommand)]
enum CheckCommand {
    /// Run a check of a configuration once, recording nothing
    Run {
        /// Name of the check
        name: String,
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
        /// Configuration file or folder
        #[arg(long, env = "BELLWETHER_CONFIG")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum RuleCommand {
    /// Evaluate an expression over what a running engine knows now
    Test {
        /// CEL expression
        when: String,
        #[command(flatten)]
        server: Server,
    },
    /// Say what a rule would have fired, over stored results
    Backtest(Box<backtest::Arguments>),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it once
    Create {
        #[command(flatten)]
        data: DataDir,
        #[arg(long, value_enum)]
        role: RoleWord,
        #[arg(long, default_value = "command-line")]
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleWord {
    Viewer,
    Operator,
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Role::Viewer,
            RoleWord::Operator => Role::Operator,
            RoleWord::Admin => Role::Admin,
        }
    }
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let serving = matches!(
        arguments.command,
        Command::Serve { .. } | Command::Demo { .. }
    );
    let default = if serving { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("BELLWETHER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bellwether: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve {
            config,
            data,
            listen,
        } => serve::serve(config, data.data_dir, listen).await,
        Command::Demo { data_dir, listen } => serve::demo(data_dir, listen).await,
        Command::Check(CheckCommand::Run { name, node, config }) => {
            tools::check_run(&name, node.as_deref(), &config).await
        }
        Command::Plugin(command) => plugin::main(command).await,
        Command::Rule(RuleCommand::Test { when, server }) => tools::rule_test(&server, &when).await,
        Command::Rule(RuleCommand::Backtest(arguments)) => backtest::backtest(*arguments).await,
        Command::Plan { config } => tools::plan(&config).await,
        Command::Apply { server } => tools::apply(&server).await,
        Command::Export { server } => tools::export(&server).await,
        Command::Token(TokenCommand::Create { data, role, name }) => {
            tools::token_create(&data.data_dir, &name, role.into()).await
        }
        Command::Backup { data, to } => tools::backup(&data.data_dir, &to).await,
        Command::Restore { data, from } => {
            let plugins = crate::store::backup::restore(&from, &data.data_dir).await?;
            say!(
                "restored {} into {}, with {plugins} uploaded plugins",
                from.display(),
                data.data_dir.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Openapi => {
            say!("{}", crate::http::openapi());
            Ok(ExitCode::SUCCESS)
        }
    }
}
