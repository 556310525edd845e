/** Data of the mock server: believable, the same in every run but for the clock. */
const S = 1e6;
const MIN = 60 * S;
const H = 60 * MIN;
export const now = () => Date.now() * 1000;
export const digest = (seed) => Array.from({ length: 64 }, (_, i) => ((seed * (i + 7) * 2654435761) >>> 7 & 15).toString(16)).join('');
export const noise = (n) => {
  const x = Math.sin(n * 127.1) * 43758.5453;
  return x - Math.floor(x);
};

export const schemas = {
  http: {
    type: 'object',
    required: ['url'],
    properties: {
      url: { type: 'string', format: 'uri', 'x-target': 'url', title: 'URL', description: 'where to ask, http or https', examples: ['https://{{ node.address }}/health'] },
      method: { type: 'string', default: 'GET', description: 'HTTP method' },
      headers: { type: 'object', additionalProperties: { type: 'string' }, default: {}, description: 'request headers' },
      body: { type: 'string', description: 'request body' },
      expect_status: { type: 'array', items: { anyOf: [{ type: 'integer' }, { type: 'string' }] }, default: ['200-399'], description: 'status codes that are right: codes, ranges as "200-299" or classes as "2xx"' },
      body_regex: { type: 'string', format: 'regex', description: 'pattern that the body must match', examples: ['^ok$'] },
      json: { type: 'array', default: [], description: 'what the body, read as JSON, must hold', items: { type: 'object', required: ['pointer'], properties: { pointer: { type: 'string', description: 'JSON Pointer to the value' }, exists: { type: 'boolean', description: 'true: must be there' }, equals: { description: 'must be this value' }, gt: { type: 'number', description: 'must be above' } } } },
      warn_ms: { type: 'number', description: 'slower is a warning, in milliseconds', examples: [500] },
      critical_ms: { type: 'number', description: 'slower is critical, in milliseconds', examples: [2000] },
      cert_warn_days: { type: 'number', description: 'fewer days left on the certificate are a warning', examples: [14] },
      max_redirects: { type: 'integer', minimum: 0, maximum: 20, default: 10, description: 'redirects to follow' },
      verify_tls: { type: 'boolean', default: true, description: 'false accepts any certificate' },
    },
  },
  tcp: { type: 'object', required: ['port'], properties: { host: { type: 'string', 'x-target': 'host', description: "name or address; absent: the node's address" }, port: { type: 'integer', minimum: 1, maximum: 65535, description: 'port to connect to', examples: [25] }, tls: { type: 'boolean', default: false, description: 'speak TLS from the start' }, expect: { type: 'string', description: 'text that must come', examples: ['220 '] } } },
  'run-command': { type: 'object', required: ['command'], properties: { command: { type: 'string', description: "name of a command from the configuration's `commands`", examples: ['restart-web'] } } },
  'json-lines': { type: 'object', properties: { level_keys: { type: 'array', items: { type: 'string' }, default: ['level', 'severity'], description: 'keys that hold the level' } } },
  'queue-depth': { type: 'object', required: ['queue'], properties: { queue: { type: 'string', description: 'name of the queue' }, mode: { enum: ['strict', 'relaxed'], default: 'strict', description: 'how an absent queue is judged' }, warn: { type: 'integer', default: 100, description: 'messages that are a warning' } } },
};

const metrics = {
  http: [['latency_ms', 'ms', 'time to the whole answer'], ['status', '', 'HTTP status'], ['body_bytes', 'By', 'size of the body'], ['cert_days', 'd', 'days left on the certificate']],
  tcp: [['connect_ms', 'ms', 'time to connect']],
  'queue-depth': [['depth', '1', 'messages waiting']],
};

export const lately = (seed, more = {}) => ({ cost: { runs: seed * 41, faults: {}, cpu_us: seed * 41 * 930, host_calls: seed * 83, peak_memory: seed * 9_000 }, signed_by: null, quarantine: null, ...more });
const ALL = ['net', 'state', 'system', 'files', 'secrets', 'command', 'read-secrets'];
const PROGRAM = { type: 'object', additionalProperties: false, properties: { args: { type: 'array', items: { type: 'string' }, description: "arguments behind the program's name" }, env: { type: 'object', additionalProperties: { type: 'string' }, description: 'environment variables' } } };

