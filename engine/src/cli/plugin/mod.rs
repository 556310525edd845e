//! `bellwether plugin …`: a plugin from its first line to its use.

mod case;
mod new;
mod push;
mod run;
mod shadow;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use self::new::{Language, ProjectKind};
use super::{Server, signing};
use crate::config::spec::GrantsSpec;
use crate::config::units::Span;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a working project for a plugin in a language of your choice
    New {
        /// Name of the plugin
        name: String,
        /// Language to write it in
        #[arg(long, value_enum)]
        lang: Language,
        #[arg(long, value_enum, default_value = "probe")]
        kind: ProjectKind,
        /// New folder for it; NAME where absent
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Run a plugin against recorded requests, without a network
    Test {
        /// A project with its plugin in dist/, or a plugin's file
        #[arg(default_value = ".")]
        target: PathBuf,
        /// Folder or file with recorded requests; the project's tests/ where
        /// absent
        #[arg(long)]
        tests: Option<PathBuf>,
    },
    /// Upload a plugin to a running engine
    #[command(disable_version_flag = true)]
    Push {
        /// Component or WASI program; FILE.sig beside it is sent along
        file: PathBuf,
        /// Name to keep it under; its own where absent
        #[arg(long)]
        name: Option<String>,
        /// Send it only if it is this version
        #[arg(long)]
        version: Option<String>,
        /// How long to wait for its compilation
        #[arg(long, default_value = "5m")]
        wait: Span,
        #[command(flatten)]
        server: Server,
    },
    /// Let a running engine pull a plugin from a registry
    Pull {
        /// registry/repository:tag or registry/repository@sha256:…
        reference: String,
        /// Name to keep it under; its own where absent
        #[arg(long)]
        name: Option<String>,
        /// How long to wait for its compilation
        #[arg(long, default_value = "10m")]
        wait: Span,
        #[command(flatten)]
        server: Server,
    },
    /// Run another version beside the one in use and compare them
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Say what an uploaded plugin may do, and nothing else
    Grant {
        /// Name of the plugin
        name: String,
        /// `node`, `host:port`, `icmp:…`, `udp:…`, `dns:…`; may be repeated
        #[arg(long)]
        net: Vec<String>,
        /// Secret to be used by name
        #[arg(long)]
        secret: Vec<String>,
        /// Secret whose value may be read
        #[arg(long)]
        read_secret: Vec<String>,
        /// Configured command
        #[arg(long)]
        command: Vec<String>,
        /// Configured folder
        #[arg(long)]
        files: Vec<String>,
        /// Keep state between runs
        #[arg(long)]
        state: bool,
        /// See the figures of the engine's host
        #[arg(long)]
        system: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Use another version of an uploaded plugin; also the way back
    #[command(disable_version_flag = true)]
    Activate {
        /// Name of the plugin
        name: String,
        /// Version, or sha256:…
        version: String,
        #[command(flatten)]
        server: Server,
    },
    /// Compile a plugin and say what it is and wants
    Inspect {
        /// Component or WASI program
        file: PathBuf,
    },
    /// Run a probe or a WASI program once against an address
    Run {
        /// Component or WASI program
        file: PathBuf,
        /// Address of the node under check
        #[arg(long, default_value = "127.0.0.1")]
        address: String,
        /// Configuration as JSON
        #[arg(long, default_value = "{}")]
        config: String,
        /// Net grants such as node or example.org:443
        #[arg(long = "allow")]
        allow: Vec<String>,
        /// Bound of each wait, such as 5s
        #[arg(long, default_value = "5s")]
        timeout: Span,
        /// Write request, network and outcome into a new file for `plugin test`
        #[arg(long)]
        record: Option<PathBuf>,
        /// Run the request that crashed a plugin again, as its page or
        /// GET /api/v1/plugins/NAME/crashes gives it; with the grants it had,
        /// and without its secrets and commands
        #[arg(long, conflicts_with_all = ["address", "config", "allow", "timeout", "record", "input_file", "args"])]
        replay: Option<PathBuf>,
        /// What a WASI program reads from standard input
        #[arg(long)]
        input_file: Option<PathBuf>,
        /// Arguments of a WASI program
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Make a key pair to sign plugins with
    Keygen {
        /// New file for the secret key
        file: PathBuf,
    },
    /// Sign a plugin: writes FILE.sig
    Sign {
        /// Component file
        file: PathBuf,
        /// Secret key, as `keygen` made it
        #[arg(long)]
        key: PathBuf,
    },
    /// Check the signature of a plugin
    Verify {
        /// Component file
        file: PathBuf,
        /// Public key, base64
        #[arg(long)]
        key: String,
        /// Signature file; FILE.sig where absent
        #[arg(long)]
        signature: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ShadowCommand {
    /// From now on each scheduled run of a check is followed by one of VERSION,
    /// which changes nothing
    #[command(disable_version_flag = true)]
    Start {
        /// Name of the plugin
        name: String,
        /// Version, or sha256:…
        version: String,
        #[command(flatten)]
        server: Server,
    },
    /// Say how the two compare
    Show {
        /// Name of the plugin
        name: String,
        #[command(flatten)]
        server: Server,
    },
    /// End it
    Stop {
        /// Name of the plugin
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

/// Does what a command asks for.
pub async fn main(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New {
            name,
            lang,
            kind,
            folder,
        } => new::new(lang, kind, &name, folder),
        PluginCommand::Test { target, tests } => test::test(&target, tests).await,
        PluginCommand::Push {
            file,
            name,
            version,
            wait,
            server,
        } => {
            let push = push::Push {
                file: &file,
                name: name.as_deref(),
                version: version.as_deref(),
                wait: wait.0,
            };
            push::push(&server, push).await
        }
        PluginCommand::Pull {
            reference,
            name,
            wait,
            server,
        } => push::pull(&server, &reference, name.as_deref(), wait.0).await,
        PluginCommand::Shadow(ShadowCommand::Start {
            name,
            version,
            server,
        }) => shadow::start(&server, &name, &version).await,
        PluginCommand::Shadow(ShadowCommand::Show { name, server }) => {
            shadow::show(&server, &name).await
        }
        PluginCommand::Shadow(ShadowCommand::Stop { name, server }) => {
            shadow::stop(&server, &name).await
        }
        PluginCommand::Grant {
            name,
            net,
            secret,
            read_secret,
            command,
            files,
            state,
            system,
            server,
        } => {
            let grants = GrantsSpec {
                net,
                secrets: secret,
                commands: command,
                state,
                read_secrets: read_secret,
                system,
                files,
            };
            push::grant(&server, &name, grants).await
        }
        PluginCommand::Activate {
            name,
            version,
            server,
        } => push::activate(&server, &name, &version).await,
        PluginCommand::Inspect { file } => run::inspect(&file).await,
        PluginCommand::Run {
            file,
            address,
            config,
            allow,
            timeout,
            record,
            replay,
            input_file,
            args,
        } => match replay {
            Some(request) => run::replay(&file, &request).await,
            None => {
                let arguments = run::RunArguments {
                    address,
                    config,
                    allow,
                    timeout: timeout.0,
                    record,
                    program: run::ProgramInput { input_file, args },
                };
                run::run(&file, arguments).await
            }
        },
        PluginCommand::Keygen { file } => signing::keygen(&file),
        PluginCommand::Sign { file, key } => signing::sign(&file, &key),
        PluginCommand::Verify {
            file,
            key,
            signature,
        } => signing::verify(&file, &key, signature.as_deref()),
    }
}
