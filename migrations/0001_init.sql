-- Times are microseconds since the Unix epoch (UTC). JSON columns hold the
-- engine's own serde values.

-- Facts about this database: schema facts, the first-start link, counters.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects that people made in the UI or over the API. Objects of the file are
-- never stored here.
CREATE TABLE objects (
    kind       TEXT    NOT NULL, -- node, check, rule, contact, remediation, log_source, plugin
    name       TEXT    NOT NULL,
    spec       TEXT    NOT NULL, -- JSON, as in the configuration file
    version    INTEGER NOT NULL, -- counts changes, for If-Match
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- A check on a node. Rows stay when the check goes, so that history stays.
CREATE TABLE series (
    id         INTEGER NOT NULL PRIMARY KEY,
    check_name TEXT    NOT NULL,
    node_name  TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (check_name, node_name)
) STRICT;

-- Names of metrics, so that results carry numbers.
CREATE TABLE metric_names (
    id   INTEGER NOT NULL PRIMARY KEY,
    name TEXT    NOT NULL UNIQUE
) STRICT;

-- State of a series; written only when it changes.
CREATE TABLE series_state (
    series_id   INTEGER NOT NULL PRIMARY KEY REFERENCES series (id),
    state       TEXT    NOT NULL  -- JSON of check::state::CheckState
) STRICT;

-- Results in time order: the hot path only appends. A background task moves
-- old rows into result_chunks.
CREATE TABLE results (
    ts          INTEGER NOT NULL, -- start of the run
    series_id   INTEGER NOT NULL,
    state       INTEGER NOT NULL, -- 0 ok, 1 warning, 2 critical, 3 unknown; 16 + kind for a fault
    duration_us INTEGER NOT NULL,
    lateness_us INTEGER NOT NULL,
    summary     TEXT    NOT NULL,
    details     TEXT,
    metrics     BLOB,             -- pairs of u32 metric_names.id and f64, little endian
    PRIMARY KEY (ts, series_id)
) STRICT, WITHOUT ROWID;

-- Compacted results of one series: numeric columns with pco, text with zstd.
CREATE TABLE result_chunks (
    series_id INTEGER NOT NULL,
    from_ts   INTEGER NOT NULL,
    to_ts     INTEGER NOT NULL, -- last result inside
    count     INTEGER NOT NULL,
    data      BLOB    NOT NULL,
    PRIMARY KEY (series_id, from_ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_chunks_by_end ON result_chunks (to_ts);

-- Minimum, maximum, sum, count and last of each metric, and the number of
-- results in each state, per bucket of 5 minutes or 1 hour; for long ranges. A
-- row packs 24 neighbouring buckets. Written in the transaction that moves
-- results into result_chunks.
CREATE TABLE rollups (
    series_id INTEGER NOT NULL,
    step_s    INTEGER NOT NULL, -- 300 or 3600
    ts        INTEGER NOT NULL, -- start of the first bucket the row can hold
    data      BLOB    NOT NULL,
    PRIMARY KEY (series_id, step_s, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_by_time ON rollups (step_s, ts);

-- Key-value state of plugins, per series.
CREATE TABLE plugin_state (
    series_id INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    value     BLOB    NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (series_id, key)
) STRICT, WITHOUT ROWID;

-- Alerts that were ever pending. Identity: rule, or rule and series.
CREATE TABLE alerts (
    id          INTEGER NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL, -- rule, fault
    name        TEXT    NOT NULL, -- of the rule; of the check for faults
    series_id   INTEGER,
    check_name  TEXT,
    node_name   TEXT,
    phase       TEXT    NOT NULL, -- pending, firing, resolved, removed, cancelled
    severity    TEXT    NOT NULL,
    summary     TEXT    NOT NULL,
    pending_at  INTEGER NOT NULL,
    fired_at    INTEGER,
    ended_at    INTEGER,
    state       TEXT    NOT NULL  -- JSON of pipeline::changes::Alert
) STRICT;
CREATE INDEX alerts_open ON alerts (phase) WHERE phase IN ('pending', 'firing');
CREATE INDEX alerts_by_end ON alerts (ended_at) WHERE ended_at IS NOT NULL;

-- Why somebody was (not) alerted: one line per decision, in order.
CREATE TABLE timeline (
    id        INTEGER NOT NULL PRIMARY KEY,
    ts        INTEGER NOT NULL,
    series_id INTEGER,
    alert_id  INTEGER,
    kind      TEXT    NOT NULL,
    data      TEXT    NOT NULL  -- JSON of pipeline::changes::TimelineEntry
) STRICT;
CREATE INDEX timeline_by_alert ON timeline (alert_id, id) WHERE alert_id IS NOT NULL;
CREATE INDEX timeline_by_series ON timeline (series_id, id) WHERE series_id IS NOT NULL;
CREATE INDEX timeline_by_time ON timeline (ts);

-- Notifications to be delivered: one row per recipient, committed with the
-- transition they tell of.
CREATE TABLE outbox (
    id              INTEGER NOT NULL PRIMARY KEY,
    idempotency_key TEXT    NOT NULL UNIQUE,
    alert_id        INTEGER,
    contact         TEXT    NOT NULL,
    recipient       TEXT    NOT NULL,
    message_id      TEXT    NOT NULL,
    payload         TEXT    NOT NULL, -- JSON of pipeline::changes::Notification
    status          TEXT    NOT NULL, -- queued, sent, failed
    attempts        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    next_at         INTEGER NOT NULL, -- when to try (again)
    done_at         INTEGER,
    reply           TEXT              -- last answer of the mail server
) STRICT;
CREATE INDEX outbox_due ON outbox (next_at) WHERE status = 'queued';
CREATE INDEX outbox_by_end ON outbox (done_at) WHERE done_at IS NOT NULL;
CREATE INDEX outbox_by_alert ON outbox (alert_id, id) WHERE alert_id IS NOT NULL;

-- Runs of remediation actions: the intent is committed before the action runs.
CREATE TABLE action_runs (
    id              INTEGER NOT NULL PRIMARY KEY,
    idempotency_key TEXT    NOT NULL UNIQUE,
    alert_id        INTEGER NOT NULL,
    remediation     TEXT    NOT NULL,
    series_id       INTEGER,
    node_name       TEXT,
    attempt         INTEGER NOT NULL,
    status          TEXT    NOT NULL, -- running, awaiting_approval, succeeded, failed, dry_run, interrupted, cancelled
    verify          TEXT    NOT NULL, -- none, waiting, ok, failed
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    state           TEXT    NOT NULL  -- JSON of pipeline::changes::ActionRun
) STRICT;
CREATE INDEX action_runs_by_alert ON action_runs (alert_id, id);
CREATE INDEX action_runs_recent ON action_runs (created_at);

-- Log records, appended in the order of arrival.
CREATE TABLE logs (
    id       INTEGER NOT NULL PRIMARY KEY,
    ts       INTEGER NOT NULL, -- when it happened, or was received
    received INTEGER NOT NULL,
    source   TEXT    NOT NULL,
    level    INTEGER NOT NULL,
    message  TEXT    NOT NULL,
    fields   TEXT    NOT NULL  -- JSON object
) STRICT;
CREATE INDEX logs_by_time ON logs (ts);

-- How far each file of a log source was read; commits with its records.
CREATE TABLE log_checkpoints (
    source     TEXT    NOT NULL,
    file_key   TEXT    NOT NULL, -- device:inode
    path       TEXT    NOT NULL,
    offset     INTEGER NOT NULL, -- bytes, never beyond an unflushed line
    state      TEXT    NOT NULL, -- JSON: fingerprint of the file's first bytes
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, file_key)
) STRICT, WITHOUT ROWID;

-- Plugins that were uploaded or came with the engine. The bytes are in the data
-- folder under their digest.
CREATE TABLE plugins (
    digest      TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    manifest    TEXT    NOT NULL, -- JSON
    origin      TEXT    NOT NULL, -- builtin, file, upload
    active      INTEGER NOT NULL, -- 1: the version a bare name means
    size        INTEGER NOT NULL,
    uploaded_at INTEGER NOT NULL,
    uploaded_by TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX plugins_by_name ON plugins (name);

CREATE TABLE users (
    id            INTEGER NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    password_hash TEXT,              -- argon2id; absent until the first link was used
    role          TEXT    NOT NULL,  -- viewer, operator, admin
    created_at    INTEGER NOT NULL,
    disabled      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Browser sessions, API tokens and one-time links; only SHA-256 of the secret.
CREATE TABLE credentials (
    hash       BLOB    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL, -- session, token, link
    user_id    INTEGER REFERENCES users (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    purpose    TEXT    NOT NULL, -- what a link allows, as JSON; empty for others
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER           -- last use; of a link its only one
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_by_user ON credentials (user_id);
CREATE INDEX credentials_by_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;

-- Every change by a person or token.
CREATE TABLE audit (
    id      INTEGER NOT NULL PRIMARY KEY,
    ts      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL, -- create, update, delete, login, …
    subject TEXT    NOT NULL, -- kind/name
    detail  TEXT    NOT NULL  -- JSON, without secrets
) STRICT;
CREATE INDEX audit_by_time ON audit (ts);