function plugin(name, kind, origin, version, summary, wanted, used_by, extra = {}) {
  const seed = name.length * 31 + name.charCodeAt(0);
  const versions = [{ digest: digest(seed), version, uploaded_at: now() - 40 * H, uploaded_by: 'admin', size: 180_000 + seed * 900, active: true, ...lately(seed) }];
  return {
    name, kind, origin, active_digest: versions[0].digest, versions, summary, wanted, used_by,
    grants: origin === 'builtin' ? { net: ['node'] } : {}, granted: origin === 'builtin', ...extra,
    manifest: { name, version, summary, config_schema: schemas[name] ?? { type: 'object', properties: {} }, capabilities: wanted, metrics: (metrics[name] ?? []).map(([n, unit, description]) => ({ name: n, unit, description })) },
  };
}

export function makePlugins() {
  const list = [
    plugin('http', 'probe', 'builtin', '0.1.0', 'asks a URL and judges status, body, latency and certificate', ['net', 'secrets'], ['check homepage', 'check api', 'check shop-login']),
    plugin('tcp', 'probe', 'builtin', '0.1.0', 'connects to a port and judges what comes', ['net'], ['check ssh', 'check smtp']),
    plugin('json-lines', 'log-parser', 'builtin', '0.1.0', 'log lines that are JSON objects', [], ['log source app']),
    plugin('regex', 'log-parser', 'builtin', '0.1.0', 'log lines that match a regular expression', [], []),
    plugin('run-command', 'action', 'builtin', '0.1.0', 'runs a command that the operator configured by name', ['command'], ['remediation restart-web']),
    plugin('http-request', 'action', 'builtin', '0.1.0', 'sends one HTTP request', ['net', 'secrets'], []),
    plugin('queue-depth', 'probe', 'upload', '1.3.0', 'length of a message queue', ALL, ['check orders-queue']),
    plugin('raid-status', 'probe', 'upload', '0.4.0', 'state of a disk array', ['files', 'read-secrets'], []),
    plugin('backup-age', 'command', 'upload', '0.0.0+5f2a91c04d11', 'a WASI program', [], [], { granted: true }),
  ];
  const queue = list.find((p) => p.name === 'queue-depth');
  list.at(-1).manifest.config_schema = PROGRAM;
  queue.grants = { net: ['node', 'queue.example.org:443'], state: true, system: true, files: ['backups'], secrets: ['api-token'], commands: ['fail-over'], read_secrets: ['smtp-password'] };
  queue.granted = true;
  Object.assign(queue.versions[0], lately(70, { signed_by: 'release-2026', quarantine: { cause: 'crashes', reason: '10 runs in a row crashed it within 5 minutes', since: now() - 2 * H, trials: 1, trial_at: now() + 4e8 } }));
  queue.versions[0].cost.faults = { trap: 12, limit: 2 };
  queue.versions.push({ digest: digest(4711), version: '1.2.1', uploaded_at: now() - 900 * H, uploaded_by: 'admin', size: 201_220, active: false, ...lately(3) });
  return list;
}

const item = (spec, origin = 'ui') => ({ spec, origin, ...(origin === 'file' ? { file: 'bellwether.yaml' } : {}), version: origin === 'file' ? 0 : 1, summary: {} });

