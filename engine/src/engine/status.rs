//! How the engine is: for the overview, /readyz, /metrics and the banner.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::Core;
use crate::clock::Timestamp;
use crate::http::state::EngineStatus;
use crate::notify::Delivery;

const EVERY: Duration = Duration::from_secs(1);
/// The pauses between attempts to tell directly; they double.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// What the process counts. There is one for all its threads: deliveries, log
/// files and commits count on whichever they run.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::error!("another recorder of metrics was installed: /metrics stays empty");
        }
        handle
    };
    HANDLE.get_or_init(install).clone()
}

/// The status before everything is loaded.
pub fn starting(now: Timestamp) -> EngineStatus {
    EngineStatus {
        ready: false,
        reasons: vec!["starting".into()],
        started_at: now,
        ..EngineStatus::default()
    }
}

/// Keeps the status true.
pub fn spawn(core: &Arc<Core>) {
    let core_of_task = core.clone();
    update(&core_of_task, 0, EVERY);
    core.tasks.spawn(async move {
        let core = core_of_task;
        let mut before = core.figures.started.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                () = core.stop.cancelled() => break,
                () = tokio::time::sleep(EVERY) => {}
            }
            let started = core.figures.started.load(Ordering::Relaxed);
            update(&core, started - before, EVERY);
            before = started;
        }
    });
    // Apart from the status, which no mail server may hold up.
    let (core_of_task, stop) = (core.clone(), core.stop.clone());
    core.tasks
        .spawn(stop.run_until_cancelled_owned(async move { tell_of_trouble(&core_of_task).await }));
}

/// Sends a direct mail whenever the engine becomes degraded, and tries again
/// until one was accepted or results can be stored again.
async fn tell_of_trouble(core: &Core) {
    let mut health = core.recorder.watch_health();
    // An error means that the recorder has ended.
    while health.wait_for(|health| health.degraded).await.is_ok() {
        let since = core.clock.now();
        let mut pause = FIRST_PAUSE;
        while !tell_directly(core, since).await {
            let mended = health.wait_for(|health| !health.degraded);
            if tokio::time::timeout(pause, mended).await.is_ok() {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if health.wait_for(|health| !health.degraded).await.is_err() {
            return;
        }
    }
}

fn update(core: &Core, runs: u64, over: Duration) {
    let health = core.recorder.health();
    let mut reasons = Vec::new();
    if let Some(error) = &health.error
        && health.degraded
    {
        reasons.push(format!("results cannot be stored: {error}"));
    }
    let lateness = core.live.read(|all| {
        let mut late: Vec<u32> = all
            .values()
            .filter_map(|live| live.newest.as_ref())
            .map(|new| new.lateness_us)
            .collect();
        if late.is_empty() {
            return 0.0;
        }
        let rank = (late.len() * 99 / 100).min(late.len() - 1);
        let (_, p99, _) = late.select_nth_unstable(rank);
        f64::from(*p99) / 1000.0
    });
    let faults = core.live.read(|all| {
        all.values()
            .filter_map(|live| live.state.as_ref())
            .filter(|state| state.is_stale())
            .count()
    });
    let per_second = runs as f64 / over.as_secs_f64();
    export(core, per_second, lateness, faults);
    super::costs::export(core);
    core.metrics.run_upkeep();
    core.status.send_if_modified(|status| {
        let next = EngineStatus {
            ready: reasons.is_empty(),
            degraded: reasons.first().cloned(),
            reasons,
            checks_per_s: per_second,
            lateness_p99_ms: lateness,
            faults: faults as u64,
            started_at: status.started_at,
        };
        let changed = *status != next;
        *status = next;
        changed
    });
}

fn export(core: &Core, per_second: f64, lateness: f64, faults: usize) {
    metrics::gauge!("bellwether_checks_per_second").set(per_second);
    metrics::gauge!("bellwether_check_lateness_p99_seconds").set(lateness / 1000.0);
    metrics::gauge!("bellwether_checks_in_flight")
        .set(core.figures.in_flight.load(Ordering::Relaxed) as f64);
    metrics::gauge!("bellwether_series_faulting").set(faults as f64);
    metrics::gauge!("bellwether_results_queued").set(core.recorder.queued_results() as f64);
    metrics::counter!("bellwether_check_runs_total")
        .absolute(core.figures.started.load(Ordering::Relaxed));
    metrics::counter!("bellwether_missed_slots_total")
        .absolute(core.figures.missed_slots.load(Ordering::Relaxed));
    metrics::counter!("bellwether_shed_runs_total")
        .absolute(core.figures.shed.load(Ordering::Relaxed));
}

/// One mail to each mailbox that needs no database: results are not stored any
/// more, as was known at `since`. True where at least one was accepted.
async fn tell_directly(core: &Core, since: Timestamp) -> bool {
    let (outbound, config) = (core.outbound.borrow().clone(), core.config.read().clone());
    let Some(mailer) = &outbound.mailer else {
        return false;
    };
    let now = core.clock.now();
    let error = core
        .recorder
        .health()
        .error
        .unwrap_or_else(|| "unknown".into());
    let text = format!(
        "Bellwether cannot store results for more than 60 s: {error}\n\n\
         Checks go on, but alerts are not evaluated until it can write again.\n\
         Look at the free space of {}.\n",
        core.store.folder().display()
    );
    let boxes = config
        .spec
        .faults
        .notify
        .iter()
        .filter_map(|name| config.contacts.get(name))
        .flat_map(|contact| contact.mailboxes.iter());
    let mut accepted = false;
    for (index, mailbox) in boxes.enumerate() {
        let mail = crate::notify::Mail {
            message_id: format!(
                "<degraded.{}.{index}@{}>",
                since.0,
                super::resolve::mail_domain(&config)
            ),
            in_reply_to: None,
            recipient: mailbox.to_string(),
            subject: "[FAULT] the engine cannot store results".into(),
            html: format!("<p>{}</p>", text.replace('\n', "<br>")),
            text: text.clone(),
            date: now,
        };
        let sent = mailer.send(&mail).await;
        accepted |= matches!(sent, Delivery::Accepted(_));
        tracing::error!(recipient = %mail.recipient, ?sent, "told that results cannot be stored");
    }
    accepted
}
