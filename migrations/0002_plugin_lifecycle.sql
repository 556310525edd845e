-- Versions of plugins that are held back, and why.
CREATE TABLE plugin_quarantine (
    digest TEXT NOT NULL PRIMARY KEY,
    state  TEXT NOT NULL  -- JSON of pipeline::quarantine::Quarantine
) STRICT, WITHOUT ROWID;

-- Requests whose run crashed the plugin: the newest few of each version.
CREATE TABLE plugin_crashes (
    id      INTEGER NOT NULL PRIMARY KEY,
    digest  TEXT    NOT NULL,
    ts      INTEGER NOT NULL,
    request TEXT    NOT NULL  -- JSON of plugin::crash::CrashRequest, without secrets
) STRICT;
CREATE INDEX plugin_crashes_by_digest ON plugin_crashes (digest, id);

-- Detached signature over the digest, base64; absent for none.
ALTER TABLE plugins ADD COLUMN signature TEXT;