export function makeObjects() {
  const nodes = [
    item({ name: 'switch-1', address: '192.0.2.1', labels: { role: 'switch' } }, 'file'),
    ...Array.from({ length: 6 }, (_, i) => item({ name: `web-${i + 1}`, address: `192.0.2.${11 + i}`, labels: { role: 'web', env: i < 4 ? 'prod' : 'staging' }, parents: ['switch-1'] }, i === 0 ? 'file' : 'ui')),
    item({ name: 'db-1', address: 'db-1.internal.example.org', labels: { role: 'db', env: 'prod' }, parents: ['switch-1'] }),
    item({ name: 'mail-1', address: '192.0.2.40', labels: { role: 'mail' } }),
  ];
  const checks = [
    item({ name: 'homepage', plugin: 'http', nodes: 'labels.role == "web"', every: '10s', jitter: '10%', timeout: '5s', attempts: 3, retry_every: '2s', config: { url: 'http://{{ node.address }}:8081/health', expect_status: [200] } }, 'file'),
    item({ name: 'api', plugin: 'http', nodes: 'labels.role == "web" && labels.env == "prod"', every: '30s', timeout: '5s', attempts: 1, config: { url: 'https://{{ node.address }}/api/v2/ping', warn_ms: 400, json: [{ pointer: '/status', equals: 'up' }] } }),
    item({ name: 'ssh', plugin: 'tcp', every: '1m', timeout: '5s', attempts: 2, config: { port: 22, expect: 'SSH-' } }),
    item({ name: 'smtp', plugin: 'tcp', nodes: 'name == "mail-1"', cron: '*/5 * * * *', tz: 'Europe/Berlin', timeout: '10s', attempts: 1, config: { port: 25, expect: '220 ' } }),
    item({ name: 'orders-queue', plugin: 'queue-depth', nodes: 'name == "db-1"', every: '30s', timeout: '5s', attempts: 1, config: { queue: 'orders' } }),
  ];
  const rules = [
    item({ name: 'homepage-down', when: 'check == "homepage" && state == "critical"', for: '30s', severity: 'critical', labels: { team: 'shop' }, notify: ['oncall'], remediate: ['restart-web'] }, 'file'),
    item({ name: 'api-slow', when: 'check == "api" && avg("latency_ms", "5m") > 400.0', for: '5m', severity: 'warning', notify: ['oncall'] }),
    item({ name: 'many-errors', when: 'log_count("level:error source:app", "5m") > 20', severity: 'warning', notify: ['oncall'] }),
  ];
  const contacts = [item({ name: 'oncall', email: ['ops@example.org', 'night@example.org'] }, 'file'), item({ name: 'shop-team', email: ['shop@example.org'] })];
  const remediations = [item({ name: 'restart-web', plugin: 'run-command', config: { command: 'restart-web' }, timeout: '30s', limits: { per_node: '3/h', overall: '10/h', max_share: '25%', cooldown: '5m', verify: 'homepage', verify_after: '5s' } })];
  const log_sources = [item({ name: 'app', file: '/var/log/app/*.log', parser: 'json-lines', from: 'end', config: {} }, 'file')];
  return { nodes, checks, rules, contacts, remediations, log_sources };
}

const RUNS = { homepage: ['web-1', 'web-2', 'web-3', 'web-4', 'web-5', 'web-6'], api: ['web-1', 'web-2', 'web-3', 'web-4'], ssh: ['switch-1', 'web-1', 'web-2', 'web-3', 'web-4', 'web-5', 'web-6', 'db-1', 'mail-1'], smtp: ['mail-1'], 'orders-queue': ['db-1'] };
const OK = { homepage: '200 OK in 43 ms', api: '200 OK in 121 ms, JSON as expected', ssh: 'connected in 3 ms, SSH-2.0-OpenSSH_9.6', smtp: '220 mail-1.example.org ESMTP in 12 ms', 'orders-queue': '17 messages waiting' };

