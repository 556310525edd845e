//! The safety envelope: may this action run now? Pure.
//!
//! The order of the questions is the order of their finality: limits that end
//! the remediation for an alert come before waits that end by themselves.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::spec::EnvelopeSpec;

/// Longest rate and cooldown that can be set: runs of actions are kept, and read
/// at the start, for this long.
pub const LONGEST_LIMIT: Duration = Duration::from_secs(31 * 86_400);

/// A run that counts against the limits, whatever came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    pub at: Timestamp,
    /// Node it ran for; `None` for rule-wide alerts.
    pub node: Option<Arc<str>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub node: Option<&'a str>,
    /// Nodes that the alert's check selects.
    pub selected_nodes: usize,
    /// Other nodes under repair by this remediation: acted on, and still
    /// alerting.
    pub under_repair: usize,
}

/// May it run?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Run,
    /// A person has to approve.
    AwaitApproval,
    /// Not yet, because of the cooldown.
    Wait {
        until: Timestamp,
    },
    /// Too many other nodes are under repair; asked again after the cooldown.
    TooManyNodes {
        allowed: usize,
        under_repair: usize,
    },
    /// A rate limit ends the remediation for this alert.
    Exhausted {
        limit: String,
    },
}

/// Share of the selected nodes that may be under repair at the same time:
/// max(1, floor(share × nodes)).
pub fn allowed_nodes(spec: &EnvelopeSpec, selected_nodes: usize) -> Option<usize> {
    let share = spec.max_share?;
    Some(((share.factor() * selected_nodes as f64 + 1e-9).floor() as usize).max(1))
}

