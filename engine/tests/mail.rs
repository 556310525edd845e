//! Mails against a real SMTP server that misbehaves.

#[path = "support/smtp.rs"]
mod smtp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::check::outcome::NodeInfo;
use bellwether::clock::{Clock, SharedClock, TestClock, Timestamp};
use bellwether::config::spec::{Severity, SmtpSpec};
use bellwether::config::units::Span;
use bellwether::notify::{Delivery, Dispatcher, Mail, Mailer, Outbound};
use bellwether::pipeline::changes::{
    Changes, DeliveryResult, Notification, NotificationKind, OutboxRow, OutboxUpdate, Slot,
};
use bellwether::store::{Store, outbox};
use futures_util::FutureExt;
use parking_lot::Mutex;
use smtp::{Fault, Options, SmtpServer, Stage};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const START: Timestamp = Timestamp::from_secs(1_795_413_582);

fn spec(url: String) -> SmtpSpec {
    SmtpSpec {
        url,
        from: "Bellwether <alerts@example.org>".into(),
        user: None,
        password: None,
        ca_file: None,
        timeout: Span::secs(30),
    }
}

fn mail(id: &str) -> Mail {
    Mail {
        message_id: format!("{id}@example.org"),
        in_reply_to: None,
        recipient: "ops@example.org".into(),
        subject: "[FIRING] r on n: gr\u{fc}n".into(),
        text: "first\n.\n..dots\nlast \u{2713}\n".into(),
        html: "<p>h</p>".into(),
        date: START,
    }
}

fn accepted(d: Delivery) -> String {
    match d {
        Delivery::Accepted(reply) => reply,
        other => panic!("expected acceptance, found {other:?}"),
    }
}

#[tokio::test]
async fn a_mail_arrives_whole_over_plain_smtp_on_one_kept_connection() {
    let server = SmtpServer::start().await;
    let mailer = Mailer::new(&spec(format!("smtp://{}", server.addr())), None).unwrap();
    let mut second = mail("b");
    second.in_reply_to = Some("a@example.org".into());
    let reply = accepted(mailer.send(&mail("a")).await);
    assert_eq!(reply, "250 2.0.0 kept as 1");
    accepted(mailer.send(&second).await);

    let mails = server.wait_for(2).await;
    assert_eq!(mails[0].from, "alerts@example.org");
    assert_eq!(mails[0].to, ["ops@example.org"]);
    assert_eq!(
        mails[0].header("Subject").unwrap(),
        "[FIRING] r on n: gr\u{fc}n"
    );
    assert_eq!(mails[0].header("Message-ID").unwrap(), "<a@example.org>");
    assert_eq!(mails[0].header("Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(
        mails[0].header("Date").unwrap(),
        "Mon, 23 Nov 2026 05:59:42 +0000"
    );
    assert_eq!(mails[0].header("In-Reply-To"), None);
    let text = mails[0].part("text/plain").replace("\r\n", "\n");
    assert_eq!(text.trim_end(), "first\n.\n..dots\nlast \u{2713}");
    assert_eq!(mails[0].part("text/html").trim_end(), "<p>h</p>");
    assert_eq!(mails[1].header("In-Reply-To").unwrap(), "<a@example.org>");
    assert_eq!(mails[1].header("References").unwrap(), "<a@example.org>");
    assert_eq!((mails[1].connection, server.connections()), (1, 1));
}

#[tokio::test]
async fn starttls_and_implicit_tls_with_login_need_a_trusted_certificate() {
    for implicit_tls in [false, true] {
        let server = SmtpServer::with(Options {
            implicit_tls,
            offer_starttls: true,
            login: Some(("me".into(), "s3cret \u{fc}".into())),
        })
        .await;
        let url = match implicit_tls {
            true => format!("smtps://{}", server.addr()),
            false => format!("smtp://{}?tls=required", server.addr()),
        };
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, &server.certificate).unwrap();
        let mut spec = spec(url);
        spec.user = Some("me".into());

        let mailer = Mailer::new(&spec, Some("s3cret \u{fc}")).unwrap();
        match mailer.send(&mail("a")).await {
            Delivery::Retry(e) => assert!(e.contains("certificate"), "{e}"),
            other => panic!("an unknown certificate was taken: {other:?}"),
        }
        spec.ca_file = Some(ca.display().to_string());
        let mailer = Mailer::new(&spec, Some("wrong")).unwrap();
        match mailer.send(&mail("a")).await {
            Delivery::Retry(e) => assert!(
                e.contains("535 5.7.8 wrong user") && !e.contains("s3cret"),
                "{e}"
            ),
            other => panic!("a wrong password was taken: {other:?}"),
        }
        assert_eq!(server.mails().len(), 0);
        let mailer = Mailer::new(&spec, Some("s3cret \u{fc}")).unwrap();
        accepted(mailer.send(&mail("a")).await);
        let kept = &server.wait_for(1).await[0];
        assert!(kept.tls);
        assert_eq!(kept.user.as_deref(), Some("me"));
    }
}