export function makeSeries() {
  const list = [];
  let i = 0;
  for (const [check, nodes] of Object.entries(RUNS))
    for (const node of nodes) {
      i++;
      list.push({ check, node, state: 'ok', last_state: 'ok', since: now() - (3 + noise(i) * 90) * H, soft: false, attempt: 0, stale: false, fault: null, last: { ts: now() - noise(i + 3) * 9 * S, duration_us: Math.round(20_000 + noise(i + 9) * 80_000), summary: OK[check] }, paused: false });
    }
  const at = (check, node, patch) => Object.assign(list.find((s) => s.check === check && s.node === node), patch);
  at('homepage', 'web-2', { state: 'critical', last_state: 'critical', attempt: 3, since: now() - 4 * MIN, last: { ts: now() - 4 * S, duration_us: 5_001_200, summary: 'http://192.0.2.12:8081/health: no answer within 5 s (timed out in connect)' } });
  at('api', 'web-2', { state: 'critical', last_state: 'critical', attempt: 1, since: now() - 3.5 * MIN, last: { ts: now() - 11 * S, duration_us: 2_300, summary: 'connection refused by 192.0.2.12:443' } });
  at('api', 'web-3', { state: 'warning', last_state: 'warning', attempt: 1, since: now() - 52 * MIN, last: { ts: now() - 8 * S, duration_us: 612_000, summary: '200 OK in 612 ms, slower than 400 ms' } });
  at('homepage', 'web-5', { state: 'ok', last_state: 'critical', soft: true, attempt: 1, last: { ts: now() - 1 * S, duration_us: 41_000, summary: '503 Service Unavailable, expected 200' } });
  at('orders-queue', 'db-1', { stale: true, fault: { kind: 'denied', text: 'the plugin asked for queue-eu.example.org:443, which is not granted; grant it on the page of the plugin or change the configuration of the check' }, last: { ts: now() - 21 * S, duration_us: 1_900, summary: 'the plugin asked for queue-eu.example.org:443, which is not granted' } });
  at('ssh', 'db-1', { paused: true });
  return list;
}

export function makeAlerts() {
  const base = { labels: {}, remedies: {}, suppressed_by: [], escalated: false, fired_at: null, ended_at: null };
  return [
    { ...base, id: 41, source: { kind: 'rule', name: 'homepage-down' }, check: 'homepage', node: 'web-2', phase: 'firing', severity: 'critical', labels: { team: 'shop' }, summary: 'http://192.0.2.12:8081/health: no answer within 5 s (timed out in connect)', pending_at: now() - 4 * MIN, fired_at: now() - 3.5 * MIN, remedies: { 'restart-web': { runs: 1, done: false, last: 'ran once, the check still fails; runs again in 2 min' } } },
    { ...base, id: 42, source: { kind: 'fault', check: 'orders-queue' }, check: 'orders-queue', node: 'db-1', phase: 'firing', severity: 'warning', summary: 'the plugin asked for queue-eu.example.org:443, which is not granted', pending_at: now() - 12 * MIN, fired_at: now() - 11 * MIN },
    { ...base, id: 43, source: { kind: 'rule', name: 'api-slow' }, check: 'api', node: 'web-3', phase: 'pending', severity: 'warning', summary: '200 OK in 612 ms, slower than 400 ms', pending_at: now() - 2 * MIN },
    { ...base, id: 37, source: { kind: 'rule', name: 'homepage-down' }, check: 'homepage', node: 'web-1', phase: 'resolved', severity: 'critical', labels: { team: 'shop' }, summary: '200 OK in 39 ms', pending_at: now() - 26 * H, fired_at: now() - 26 * H + 30 * S, ended_at: now() - 25.6 * H, remedies: { 'restart-web': { runs: 1, done: true, last: 'repaired, the check confirms it' } } },
    { ...base, id: 35, source: { kind: 'rule', name: 'many-errors' }, check: null, node: null, phase: 'resolved', severity: 'warning', summary: '31 records in 5m', pending_at: now() - 50 * H, fired_at: now() - 50 * H, ended_at: now() - 49.5 * H },
    { ...base, id: 33, source: { kind: 'rule', name: 'api-slow' }, check: 'api', node: 'web-1', phase: 'cancelled', severity: 'warning', summary: '200 OK in 430 ms', pending_at: now() - 60 * H, ended_at: now() - 59.9 * H },
  ];
}

