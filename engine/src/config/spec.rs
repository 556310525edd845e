//! The configuration as people write it: one serde tree for YAML, API and UI.
//!
//! Everything here is text and numbers; meaning (compiled expressions, resolved
//! names) is in the validated [`Config`](super::Config).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::InputSpec;
use super::units::{Bytes, Percent, Rate, Span};

/// Free-form JSON object handed to a plugin.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;

/// The whole configuration file or folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Address under which people reach the UI; builds links. File only.
    pub public_url: Option<String>,
    /// Mail server. File only.
    pub smtp: Option<SmtpSpec>,
    /// Argv by name, run without a shell. File only.
    pub commands: BTreeMap<String, Vec<String>>,
    /// Folders that plugins may be let into, by name. File only.
    pub files: BTreeMap<String, String>,
    /// Where secrets come from, by name. File only.
    pub secrets: BTreeMap<String, SecretSource>,
    /// How long data is kept.
    pub retention: RetentionSpec,
    /// Who hears of engine faults.
    pub faults: FaultsSpec,
    /// What no grant can open. File only.
    pub egress: EgressSpec,
    /// Bounds of the engine itself. File only.
    pub engine: EngineSpec,
    /// Login and exposure. File only.
    pub web: WebSpec,
    /// Whose plugins are taken. File only.
    pub signing: SigningSpec,
    /// Where plugins may be pulled from. File only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistrySpec>,
    /// Uploaded or local plugins and what they may do.
    pub plugins: Vec<PluginSpec>,
    pub nodes: Vec<NodeSpec>,
    pub checks: Vec<CheckSpec>,
    pub rules: Vec<RuleSpec>,
    pub contacts: Vec<ContactSpec>,
    pub remediations: Vec<RemediationSpec>,
    pub log_sources: Vec<LogSourceSpec>,
}

/// A registry of OCI artifacts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// Host, with a port where it is another than usual.
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// HTTP instead of HTTPS: only on networks that are trusted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// Further hosts that give its tokens and files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// `{ env: NAME }` or `{ file: PATH }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretSource {
    /// Name of an environment variable of the engine.
    Env(String),
    /// Path of a file; a trailing line break is dropped.
    File(String),
}

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSpec {
    /// `smtp://host:port`, `smtps://host:port`, `smtp://host?tls=required`, or
    /// `file:///folder` which writes each mail into a folder.
    pub url: String,
    /// Sender mailbox.
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// PEM file with further trusted certificate authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Bound of a whole delivery attempt.
    #[serde(default = "default_smtp_timeout")]
    pub timeout: Span,
}