#[tokio::test]
async fn required_starttls_sends_nothing_where_it_is_not_offered() {
    let server = SmtpServer::start().await;
    let url = format!("smtp://{}?tls=required", server.addr());
    let mailer = Mailer::new(&spec(url), None).unwrap();
    match mailer.send(&mail("a")).await {
        Delivery::Retry(e) => assert!(e.contains("no STARTTLS"), "{e}"),
        other => panic!("expected a retry, found {other:?}"),
    }
    // Opportunistic goes on in the clear.
    let url = format!("smtp://{}?tls=opportunistic", server.addr());
    let mailer = Mailer::new(&spec(url), None).unwrap();
    accepted(mailer.send(&mail("b")).await);
    let kept = server.wait_for(1).await;
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].tls);
}

#[tokio::test]
async fn refusals_for_good_and_for_now_are_told_apart_with_the_servers_words() {
    let server = SmtpServer::start().await;
    let mailer = Mailer::new(&spec(format!("smtp://{}", server.addr())), None).unwrap();
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Body] {
        server.fail(
            stage,
            None,
            Fault::Reply("550-5.7.1 first\r\n550 5.7.1 second"),
        );
        match mailer.send(&mail("a")).await {
            Delivery::Failed(e) => {
                assert!(e.contains("550 5.7.1 first") && e.contains("second"), "{e}")
            }
            other => panic!("{stage:?}: expected a failure, found {other:?}"),
        }
        server.fail(stage, None, Fault::Reply("451 4.3.0 later"));
        match mailer.send(&mail("a")).await {
            Delivery::Retry(e) => assert!(e.contains("451 4.3.0 later"), "{e}"),
            other => panic!("{stage:?}: expected a retry, found {other:?}"),
        }
        server.fail(stage, None, Fault::Close);
        let closed = mailer.send(&mail("a")).await;
        assert!(
            matches!(closed, Delivery::Retry(_)),
            "{stage:?}: {closed:?}"
        );
        server.heal();
    }
    assert_eq!(server.mails().len(), 0);
    // A refusal leaves the conversation usable.
    accepted(mailer.send(&mail("b")).await);
    for stage in [Stage::Greeting, Stage::Ehlo] {
        server.fail(stage, None, Fault::Reply("421 4.3.2 busy"));
        let fresh = Mailer::new(&spec(format!("smtp://{}", server.addr())), None).unwrap();
        let busy = fresh.send(&mail("c")).await;
        assert!(matches!(busy, Delivery::Retry(_)), "{stage:?}: {busy:?}");
        server.heal();
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let server = SmtpServer::start().await;
    let mailer = Mailer::new(&spec(format!("smtp://{}", server.addr())), None).unwrap();
    accepted(mailer.send(&mail("a")).await);
    server.down();
    server.up().await;
    accepted(mailer.send(&mail("b")).await);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn one_bound_covers_a_server_that_never_answers() {
    let server = SmtpServer::start().await;
    let mut spec = spec(format!("smtp://{}", server.addr()));
    spec.timeout = Span(Duration::from_millis(200));
    for (stage, says) in [
        (Stage::Greeting, "connecting"),
        (Stage::Rcpt, "RCPT TO"),
        (Stage::InBody, "reply to the mail"),
    ] {
        server.fail(stage, None, Fault::Hold);
        let mailer = Mailer::new(&spec, None).unwrap();
        match mailer.send(&mail("a")).await {
            Delivery::Retry(e) => assert!(e.contains("no answer") && e.contains(says), "{e}"),
            other => panic!("{stage:?}: expected a retry, found {other:?}"),
        }
        server.heal();
    }
}

/// An outbox in memory that behaves as the database does: results are applied
/// some time after they were reported.
struct Outbox {
    rows: Arc<Mutex<BTreeMap<i64, OutboxRow>>>,
    done: watch::Sender<Vec<OutboxUpdate>>,
    clock: Arc<TestClock>,
    wake: Arc<Notify>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Outbox {
    fn start(mailer: Mailer, concurrency: usize) -> Self {
        let rows: Arc<Mutex<BTreeMap<i64, OutboxRow>>> = Arc::default();
        let clock = TestClock::new(START);
        let wake = Arc::new(Notify::new());
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (report, mut reports) = mpsc::channel(16);
        let (_, outbound) = watch::channel(Arc::new(Outbound {
            mailer: Some(Arc::new(mailer)),
            public_url: "https://mon.example.org".into(),
            ..Outbound::default()
        }));
        let listing = Arc::clone(&rows);
        let source = move |now: Timestamp, limit: usize| {
            let rows = listing.lock();
            // All recipients in turn, of each the oldest.
            let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
            let mut due: Vec<_> = rows
                .values()
                .filter(|r| r.next_at <= now)
                .map(|r| {
                    let turn = turns.entry(&r.recipient).or_default();
                    *turn += 1;
                    (*turn, r)
                })
                .collect();
            due.sort_by_key(|(turn, _)| *turn);
            let (read, rest) = due.split_at(limit.min(due.len()));
            let mut read: Vec<_> = read.iter().map(|(_, r)| (*r).clone()).collect();
            read.sort_by_key(|r| r.id);
            // Those that share a mail come together.
            let slots: Vec<_> = read.iter().filter_map(|r| r.slot.clone()).collect();
            let mates = rest.iter().map(|(_, r)| *r);
            let mates = mates.filter(|r| r.slot.as_ref().is_some_and(|s| slots.contains(s)));
            let due: Vec<_> = read.into_iter().chain(mates.cloned()).collect();
            async move { Ok(due) }.boxed()
        };
        let shared: SharedClock = clock.clone();
        let dispatcher =
            Dispatcher::new(source, report, outbound, shared, wake.clone(), concurrency);
        tasks.spawn(dispatcher.run(cancel.clone()));
        let done = watch::Sender::new(Vec::new());
        let (applied, finished) = (Arc::clone(&rows), done.clone());
        tasks.spawn(async move {
            while let Some(updates) = reports.recv().await {
                // The commit comes later than the report.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let updates: Vec<OutboxUpdate> = updates;
                let mut rows = applied.lock();
                for update in &updates {
                    match &update.result {
                        DeliveryResult::Retry { next_at, .. } => {
                            if let Some(row) = rows.get_mut(&update.id) {
                                (row.attempts, row.next_at) = (update.attempts, *next_at);
                            }
                        }
                        _ => {
                            rows.remove(&update.id);
                        }
                    }
                }
                finished.send_modify(|d| d.extend(updates));
            }
        });
        Self {
            rows,
            done,
            clock,
            wake,
            cancel,
            tasks,
        }
    }

    fn queue(&self, id: i64, alert: i64, recipient: &str) {
        let row = self.row(id, alert, recipient);
        self.rows.lock().insert(id, row);
        self.wake.notify_one();
    }

    /// Queues rows that share a mail, all at once.
    fn queue_together(&self, slot: i64, rows: &[i64], recipient: &str) {
        let mut queued = self.rows.lock();
        for id in rows {
            let mut row = self.row(*id, *id, recipient);
            row.slot = Some(Slot {
                id: format!("row-{slot}@example.org"),
                group: "g".into(),
                at: self.clock.now(),
            });
            queued.insert(*id, row);
        }
        drop(queued);
        self.wake.notify_one();
    }

    fn row(&self, id: i64, alert: i64, recipient: &str) -> OutboxRow {
        row(id, alert, recipient, self.clock.now())
    }

    /// Waits until `n` results were committed.
    async fn results(&self, n: usize) -> Vec<OutboxUpdate> {
        self.wait(|done| done.len() >= n).await
    }

    /// Waits until the committed results are as wanted.
    async fn wait(&self, wanted: impl Fn(&[OutboxUpdate]) -> bool) -> Vec<OutboxUpdate> {
        let mut done = self.done.subscribe();
        let waiting = done.wait_for(|d| wanted(d));
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(done) => done.unwrap().clone(),
            Err(_) => panic!("waited in vain, found {:#?}", self.done.borrow()),
        }
    }

    fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.wake.notify_one();
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn row(id: i64, alert: i64, recipient: &str, now: Timestamp) -> OutboxRow {
    OutboxRow {
        id,
        idempotency_key: format!("{alert}/{id}"),
        alert,
        contact: "oncall".into(),
        recipient: recipient.into(),
        message_id: format!("row-{id}@example.org"),
        payload: Arc::new(notification(alert)),
        attempts: 0,
        created_at: now,
        next_at: now,
        slot: None,
    }
}

fn notification(alert: i64) -> Notification {
    Notification {
        kind: NotificationKind::Firing,
        alert,
        name: "homepage-down".into(),
        check: Some("homepage".into()),
        node: Some(NodeInfo {
            name: "web-1".into(),
            address: "192.0.2.1".into(),
            labels: BTreeMap::new(),
        }),
        severity: Severity::Critical,
        labels: BTreeMap::new(),
        summary: "HTTP 500".into(),
        since: START,
        at: START,
        expression: "state == \"critical\"".into(),
        last_results: Vec::new(),
        tried: Vec::new(),
        in_reply_to: None,
    }
}

fn mailer(server: &SmtpServer) -> Mailer {
    Mailer::new(&spec(format!("smtp://{}", server.addr())), None).unwrap()
}

const QUARTER: Duration = Duration::from_secs(15 * 60);

#[tokio::test]
async fn every_row_is_sent_once_with_its_own_message_id() {
    let server = SmtpServer::start().await;
    let outbox = Outbox::start(mailer(&server), 4);
    for id in 1..=40 {
        outbox.queue(id, id, &format!("r{}@example.org", id % 7));
    }
    let results = outbox.results(40).await;
    assert!(
        results.iter().all(
            |r| matches!(&r.result, DeliveryResult::Sent(t) if t.starts_with("250 2.0.0 kept"))
        )
    );
    let mut ids: Vec<_> = server
        .mails()
        .iter()
        .map(|m| m.header("Message-ID").unwrap())
        .collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (40, 40));
    assert!(server.connections() <= 4, "{}", server.connections());
    let first = &server.mails()[0];
    assert_eq!(
        first.header("Subject").unwrap(),
        "[FIRING] homepage-down on web-1: HTTP 500"
    );
    assert!(
        first
            .part("text/plain")
            .contains("https://mon.example.org/alerts/")
    );
    outbox.stop().await;
}

#[tokio::test]
async fn temporary_refusals_are_delivered_later_and_final_ones_are_not() {
    let server = SmtpServer::start().await;
    server.fail(
        Stage::Rcpt,
        Some("later@example.org"),
        Fault::Reply("450 4.2.0 greylisted"),
    );
    server.fail(
        Stage::Rcpt,
        Some("never@example.org"),
        Fault::Reply("550 5.1.1 no such user"),
    );
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue(1, 1, "later@example.org");
    outbox.queue(2, 1, "never@example.org");
    let results = outbox.results(2).await;
    for r in &results {
        match (r.id, &r.result) {
            (1, DeliveryResult::Retry { error, next_at }) => {
                assert!(error.contains("450 4.2.0 greylisted"), "{error}");
                assert!(*next_at > START);
            }
            (2, DeliveryResult::Failed(error)) => {
                assert!(error.contains("550 5.1.1 no such user"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Not before its time, however often the worker is woken.
    outbox.wake.notify_one();
    outbox.later(QUARTER);
    let results = outbox.results(3).await;
    assert_eq!(results[2].attempts, 2);
    server.heal();
    outbox.later(QUARTER);
    let results = outbox.results(4).await;
    assert_eq!((results[3].id, results[3].attempts), (1, 3));
    assert!(matches!(results[3].result, DeliveryResult::Sent(_)));
    assert_eq!(server.mails().len(), 1);
    outbox.stop().await;
}

#[tokio::test]
async fn a_closed_port_delays_and_loses_nothing() {
    let server = SmtpServer::start().await;
    server.down();
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue(1, 1, "a@example.org");
    let refused = outbox.results(1).await;
    assert!(
        matches!(refused[0].result, DeliveryResult::Retry { .. }),
        "{refused:?}"
    );
    server.up().await;
    outbox.later(QUARTER);
    outbox.results(2).await;
    assert_eq!(server.mails().len(), 1);
    outbox.stop().await;
}

#[tokio::test]
async fn what_is_cut_off_is_sent_again_with_the_same_message_id() {
    let server = SmtpServer::start().await;
    server.fail(Stage::InBody, None, Fault::Close);
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue(1, 1, "a@example.org");
    outbox.results(1).await;
    assert_eq!(server.mails().len(), 0);
    // The next attempt is kept by the server, but its reply never comes.
    server.heal();
    server.fail(Stage::Kept, None, Fault::Close);
    outbox.later(QUARTER);
    outbox.results(2).await;
    server.heal();
    outbox.later(QUARTER);
    let results = outbox.results(3).await;
    assert!(matches!(results[2].result, DeliveryResult::Sent(_)));
    let ids: Vec<_> = server
        .mails()
        .iter()
        .map(|m| m.header("Message-ID").unwrap())
        .collect();
    assert_eq!(ids, ["<row-1@example.org>", "<row-1@example.org>"]);
    outbox.stop().await;
}

#[tokio::test]
async fn a_recipient_that_hangs_does_not_hold_up_others() {
    let server = SmtpServer::start().await;
    server.fail(Stage::Rcpt, Some("slow@example.org"), Fault::Hold);
    let outbox = Outbox::start(mailer(&server), 2);
    // More rows than connections for the one that hangs.
    for id in 1..=20 {
        outbox.queue(id, id, "slow@example.org");
    }
    server.wait_for_command("RCPT", 1).await;
    for id in 21..=40 {
        outbox.queue(id, id, "quick@example.org");
    }
    let results = outbox.results(20).await;
    assert!(results.iter().all(|r| r.recipient == "quick@example.org"));
    server.heal();
    assert_eq!(outbox.results(40).await.len(), 40);
    assert_eq!(server.mails().len(), 40);
    outbox.stop().await;
}

#[tokio::test]
async fn as_many_recipients_that_hang_as_there_are_connections_do_not_hold_up_another() {
    let server = SmtpServer::start().await;
    let mut spec = spec(format!("smtp://{}", server.addr()));
    spec.timeout = Span(Duration::from_secs(1));
    let outbox = Outbox::start(Mailer::new(&spec, None).unwrap(), 4);
    let hangs = |n: i64| format!("slow-{}@example.org", n % 8);
    for n in 0..8 {
        server.fail(Stage::Rcpt, Some(&hangs(n)), Fault::Hold);
    }
    for id in 1..=200 {
        outbox.queue(id, id, &hangs(id));
    }
    server.wait_for_command("RCPT", 4).await;
    for id in 201..=205 {
        outbox.queue(id, id, "quick@example.org");
    }
    let quick = |all: &[OutboxUpdate]| {
        let sent = all.iter().filter(|r| r.recipient == "quick@example.org");
        sent.count()
    };
    outbox.wait(|all| quick(all) == 5).await;
    // It did not have to wait until the others had their turns, all of them.
    let failed = outbox.done.borrow().len() - 5;
    assert!(failed < 100, "{failed} of 200 came first");
    // Nor do the others lose theirs.
    server.heal();
    outbox.later(QUARTER);
    let sent = |all: &[OutboxUpdate]| {
        let sent = |r: &&OutboxUpdate| matches!(r.result, DeliveryResult::Sent(_));
        all.iter().filter(sent).count()
    };
    outbox.wait(|all| sent(all) == 205).await;
    assert_eq!(server.mails().len(), 205);
    outbox.stop().await;
}

/// The outbox in the database, of which the dispatcher reads a part.
#[tokio::test]
async fn a_recipient_that_hangs_with_more_rows_than_are_read_at_once_hides_nobody() {
    let server = SmtpServer::start().await;
    server.fail(Stage::Rcpt, Some("slow@example.org"), Fault::Hold);
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = Store::open(folder.path()).await.unwrap();
    let rows = |ids: std::ops::RangeInclusive<i64>, recipient: &str| Changes {
        outbox: ids.map(|id| row(id, id, recipient, START)).collect(),
        ..Changes::default()
    };
    writer
        .commit(&rows(1..=1_200, "slow@example.org"))
        .await
        .unwrap();
    let clock: SharedClock = TestClock::new(START);
    let (report, mut reports) = mpsc::channel(16);
    let (_, outbound) = watch::channel(Arc::new(Outbound {
        mailer: Some(Arc::new(mailer(&server))),
        ..Outbound::default()
    }));
    let readers = store.clone();
    let source = move |now: Timestamp, limit: usize| {
        let store = readers.clone();
        async move {
            let mut reader = store.reader().await?;
            let due = outbox::due(&mut reader, now, u32::try_from(limit)?).await?;
            Ok(due.into_iter().map(|one| one.row).collect())
        }
        .boxed()
    };
    let (wake, cancel, tasks) = (
        Arc::new(Notify::new()),
        CancellationToken::new(),
        TaskTracker::new(),
    );
    let dispatcher = Dispatcher::new(source, report, outbound, clock, wake.clone(), 4);
    tasks.spawn(dispatcher.run(cancel.clone()));
    server.wait_for_command("RCPT", 1).await;
    writer
        .commit(&rows(1_201..=1_201, "quick@example.org"))
        .await
        .unwrap();
    wake.notify_one();
    let sent = tokio::time::timeout(Duration::from_secs(60), reports.recv()).await;
    let sent = sent.expect("the other mail leaves").unwrap();
    assert_eq!((sent.len(), sent[0].id), (1, 1_201));
    server.heal();
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn a_later_mail_of_an_alert_waits_for_the_earlier_one() {
    let server = SmtpServer::start().await;
    server.fail(
        Stage::Rcpt,
        Some("a@example.org"),
        Fault::Reply("450 4.2.0 busy"),
    );
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue(1, 7, "a@example.org");
    outbox.results(1).await;
    server.heal();
    // The same alert waits, another one does not.
    outbox.queue(2, 7, "a@example.org");
    outbox.queue(3, 8, "a@example.org");
    assert_eq!(outbox.results(2).await[1].id, 3);
    outbox.later(QUARTER);
    let order: Vec<_> = outbox.results(4).await.iter().map(|r| r.id).collect();
    assert_eq!(order, [1, 3, 1, 2]);
    outbox.stop().await;
}

#[tokio::test]
async fn an_attempt_in_flight_is_finished_after_cancellation() {
    let server = SmtpServer::start().await;
    server.fail(Stage::Kept, None, Fault::Hold);
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue(1, 1, "a@example.org");
    server.wait_for(1).await;
    outbox.cancel.cancel();
    server.heal();
    let results = outbox.results(1).await;
    assert!(matches!(results[0].result, DeliveryResult::Sent(_)));
    outbox.stop().await;
}

fn ids(server: &SmtpServer) -> Vec<String> {
    let mails = server.mails();
    mails
        .iter()
        .map(|mail| mail.header("Message-ID").unwrap())
        .collect()
}

#[tokio::test]
async fn rows_of_one_slot_leave_as_one_mail() {
    let server = SmtpServer::start().await;
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue_together(1, &[1, 2, 3], "a@example.org");
    // The same slot of somebody else is another mail.
    outbox.queue_together(4, &[4], "b@example.org");
    let results = outbox.results(4).await;
    assert!(
        results
            .iter()
            .all(|r| matches!(r.result, DeliveryResult::Sent(_)))
    );
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    let group = mails
        .iter()
        .find(|mail| mail.header("Message-ID").as_deref() == Some("<row-1@example.org>"))
        .expect("one with the first row's Message-ID");
    let subject = group.header("Subject").unwrap();
    assert!(subject.starts_with("[FIRING] 3 firing: "), "{subject}");
    let text = group.part("text/plain");
    for alert in 1..=3 {
        assert!(text.contains(&format!("/alerts/{alert}")), "{text}");
    }
    outbox.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_tried_again_stays_as_it_was_and_late_rows_answer_to_it() {
    let server = SmtpServer::start().await;
    server.fail(
        Stage::Rcpt,
        Some("a@example.org"),
        Fault::Reply("450 4.2.0 greylisted"),
    );
    let outbox = Outbox::start(mailer(&server), 4);
    outbox.queue_together(1, &[1, 2], "a@example.org");
    let results = outbox.results(2).await;
    let next: Vec<_> = results
        .iter()
        .map(|r| match &r.result {
            DeliveryResult::Retry { next_at, .. } => *next_at,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(next[0], next[1]);
    server.heal();
    // One that was committed after its mail was tried.
    outbox.queue_together(1, &[3], "a@example.org");
    outbox.results(3).await;
    outbox.later(QUARTER);
    outbox.results(5).await;
    assert_eq!(ids(&server), ["<row-3@example.org>", "<row-1@example.org>"]);
    let mails = server.mails();
    assert_eq!(
        mails[0].header("In-Reply-To").as_deref(),
        Some("<row-1@example.org>")
    );
    assert_eq!(mails[1].header("In-Reply-To"), None);
    let text = mails[1].part("text/plain");
    assert!(text.contains("/alerts/1") && text.contains("/alerts/2"));
    assert!(!text.contains("/alerts/3"));
    outbox.stop().await;
}

#[tokio::test]
async fn a_very_large_group_leaves_in_several_mails_and_loses_nothing() {
    let server = SmtpServer::start().await;
    let outbox = Outbox::start(mailer(&server), 1);
    let rows: Vec<i64> = (1..=250).collect();
    outbox.queue_together(1, &rows, "a@example.org");
    outbox.results(250).await;
    let text: String = server
        .mails()
        .iter()
        .map(|mail| mail.part("text/plain"))
        .collect();
    assert!((3..=10).contains(&server.mails().len()));
    for alert in rows {
        let link = format!("/alerts/{alert}");
        let told = text.lines().filter(|line| line.ends_with(&link)).count();
        assert_eq!(told, 1, "{alert}");
    }
    let mut unique = ids(&server);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), server.mails().len());
    outbox.stop().await;
}