/** A large site in the middle of an outage, with everything that is too long. */
export function makeMany(db) {
  const LONG = 'a-name-that-somebody-generated-from-the-inventory-with-data-centre-rack-and-serial-number-0123456789';
  const roles = ['web', 'db', 'cache', 'queue', 'edge', 'storage'];
  const switches = Array.from({ length: 10 }, (_, i) => item({ name: `switch-${i + 1}`, address: `198.51.100.${i + 1}`, labels: { role: 'switch', site: `site-${1 + (i % 4)}` }, ...(i ? { parents: ['switch-1'] } : {}) }, 'file'));
  const hosts = Array.from({ length: 190 }, (_, i) => {
    const role = roles[i % roles.length];
    return item({ name: i === 12 ? LONG : `${role}-${i + 1}`, address: i === 12 ? `${LONG}.internal.example.org` : `10.0.${Math.floor(i / 100)}.${10 + (i % 100)}`, labels: { role, site: `site-${1 + (i % 4)}`, ...(i === 12 ? { [`${LONG.slice(0, 40)}`]: LONG } : {}) }, parents: i % 7 ? [`switch-${1 + (i % 10)}`] : [`switch-${1 + (i % 10)}`, 'switch-1'] });
  });
  const nodes = [...switches, ...hosts];
  const text = 'expected 200, found 502 Bad Gateway: the proxy says that none of its 14 upstream servers answered within 30 s (first: 10.0.0.11:8080, connection refused; last: 10.0.0.24:8080, no route to host), and the body is <html><head><title>502 Bad Gateway</title></head><body>nginx</body></html> '.repeat(2).trim();
  const series = nodes.flatMap((node, i) =>
    ['ssh', 'homepage'].map((check, k) => {
      const state = i % 10 === 2 && i > 10 ? 'critical' : i % 23 === 4 && k ? 'warning' : i % 41 === 7 && k ? 'unknown' : 'ok';
      return { check, node: node.spec.name, state, last_state: state, since: now() - (3 + noise(i) * 90) * MIN, soft: false, attempt: state === 'ok' ? 0 : 3, stale: i === 30, fault: i === 30 ? { kind: 'trap', text: 'the plugin crashed: ' + 'x'.repeat(400) } : null, last: { ts: now() - noise(i + 3) * 9 * S, duration_us: 40_000, summary: state === 'ok' ? OK[check] : text }, paused: false };
    }),
  );
  const bad = series.filter((s) => s.state === 'critical');
  const alerts = bad.map((s, i) => ({ labels: {}, remedies: {}, suppressed_by: i % 5 === 2 ? ['switch-3'] : [], escalated: i % 9 === 0, fired_at: now() - (2 + i) * MIN, ended_at: null, id: 100 + i, source: { kind: 'rule', name: i % 2 ? 'homepage-down' : LONG }, check: s.check, node: s.node, phase: 'firing', severity: i % 3 ? 'critical' : 'warning', summary: text, pending_at: now() - (3 + i) * MIN }));
  const objects = { ...db.objects, nodes, rules: [...db.objects.rules, item({ name: LONG, when: `check == "${LONG}" && (${Array.from({ length: 12 }, (_, i) => `labels.role == "role-${i}"`).join(' || ')})`, severity: 'info', notify: Array.from({ length: 9 }, (_, i) => `team-number-${i}`) })] };
  return { objects, series, alerts: [...alerts, ...db.alerts] };
}

