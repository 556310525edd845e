//! What rules see of logs and of checks that are gone.

use std::sync::Arc;

use super::Input;
use super::changes::{NotificationKind, Phase};
use super::tests::{configured, configured_as, kinds, mails, world};
use crate::check::outcome::{LogLevel, LogRecord, State};
use crate::clock::Timestamp;
use crate::config::spec::EnvelopeSpec;

fn errors(now: Timestamp, count: usize) -> Input {
    let record = LogRecord {
        time: now,
        received: now,
        level: LogLevel::Error,
        message: "checkout failed".into(),
        fields: Vec::new(),
    };
    Input::Logs {
        source: "app".into(),
        records: vec![record; count],
        checkpoints: Vec::new(),
    }
}

#[test]
fn a_rule_over_a_result_and_logs_does_not_wait_for_the_next_result() {
    let rule = "check == \"homepage\" && state == \"ok\" && log_count(\"level:error\", \"1m\") > 2";
    let mut world = world(&[("noisy", rule, 0, None)], EnvelopeSpec::default());
    world.report("web-1", State::Ok);
    world.report("web-2", State::Critical);
    let input = errors(world.after(30).now, 2);
    assert_eq!(mails(&world.input(input)), []);
    let input = errors(world.now, 1);
    let fired = world.input(input);
    assert_eq!(mails(&fired), [NotificationKind::Firing]);
    let node = fired.outbox[0].payload.node.as_ref();
    assert_eq!(node.map(|node| &*node.name), Some("web-1"));
    assert_eq!(mails(&world.after(10).tick()), []);
    assert_eq!(mails(&world.after(90).tick()), [NotificationKind::Resolved]);
}

#[test]
fn rules_that_share_a_query_wait_together() {
    let day = |name| (name, "log_count(\"backup\", \"24h\") == 0", 0, None);
    let hour = ("hour", "log_count(\"backup\", \"1h\") > 5", 0, None);
    let other = ("other", "log_count(\"restore\", \"1h\") > 5", 0, None);
    let both = "log_count(\"restore\", \"1h\") > 5 && log_count(\"new\", \"1h\") > 5";
    let world = world(&[hour, other], EnvelopeSpec::default());
    let waiting = |rules: &[_]| {
        let Input::Configured { policy, .. } = configured(rules, EnvelopeSpec::default()) else {
            unreachable!("it is a configuration");
        };
        world.snapshot.rules_to_fill(&policy)
    };
    assert_eq!(waiting(&[hour, other]), []);
    // The longer window empties the count that the other rule reads.
    assert_eq!(
        waiting(&[hour, other, day("day")]),
        [Arc::from("hour"), Arc::from("day")]
    );
    // A rule that waits has all its queries counted anew.
    assert_eq!(
        waiting(&[hour, other, ("both", both, 0, None)]),
        [Arc::from("other"), Arc::from("both")]
    );
}

#[test]
fn the_end_of_a_check_ends_alerts_about_all_its_nodes_without_an_all_clear() {
    let slow = (
        "slow",
        "count(\"duration_ms\", \"5m\", \"homepage\") > 1",
        0,
        None,
    );
    let mut world = world(&[slow], EnvelopeSpec::default());
    world.report("web-1", State::Ok);
    world.after(1).report("web-1", State::Ok);
    assert_eq!(mails(&world.after(1).tick()), [NotificationKind::Firing]);
    let Input::Configured {
        policy,
        mail_domain,
        generation,
    } = configured_as(&["web-1", "web-2"], &[slow], None)
    else {
        unreachable!("it is a configuration");
    };
    let mut policy = Arc::into_inner(policy).unwrap();
    policy.checks.clear();
    let removed = world.after(1).input(Input::Configured {
        policy: Arc::new(policy),
        mail_domain,
        generation,
    });
    assert_eq!(
        removed.alerts.values().next().unwrap().phase,
        Phase::Removed
    );
    assert!(kinds(&removed).contains(&"alert_removed"));
    assert_eq!(mails(&removed), []);
    assert_eq!(mails(&world.after(600).tick()), []);
}