/// Answers `ask` at `now`; `history` holds the past runs of this remediation in
/// any order.
pub fn allow(spec: &EnvelopeSpec, history: &[PastRun], ask: Ask<'_>, now: Timestamp) -> Decision {
    let on_node = |run: &&PastRun| run.node.as_deref() == ask.node;
    let within = |run: &&PastRun, per| run.at > now - per && run.at <= now;
    let node_runs = history
        .iter()
        .filter(on_node)
        .filter(|run| within(run, spec.per_node.per))
        .count();
    if node_runs >= spec.per_node.count as usize {
        return Decision::Exhausted {
            limit: format!("per_node {}", spec.per_node),
        };
    }
    let all_runs = history
        .iter()
        .filter(|run| within(run, spec.overall.per))
        .count();
    if all_runs >= spec.overall.count as usize {
        return Decision::Exhausted {
            limit: format!("overall {}", spec.overall),
        };
    }
    if let Some(last) = history.iter().filter(on_node).map(|run| run.at).max() {
        let until = last + spec.cooldown.0;
        if until > now {
            return Decision::Wait { until };
        }
    }
    if let Some(allowed) = allowed_nodes(spec, ask.selected_nodes)
        && ask.under_repair + 1 > allowed
    {
        return Decision::TooManyNodes {
            allowed,
            under_repair: ask.under_repair,
        };
    }
    if spec.approve {
        Decision::AwaitApproval
    } else {
        Decision::Run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::{Percent, Rate, Span};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn ask(node: &str) -> Ask<'_> {
        Ask {
            node: Some(node),
            selected_nodes: 8,
            under_repair: 0,
        }
    }

    fn run(node: &str, ago: u64) -> PastRun {
        PastRun {
            at: NOW - Duration::from_secs(ago),
            node: Some(node.into()),
        }
    }

    #[test]
    fn a_first_run_is_allowed() {
        assert_eq!(
            allow(&EnvelopeSpec::default(), &[], ask("a"), NOW),
            Decision::Run
        );
    }

    #[test]
    fn the_cooldown_holds_back_the_same_node_only() {
        let spec = EnvelopeSpec::default();
        let history = [run("a", 100)];
        let until = NOW + Duration::from_secs(200);
        assert_eq!(
            allow(&spec, &history, ask("a"), NOW),
            Decision::Wait { until }
        );
        assert_eq!(allow(&spec, &history, ask("b"), NOW), Decision::Run);
    }

    #[test]
    fn the_fourth_run_in_an_hour_is_refused() {
        let spec = EnvelopeSpec::default();
        let history = [run("a", 3_000), run("a", 2_000), run("a", 1_000)];
        assert_eq!(
            allow(&spec, &history, ask("a"), NOW),
            Decision::Exhausted {
                limit: "per_node 3/h".into()
            }
        );
        let history = [run("a", 3_601), run("a", 2_000), run("a", 1_000)];
        assert_eq!(allow(&spec, &history, ask("a"), NOW), Decision::Run);
    }

    #[test]
    fn the_overall_rate_counts_every_node() {
        let spec = EnvelopeSpec {
            overall: Rate {
                count: 2,
                per: Duration::from_secs(3600),
            },
            ..EnvelopeSpec::default()
        };
        let history = [run("b", 10), run("c", 10)];
        assert_eq!(
            allow(&spec, &history, ask("a"), NOW),
            Decision::Exhausted {
                limit: "overall 2/h".into()
            }
        );
    }

    #[test]
    fn the_share_is_rounded_down_but_never_below_one() {
        let share = |percent: u32| EnvelopeSpec {
            max_share: Some(Percent(percent * 100)),
            ..EnvelopeSpec::default()
        };
        assert_eq!(allowed_nodes(&share(25), 8), Some(2));
        assert_eq!(allowed_nodes(&share(25), 7), Some(1));
        assert_eq!(allowed_nodes(&share(25), 2), Some(1));
        assert_eq!(allowed_nodes(&share(100), 3), Some(3));
        let busy = Ask {
            node: Some("a"),
            selected_nodes: 8,
            under_repair: 2,
        };
        assert_eq!(
            allow(&share(25), &[], busy, NOW),
            Decision::TooManyNodes {
                allowed: 2,
                under_repair: 2
            }
        );
    }

    #[test]
    fn approval_is_asked_only_where_it_could_run() {
        let spec = EnvelopeSpec {
            approve: true,
            cooldown: Span::secs(60),
            ..Default::default()
        };
        assert_eq!(allow(&spec, &[], ask("a"), NOW), Decision::AwaitApproval);
        assert!(matches!(
            allow(&spec, &[run("a", 10)], ask("a"), NOW),
            Decision::Wait { .. }
        ));
    }

    proptest! {
        /// However often it is asked, runs never exceed a limit in any window.
        #[test]
        fn limits_hold_in_every_window(
            steps in prop::collection::vec((0u64..600, 0usize..3), 1..200),
            per_node in 1u32..5,
            overall in 1u32..8,
            cooldown in 0u64..900,
        ) {
            let hour = Duration::from_secs(3600);
            let spec = EnvelopeSpec {
                per_node: Rate { count: per_node, per: hour },
                overall: Rate { count: overall, per: hour },
                cooldown: Span::secs(cooldown),
                ..EnvelopeSpec::default()
            };
            let nodes = ["a", "b", "c"];
            let mut history = Vec::new();
            let mut now = NOW;
            for (gap, node) in steps {
                now = now + Duration::from_secs(gap);
                let ask = Ask { node: Some(nodes[node]), selected_nodes: 3, under_repair: 0 };
                if allow(&spec, &history, ask, now) == Decision::Run {
                    history.push(PastRun { at: now, node: Some(nodes[node].into()) });
                }
            }
            for end in &history {
                let in_window = |run: &&PastRun| run.at > end.at - hour && run.at <= end.at;
                prop_assert!(history.iter().filter(in_window).count() <= overall as usize);
                for node in nodes {
                    let on_node: Vec<_> = history.iter().filter(in_window)
                        .filter(|run| run.node.as_deref() == Some(node)).collect();
                    prop_assert!(on_node.len() <= per_node as usize);
                }
            }
            for node in nodes {
                let times: Vec<_> = history.iter()
                    .filter(|run| run.node.as_deref() == Some(node)).map(|run| run.at).collect();
                for pair in times.windows(2) {
                    prop_assert!(pair[1].since(pair[0]) >= Duration::from_secs(cooldown));
                }
            }
        }
    }
}