export function alertDetail(alert) {
  const t = alert.pending_at;
  const who = 'ops@example.org';
  if (alert.source.kind === 'fault')
    return {
      ...alert, expression: null, action_runs: [], outbox: [], results: results('orders-queue', 'db-1', 6),
      timeline: [
        { ts: t, event: 'fault_began', fault: { kind: 'denied', text: alert.summary } },
        { ts: t + MIN, event: 'alert_fired', rule: alert.source.check, severity: 'warning', summary: alert.summary },
        { ts: t + MIN, event: 'notification_skipped', kind: 'fault', reason: 'no contact is named under faults.notify in the configuration' },
      ],
    };
  const output = 'Stopping web.service…\nStarting web.service…\nweb.service: active (running) since now';
  return {
    ...alert,
    expression: 'check == "homepage" && state == "critical"',
    timeline: [
      { ts: t - 9 * S, event: 'state_changed', from: 'ok', to: 'critical', hard: false, attempt: 1, summary: alert.summary },
      { ts: t, event: 'state_changed', from: 'ok', to: 'critical', hard: true, attempt: 3, summary: alert.summary },
      { ts: t, event: 'alert_pending', rule: 'homepage-down', until: t + 30 * S },
      { ts: t + 30 * S, event: 'alert_fired', rule: 'homepage-down', severity: 'critical', summary: alert.summary },
      { ts: t + 30 * S, event: 'notification_queued', outbox: 9, kind: 'firing', contact: 'oncall', recipient: who },
      { ts: t + 30 * S, event: 'notification_queued', outbox: 10, kind: 'firing', contact: 'oncall', recipient: 'night@example.org' },
      { ts: t + 30 * S, event: 'remediation_started', run: 5, remediation: 'restart-web', attempt: 1, dry_run: false },
      { ts: t + 31 * S, event: 'notification_sent', outbox: 9, recipient: who, reply: '250 2.0.0 Ok: queued as 4XkT2m1Zz9' },
      { ts: t + 31 * S, event: 'notification_retry', outbox: 10, recipient: 'night@example.org', error: '451 4.7.1 Greylisted, try again in 60 seconds', next_at: t + 92 * S, attempts: 1 },
      { ts: t + 33 * S, event: 'remediation_finished', run: 5, remediation: 'restart-web', ok: true, summary: 'restart-web succeeded in 2.1 s', output, duration_us: 2_100_000 },
      { ts: t + 39 * S, event: 'remediation_verified', run: 5, remediation: 'restart-web', ok: false, summary: alert.summary },
      { ts: t + 40 * S, event: 'remediation_refused', remediation: 'restart-web', reason: 'cooldown: it ran 7 s ago, at least 5 min lie between two runs' },
    ],
    outbox: [
      { id: 9, alert: alert.id, kind: 'firing', name: 'homepage-down', node: 'web-2', contact: 'oncall', recipient: who, message_id: '<41.9@bellwether>', status: 'sent', attempts: 1, created_at: t + 30 * S, next_at: t + 30 * S, done_at: t + 31 * S, reply: '250 2.0.0 Ok: queued as 4XkT2m1Zz9' },
      { id: 10, alert: alert.id, kind: 'firing', name: 'homepage-down', node: 'web-2', contact: 'oncall', recipient: 'night@example.org', message_id: '<41.10@bellwether>', status: 'queued', attempts: 1, created_at: t + 30 * S, next_at: now() + 40 * S, done_at: null, reply: '451 4.7.1 Greylisted, try again in 60 seconds' },
    ],
    action_runs: [
      { id: 5, alert: alert.id, remediation: 'restart-web', node: 'web-2', attempt: 1, status: 'succeeded', verify: 'failed', created_at: t + 30 * S, finished_at: t + 32.1 * S, summary: 'restart-web succeeded in 2.1 s', output },
      { id: 6, alert: alert.id, remediation: 'fail-over', node: 'web-2', attempt: 1, status: 'awaiting_approval', verify: 'none', created_at: t + 60 * S, finished_at: null, summary: '', output: '' },
    ],
    results: results('homepage', 'web-2', 8),
  };
}

export function results(check, node, n, before = now(), step = 10 * S) {
  const bad = check === 'homepage' && node === 'web-2';
  return Array.from({ length: n }, (_, i) => {
    const ts = Math.round(before - (i + 0.3) * step);
    const down = bad && ts > now() - 4.2 * MIN;
    if (check === 'orders-queue' && i < 4) return { ts, state: null, fault: 'denied', duration_us: 1900, lateness_us: 800, summary: 'the plugin asked for queue-eu.example.org:443, which is not granted', details: null, metrics: {} };
    const latency = 38 + noise(Math.floor(ts / step)) * 22;
    return { ts, state: down ? 'critical' : 'ok', fault: null, duration_us: down ? 5_001_200 : Math.round(latency * 1000), lateness_us: Math.round(noise(i) * 4000), summary: down ? 'no answer within 5 s (timed out in connect)' : `200 OK in ${Math.round(latency)} ms`, details: i % 3 ? null : 'HTTP/1.1 200 OK\nfrom 192.0.2.11:8081\nresolve 0 ms, connect 1 ms, first byte 37 ms', metrics: down ? {} : { latency_ms: latency, status: 200, body_bytes: 512, cert_days: 61 } };
  });
}