fn default_smtp_timeout() -> Span {
    Span::secs(30)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSpec {
    pub results: Span,
    pub rollups: Span,
    pub logs: Span,
    pub timeline: Span,
}

impl Default for RetentionSpec {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            results: Span::secs(30 * DAY),
            rollups: Span::secs(400 * DAY),
            logs: Span::secs(7 * DAY),
            timeline: Span::secs(400 * DAY),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsSpec {
    /// Contacts that get `[FAULT]` mails.
    pub notify: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSpec {
    /// Networks that nothing may reach, whatever was granted.
    pub deny: Vec<String>,
}

impl Default for EgressSpec {
    /// Cloud metadata services: of most clouds, Amazon's containers and pods,
    /// Alibaba, Oracle and Azure.
    fn default() -> Self {
        const METADATA: [&str; 8] = [
            "169.254.169.254/32",
            "169.254.170.2/32",
            "169.254.170.23/32",
            "100.100.100.200/32",
            "192.0.0.192/32",
            "168.63.129.16/32",
            "fd00:ec2::254/128",
            "fd00:ec2::23/128",
        ];
        Self {
            deny: METADATA.map(String::from).into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSpec {
    /// Checks that may run at the same time.
    pub max_in_flight: u32,
    /// Greatest memory limit a check may ask for.
    pub max_memory: Bytes,
    /// Greatest size of an uploaded plugin.
    pub max_plugin_size: Bytes,
    /// Bound of one plugin's compilation.
    pub compile_timeout: Span,
}

impl Default for EngineSpec {
    fn default() -> Self {
        Self {
            max_in_flight: 20_000,
            max_memory: Bytes(256 << 20),
            max_plugin_size: Bytes(64 << 20),
            compile_timeout: Span::secs(60),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSpec {
    /// Allows a listen address beyond loopback without TLS in front.
    pub allow_plain_http: bool,
    /// Proxies whose X-Forwarded-* headers are believed.
    pub trusted_proxies: Vec<String>,
    /// Serves /metrics without a token.
    pub open_metrics: bool,
}

/// Whose plugins are taken. What came with the engine needs no signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningSpec {
    /// Refuses uploads and files that none of the keys signed.
    pub require: bool,
    pub keys: Vec<SigningKeySpec>,
    /// Digests (`sha256:…`) of versions that must not run.
    pub revoked: Vec<String>,
}

/// A key that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeySpec {
    /// Who signs with it; shown beside plugins.
    pub name: String,
    /// Ed25519, base64.
    pub public_key: String,
}

/// A plugin and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    pub name: String,
    /// Component file, relative to the configuration file; absent for an
    /// uploaded or built-in plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default)]
    pub grants: GrantsSpec,
}

/// What an operator grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrantsSpec {
    /// `node`, `host:port`, `*.host:port`, `CIDR:port`, `icmp:…`, `udp:…`,
    /// `dns:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<String>,
    /// Secrets the plugin may use by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Configured commands the plugin may run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Whether the plugin may keep state between runs.
    pub state: bool,
    /// Secrets whose values the plugin may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_secrets: Vec<String>,
    /// Whether the plugin may see the figures of the engine's host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// Configured folders the plugin may read in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    pub name: String,
    /// Host name or literal IP address.
    pub address: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nodes this one is reached through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSpec {
    pub name: String,
    /// `name`, `name@version` or `sha256:…`.
    pub plugin: String,
    /// CEL over `name`, `address`, `labels`; absent selects every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Interval of at least 1s; exactly one of `every` and `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub every: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// IANA time zone of `cron`; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Spread of the first slot, as a share of the interval; never drifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jitter: Option<Percent>,
    /// Bound of each wait on the target.
    #[serde(default = "default_timeout")]
    #[schema(value_type = String)]
    pub timeout: Span,
    /// Failures in a row until the state is hard.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Interval while soft; absent: the normal one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub retry_every: Option<Span>,
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Configuration of the plugin; strings are templates over `node` and
    /// `check`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: JsonObject,
    /// What the engine fetches and hands to the program; command plugins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputSpec>,
    /// True holds the schedule.
    #[serde(default)]
    pub paused: bool,
}

fn default_timeout() -> Span {
    Span::secs(5)
}

fn default_attempts() -> u32 {
    1
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Linear memory of one run; 64MiB where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub memory: Option<Bytes>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// The word used in configuration, API and mails.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    pub name: String,
    /// CEL expression of type bool.
    pub when: String,
    /// How long it must stay true; absent fires at once.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hold: Option<Span>,
    #[serde(default = "default_severity")]
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Contacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// Remediations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remediate: Vec<String>,
}

fn default_severity() -> Severity {
    Severity::Warning
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactSpec {
    pub name: String,
    /// Mailboxes; each gets a mail of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<String>,
    /// Notifier plugin that tells by other means, beside or instead of mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Configuration of the plugin.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    #[schema(value_type = Object)]
    pub config: JsonObject,
    /// Bound of each wait of the plugin; 10s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Span>,
    /// Gathers notifications that have these in common: `rule`, `check`, `node`,
    /// `severity` and names of labels. Absent: each leaves by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// How long the first of a group waits for others; 0s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub group_wait: Option<Span>,
    /// How long those that follow are gathered; 5m where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub group_interval: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemediationSpec {
    pub name: String,
    pub plugin: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: JsonObject,
    /// Bound of each wait of the action.
    #[serde(default = "default_action_timeout")]
    #[schema(value_type = String)]
    pub timeout: Span,
    #[serde(default)]
    pub limits: EnvelopeSpec,
}

fn default_action_timeout() -> Span {
    Span::secs(30)
}

/// The safety envelope of a remediation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeSpec {
    #[schema(value_type = String)]
    pub per_node: Rate,
    #[schema(value_type = String)]
    pub overall: Rate,
    /// Greatest share of the check's nodes under repair at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_share: Option<Percent>,
    #[schema(value_type = String)]
    pub cooldown: Span,
    /// Waits for a person.
    pub approve: bool,
    pub dry_run: bool,
    /// Check that proves the repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    #[schema(value_type = String)]
    pub verify_after: Span,
}

impl Default for EnvelopeSpec {
    fn default() -> Self {
        const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
        Self {
            per_node: Rate {
                count: 3,
                per: HOUR,
            },
            overall: Rate {
                count: 10,
                per: HOUR,
            },
            max_share: None,
            cooldown: Span::secs(300),
            approve: false,
            dry_run: false,
            verify: None,
            verify_after: Span::secs(5),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStart {
    /// Files present at first sight start at their end.
    #[default]
    End,
    Start,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSourceSpec {
    pub name: String,
    /// Path or glob (`*` and `?` in the file name).
    pub file: String,
    /// Log-parser plugin.
    pub parser: String,
    #[serde(default)]
    pub from: LogStart,
    /// Configuration of the parser.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: JsonObject,
}
