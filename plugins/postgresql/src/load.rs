//! Sessions and replication, by one query that needs no rights.

use bellwether_plugin::Report;
use bellwether_plugin::findings::Findings;

use crate::config::Config;
use crate::judge::number;

/// PostgreSQL 10 and later. A standby that has replayed all it received from a
/// primary it is connected to is not behind, however long ago the last
/// transaction was.
pub const STATISTICS: &str = "SELECT (SELECT sum(numbackends) FROM pg_stat_database), \
    current_setting('max_connections'), \
    pg_is_in_recovery(), \
    CASE WHEN NOT pg_is_in_recovery() THEN NULL \
    WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver) \
    AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
    ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END, \
    (SELECT count(*) FROM pg_stat_replication), \
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE \
    (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication) END";

/// What [`STATISTICS`] tells.
#[derive(Debug, Default, PartialEq)]
pub struct Load {
    connections: Option<f64>,
    most: Option<f64>,
    standby: bool,
    lag_s: Option<f64>,
    replicas: Option<f64>,
    lag_bytes: Option<f64>,
}

impl Load {
    /// Reads its row.
    pub fn read(columns: &[Option<String>]) -> Self {
        let column = |at: usize| number(columns.get(at)?.as_deref()?);
        Load {
            connections: column(0),
            most: column(1).filter(|most| *most > 0.0),
            standby: column(2) == Some(1.0),
            // Clocks differ.
            lag_s: column(3).map(|lag| lag.max(0.0)),
            replicas: column(4),
            lag_bytes: column(5).map(|lag| lag.max(0.0)),
        }
    }

    fn percent(&self) -> Option<f64> {
        Some(self.connections? / self.most? * 100.0)
    }

    /// Judges by the limits that are set.
    pub fn judge(&self, config: &Config, findings: &mut Findings) {
        if let Some(percent) = self.percent() {
            let (warn, critical) = (
                config.connections_warn_percent,
                config.connections_critical_percent,
            );
            findings.above("percent of max_connections", percent, warn, critical);
        }
        let (warn, critical) = (config.lag_warn_s, config.lag_critical_s);
        if self.standby {
            match self.lag_s {
                Some(lag) => findings.above("seconds behind", lag, warn, critical),
                None if warn.or(critical).is_some() => {
                    findings.unknown("the standby has replayed no transaction yet");
                }
                None => {}
            }
        } else if let Some(replicas) = self.replicas {
            findings.below("standbys", replicas, None, config.min_replicas);
        }
    }

    /// Adds the metrics.
    pub fn metrics(&self, report: Report) -> Report {
        report
            .metric_if("connections", self.connections)
            .metric_if("connections_percent", self.percent())
            .metric_if("replication_lag_s", self.lag_s)
            .metric_if("replication_lag_bytes", self.lag_bytes)
            .metric_if("replicas", self.replicas)
    }
}