export function chart(metric, from, to, points) {
  const n = Math.min(points, 300);
  const step = (to - from) / n;
  const out = { metric, unit: metric.endsWith('_ms') ? 'ms' : metric === 'body_bytes' ? 'By' : metric === 'cert_days' ? 'd' : '', from, to, step_s: step / S, ts: [], avg: [], min: [], max: [] };
  for (let i = 0; i < n; i++) {
    const base = 42 + 14 * Math.sin(i / 23) + 9 * noise(i) + (i > n * 0.72 && i < n * 0.78 ? 160 : 0);
    const gap = i > n * 0.4 && i < n * 0.43;
    out.ts.push(Math.round(from + i * step));
    out.avg.push(gap ? null : base);
    out.min.push(gap ? null : base - 8 - 6 * noise(i + 5));
    out.max.push(gap ? null : base + 12 + 40 * noise(i + 8) ** 3);
  }
  return out;
}

export function strip(from, to) {
  const at = (share) => Math.round(from + (to - from) * share);
  return { segments: [['none', 0, 0.04], ['ok', 0.04, 0.4], ['stale', 0.4, 0.43], ['ok', 0.43, 0.72], ['critical', 0.72, 0.78], ['warning', 0.78, 0.8], ['ok', 0.8, 1]].map(([state, a, b]) => ({ state, from: at(a), to: at(b) })) };
}

const MESSAGES = [['info', 'checkout completed'], ['info', 'request served'], ['debug', 'cache hit'], ['warning', 'payment provider slow, retrying'], ['error', 'checkout failed: connection to db-1 refused'], ['info', 'session opened'], ['notice', 'configuration reloaded'], ['critical', 'out of file descriptors']];
let logId = 100_000;
export function logEntry(ts, n) {
  const [level, message] = MESSAGES[Math.floor(noise(n) ** 1.6 * MESSAGES.length)];
  return { id: logId++, ts: Math.round(ts), received: Math.round(ts + 40_000), source: 'app', level, message: `${message} (order ${4000 + (n % 977)})`, fields: { host: `web-${1 + (n % 6)}`, request_id: digest(n).slice(0, 16), duration_ms: String(Math.round(noise(n + 1) * 300)) } };
}
export const makeLogs = () => Array.from({ length: 600 }, (_, i) => logEntry(now() - i * 5.5 * S - noise(i) * 3 * S, i));

export function makeMails() {
  const html = (colour, word, text) => `<!doctype html><html><body style="font-family:sans-serif;color:#1a1f27;padding:20px"><h1 style="font-size:18px;color:${colour}">${word}: homepage-down on web-2</h1><p>${text}</p><p><strong>Since</strong> four minutes ago</p><p><a href="#">Open in Bellwether</a></p></body></html>`;
  return [
    { id: 'm2.eml', at: now() - 25 * H, from: 'Bellwether <alerts@example.org>', to: 'ops@example.org', subject: '[RESOLVED] homepage-down on web-1: 200 OK in 39 ms', message_id: '<37.8@bellwether>', in_reply_to: '<37.7@bellwether>', text: 'RESOLVED homepage-down on web-1\n\n200 OK in 39 ms', html: html('#12663a', 'Resolved', '200 OK in 39 ms') },
    { id: 'm3.eml', at: now() - 3.5 * MIN, from: 'Bellwether <alerts@example.org>', to: 'ops@example.org', subject: '[FIRING] homepage-down on web-2: no answer within 5 s', message_id: '<41.9@bellwether>', in_reply_to: null, text: 'FIRING homepage-down on web-2\n\nno answer within 5 s (timed out in connect)\n\nTried: restart-web', html: html('#a51c1c', 'Firing', 'http://192.0.2.12:8081/health: no answer within 5 s (timed out in connect)') },
  ];
}

