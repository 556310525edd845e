//! Connections and replication, for a user who may see them.

use bellwether_plugin::Report;
use bellwether_plugin::findings::Findings;
use bellwether_plugin::http::shorten;
use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::text::printable;

use crate::config::Config;
use crate::protocol::Refusal;
use crate::rows::{Rows, ask, number};

/// A statement that does not exist: an older server.
const SYNTAX: u16 = 1064;

/// What the server told.
#[derive(Debug, Default)]
pub struct Load {
    most_connections: Option<f64>,
    replica: Option<Result<Rows, Refusal>>,
}

impl Load {
    /// Asks for what the configuration judges, and with a password for the rest
    /// too.
    pub fn ask(
        connection: &dyn Connection,
        config: &Config,
        with_password: bool,
    ) -> Result<Self, Error> {
        let mut load = Load::default();
        if config.needs_percent() || with_password {
            // A refusal is a proxy that does not know it.
            let answer = ask(connection, "SELECT @@GLOBAL.max_connections")?;
            load.most_connections = answer.ok().and_then(|rows| rows.number(0));
        }
        if config.needs_replica() {
            let mut answer = ask(connection, "SHOW REPLICA STATUS")?;
            if matches!(&answer, Err(refusal) if refusal.code == SYNTAX) {
                answer = ask(connection, "SHOW SLAVE STATUS")?;
            }
            load.replica = Some(answer);
        }
        Ok(load)
    }

    fn percent(&self, connections: Option<f64>) -> Option<f64> {
        let most = self.most_connections.filter(|most| *most > 0.0)?;
        Some(connections? / most * 100.0)
    }

    fn lag(&self) -> Option<f64> {
        let rows = self.replica.as_ref()?.as_ref().ok()?;
        number(rows.named(["Seconds_Behind_Source", "Seconds_Behind_Master"])?)
    }

    /// Judges by the limits that are set.
    pub fn judge(&self, config: &Config, connections: Option<f64>, findings: &mut Findings) {
        match self.percent(connections) {
            Some(percent) => findings.above(
                "percent of max_connections",
                percent,
                config.connections_warn_percent,
                config.connections_critical_percent,
            ),
            None if config.needs_percent() => {
                findings.unknown("max_connections is not readable");
            }
            None => {}
        }
        let short = |text: &str| shorten(&printable(text.as_bytes()), 200);
        match &self.replica {
            None => {}
            Some(Err(refusal)) => findings.unknown(format!(
                "the replica's state is not readable: {} ({})",
                short(&refusal.message),
                refusal.code
            )),
            Some(Ok(rows)) if rows.count == 0 => {
                findings.critical("expected a replica, found a server that replicates nothing");
            }
            Some(Ok(rows)) => {
                for (what, names, error) in [
                    (
                        "receives",
                        ["Replica_IO_Running", "Slave_IO_Running"],
                        "Last_IO_Error",
                    ),
                    (
                        "replays",
                        ["Replica_SQL_Running", "Slave_SQL_Running"],
                        "Last_SQL_Error",
                    ),
                ] {
                    if rows.named(names) != Some("Yes") {
                        let text = rows.named([error, error]).unwrap_or_default();
                        let why = if text.is_empty() { "" } else { ": " };
                        findings
                            .critical(format!("the replica no longer {what}{why}{}", short(text)));
                    }
                }
                if let Some(lag) = self.lag() {
                    let (warn, critical) = (config.lag_warn_s, config.lag_critical_s);
                    findings.above("seconds behind", lag, warn, critical);
                }
            }
        }
    }

    /// Adds the metrics.
    pub fn metrics(&self, report: Report, connections: Option<f64>) -> Report {
        report
            .metric_if("connections_percent", self.percent(connections))
            .metric_if("replication_lag_s", self.lag())
    }
}