export const crashes = (name) =>
  name !== 'queue-depth'
    ? []
    : [9, 8, 7].map((id) => ({ id, request: { plugin: name, version: '1.3.0', digest: digest(11), at: now() - id * 6e8, fault: { kind: 'trap', text: 'the plugin crashed: index out of bounds: the len is 0 but the index is 0, at src/lib.rs:48' }, check: 'orders-queue', node: { name: 'db-1', address: 'db-1.internal.example.org', labels: {} }, config: { queue: 'orders' }, attempt: 1, timeout_ms: 5000, memory: 64 << 20, grants: {}, state: {}, without_state: false, log: [{ level: 'error', message: 'index out of bounds: the len is 0 but the index is 0' }, { level: 'error', message: 'backtrace, innermost first:\n  0: queue_depth::depth_of\n  1: queue_depth::check' }] } }));

export const dryRun = (granted) => {
  const used = { cpu_us: 310, ran_us: 43_100, deadline_us: 6_000_000, memory: 1_114_112, memory_limit: 64 << 20, state: 0, state_limit: 64 << 10, host_calls: 1 };
  const call = { call: 'net.http', asked: 'GET http://192.0.2.11:80/health', at_us: 220, took_us: 41_900, failed: false, phases: [{ phase: 'connect', took_us: 900 }, { phase: 'first byte', took_us: 40_100 }], answer: '200, 512 bytes' };
  return granted
    ? { state: 'ok', summary: 'answered in 41 ms', details: 'HTTP/1.1 200 OK', metrics: [{ name: 'latency_ms', value: 41.2 }], log: [{ level: 'info', message: 'asked once' }], fault: null, duration_us: 43_100, calls: [call], used }
    : { state: null, summary: '', details: '', metrics: [], log: [], fault: { kind: 'denied', text: 'the plugin asked for 192.0.2.11:80, which is not granted' }, duration_us: 900, calls: [{ ...call, took_us: 40, failed: true, phases: [], answer: 'denied: net 192.0.2.11:80 is not granted' }], used: { ...used, ran_us: 900 } };
};

const sides = (state, text, ms) => ({ state, summary: text, metrics: [{ name: 'depth', value: 12 }], fault: state ? null : { kind: 'failed', text }, duration_us: ms * 1000 });

export const shadow = (name) =>
  name !== 'queue-depth'
    ? null
    : {
        current: { digest: digest(10), version: '1.2.1' },
        shadow: { digest: digest(11), version: '1.3.0' },
        since: now() - 2 * H,
        started_by: 'ada',
        agreements: 236,
        disagreements: 4,
        skipped: 1,
        series: [
          { check: 'orders-queue', node: 'db-1', agreements: 116, disagreements: 4, runs: [{ at: now() - MIN, agrees: false, current: sides('ok', '12 orders wait', 14), shadow: sides('warning', '12 orders wait, 10 are a warning', 12) }] },
          { check: 'orders-queue', node: 'db-2', agreements: 120, disagreements: 0, runs: [{ at: now() - MIN, agrees: true, current: sides('ok', '3 orders wait', 13), shadow: sides('ok', '3 orders wait', 12) }] },
        ],
      };

export const versionDiff = (plugin, to) => {
  const version = (v) => ({ digest: v.digest, version: v.version });
  return {
    from: version(plugin.versions.find((v) => v.active) ?? plugin.versions[0]),
    to: version(plugin.versions.find((v) => v.digest === to) ?? plugin.versions[0]),
    added_capabilities: ['state'],
    removed_capabilities: [],
    added_metrics: [],
    removed_metrics: [],
    changed_metrics: [],
    config: [{ path: 'limit', before: null, after: { type: 'number' }, required_before: false, required_after: true, may_break: true }],
  };
};
