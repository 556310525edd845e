/**
 * A stand-in for the engine: the REST API with made-up data, live events and
 * the built user interface. For development and accessibility tests.
 *
 * node dev/mock.mjs [--port 8490] [--empty] [--setup] [--open] [--many]
 *   --empty  nothing configured yet     --setup  first start, nobody has a password
 *   --open   logged in as admin from the start
 *   --many   200 nodes in an outage, long names and texts
 */
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as data from './data.mjs';

const has = (flag) => process.argv.includes(flag);
const port = Number(process.argv[process.argv.indexOf('--port') + 1]) || 8490;
const dist = fileURLToPath(new URL('../dist', import.meta.url));
const empty = has('--empty');
const now = data.now;
const started = now();

const db = {
  objects: data.makeObjects(), series: data.makeSeries(), alerts: data.makeAlerts(), plugins: data.makePlugins(), logs: data.makeLogs(), mails: data.makeMails(),
  users: [{ name: 'admin', role: 'admin', disabled: false, has_password: !has('--setup'), created_at: now() - 9e12 }, { name: 'kim', role: 'operator', disabled: false, has_password: !has('--setup'), created_at: now() - 8e11 }],
  tokens: [{ id: 't1', name: 'prometheus', role: 'viewer', created_at: now() - 4e11, expires_at: now() + 5e12 }],
  audit: [{ id: 3, ts: now() - 3e8, actor: 'kim', action: 'update', subject: 'check/api', detail: { warn_ms: [500, 400] } }, { id: 2, ts: now() - 9e9, actor: 'admin', action: 'grant', subject: 'plugin/queue-depth', detail: { net: ['node', 'queue.example.org:443'] } }],
  sessions: new Map(), uploads: new Map(), broken: false, generation: 7,
};
if (empty) {
  for (const kind of Object.keys(db.objects)) db.objects[kind] = [];
  db.series = []; db.alerts = []; db.logs = []; db.mails = [];
  db.plugins = db.plugins.filter((p) => p.origin === 'builtin');
  for (const p of db.plugins) p.used_by = [];
}

if (has('--many')) Object.assign(db, data.makeMany(db));

const clients = new Set();
function tell(event) {
  for (const response of clients) response.write(`event: change\ndata: ${JSON.stringify(event)}\n\n`);
}
class Problem extends Error {
  constructor(status, code, message, fields = []) {
    super(message);
    Object.assign(this, { status, code, fields });
  }
}
const invalid = (...fields) => new Problem(422, 'validation', 'the object is not valid', fields.map(([path, message, suggestion]) => ({ path, message, suggestion })));
const page = (items, query) => {
  const limit = Math.min(Number(query.get('limit')) || 100, 500);
  const at = Number(query.get('cursor')) || 0;
  return { items: items.slice(at, at + limit), next: at + limit < items.length ? String(at + limit) : null };
};
const find = (list, test, what) => list.find(test) ?? (() => { throw new Problem(404, 'not_found', `there is no such ${what}`); })();

function counts(list) {
  const out = { ok: 0, warning: 0, critical: 0, unknown: 0, pending: 0, stale: 0, paused: 0 };
  for (const s of list) {
    out[s.state ?? 'pending']++;
    if (s.stale) out.stale++;
    if (s.paused) out.paused++;
  }
  return out;
}
const RANK = { critical: 5, unknown: 4, warning: 3 };
const urgency = (s) => RANK[s.state] ?? (s.stale ? 2 : s.soft ? 1 : 0);
const isOpen = (a) => a.phase === 'firing' || a.phase === 'pending';

function session(request) {
  if (has('--open')) return db.users[0];
  const id = /bw_session=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
  return db.users.find((u) => u.name === db.sessions.get(id)) ?? null;
}
const sessionBody = (user) => ({ user: user && { name: user.name, role: user.role }, setup_needed: !db.users.some((u) => u.has_password), demo: !has('--no-demo'), version: '0.1.0', public_url: `http://127.0.0.1:${port}` });
function logIn(name, response) {
  const id = Math.random().toString(36).slice(2);
  db.sessions.set(id, name);
  response.setHeader('set-cookie', `bw_session=${id}; HttpOnly; SameSite=Strict; Path=/`);
  return sessionBody(db.users.find((u) => u.name === name));
}

function validate(kind, spec, fresh) {
  const fields = [];
  if (!spec.name) fields.push(['name', 'expected a name']);
  else if (!/^[\w.-]+$/.test(spec.name)) fields.push(['name', `expected letters, digits, dot, hyphen or underscore, found ${JSON.stringify(spec.name)}`]);
  else if (fresh && db.objects[kind].some((o) => o.spec.name === spec.name)) fields.push(['name', `there is already one called ${spec.name}`]);
  if (kind === 'nodes' && !spec.address) fields.push(['address', 'expected a host name or an IP address']);
  if (kind === 'checks') {
    if (!spec.plugin) fields.push(['plugin', 'expected the name of a plugin']);
    if (spec.every && !/^\d+(ms|s|m|h|d)$/.test(spec.every)) fields.push(['every', `expected a duration such as 10s or 5m, found ${JSON.stringify(spec.every)}`]);
    if (!spec.every && !spec.cron) fields.push(['every', 'expected every or cron']);
    const schema = data.schemas[spec.plugin];
    for (const key of schema?.required ?? []) if (spec.config?.[key] === undefined) fields.push(['config', `expected the key "${key}", found none`]);
    for (const key of Object.keys(spec.config ?? {})) if (schema && !schema.properties[key]) fields.push([`config.${key}`, 'is not known to this plugin', Object.keys(schema.properties)[0]]);
    (spec.config?.expect_status ?? []).forEach((s, i) => /^\d{3}|^\dxx/.test(String(s)) || fields.push([`config.expect_status[${i}]`, `expected a status such as 200, found ${JSON.stringify(s)}`]));
  }
  if (kind === 'rules' && !/==|>|<|true/.test(spec.when ?? '')) fields.push(['when', 'expected an expression of type bool']);
  if (kind === 'contacts') (spec.email ?? []).forEach((m, i) => m.includes('@') || fields.push([`email[${i}]`, `expected a mailbox such as ops@example.org, found ${JSON.stringify(m)}`]));
  if (fields.length) throw invalid(...fields);
}
function withSummary(kind, o) {
  const key = { nodes: 'node', checks: 'check' }[kind];
  if (!key) return o;
  return { ...o, summary: { series: counts(db.series.filter((s) => s[key] === o.spec.name)), firing: db.alerts.filter((a) => a.phase === 'firing' && a[key] === o.spec.name).length } };
}
function matching(expr) {
  const m = /labels\.(\w+) == "([^"]*)"/.exec(expr);
  const n = /name == "([^"]*)"/.exec(expr);
  if (expr !== 'true' && !m && !n) throw invalid(['expr', 'expected an expression of type bool over name, address and labels']);
  return db.objects.nodes.filter((o) => (m ? o.spec.labels?.[m[1]] === m[2] : n ? o.spec.name === n[1] : true)).map((o) => o.spec.name);
}

async function upload(id, file) {
  const step = (phase, message, extra = {}) => {
    db.uploads.set(id, { id, phase, message, ...extra });
    tell({ type: 'upload', id, phase, message });
  };
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  step('received', `${file.size} bytes received`);
  await wait(400);
  step('compiling', 'compiling in a process of its own, without network and files');
  await wait(900);
  if (!file.magic) return step('failed', 'expected a WebAssembly component or module, found a file that does not begin with \\0asm; is it the right file?');
  step('describing', 'asking the plugin what it is, without any permission');
  await wait(500);
  const name = file.name.replace(/\.wasm$/, '');
  const old = db.plugins.find((p) => p.name === name);
  const version = { digest: data.digest(Date.now() % 9999), version: old ? '2.0.0' : '1.0.0', uploaded_at: now(), uploaded_by: 'admin', size: file.size, active: !old, ...data.lately(1) };
  if (old) old.versions.unshift(version);
  else db.plugins.push({ name, kind: 'probe', origin: 'upload', active_digest: version.digest, versions: [version], summary: 'an example probe', grants: {}, wanted: ['net', 'state', 'secrets', 'command'], used_by: [], granted: false, manifest: { name, version: version.version, summary: 'an example probe', config_schema: data.schemas['queue-depth'], capabilities: ['net', 'state', 'secrets', 'command'], metrics: [] } });
  step('done', 'ready for review', { result: { name, version: version.version, kind: 'probe', digest: version.digest, wanted: ['net', 'state', 'secrets', 'command'], manifest: { summary: 'an example probe' }, ...(old ? { replaces: { version: '1.3.0', added_capabilities: ['command'], removed_capabilities: [] } } : {}) } });
  tell({ type: 'plugins', digest: version.digest });
}

function overview() {
  const problems = db.series.filter((s) => urgency(s) > 0 && !s.paused).sort((a, b) => urgency(b) - urgency(a));
  const o = db.objects;
  return {
    generation: db.generation,
    engine: { ready: true, degraded: has('--degraded') ? 'the disk with the data folder is full: nothing has been recorded for 60 s' : null, version: '0.1.0', uptime_s: Math.round((now() - started) / 1e6) + 93_000, checks_per_s: db.series.length / 11, lateness_p99_ms: 4.2, faults: db.series.some((s) => s.fault) ? 14 : 0 },
    counts: counts(db.series), alerts: db.alerts.filter(isOpen).sort((a, b) => (a.phase === 'pending') - (b.phase === 'pending')).slice(0, 50), firing_total: db.alerts.filter((a) => a.phase === 'firing').length, pending_total: db.alerts.filter((a) => a.phase === 'pending').length, problems: problems.slice(0, 200), problems_total: problems.length,
    nodes_total: o.nodes.length, checks_total: o.checks.length, series_total: db.series.length, rules_total: o.rules.length, contacts_total: o.contacts.length,
    first_steps: { node: o.nodes.length > 0, check: o.checks.length > 0, rule: o.rules.length > 0, contact: o.contacts.length > 0, plugin: db.plugins.some((p) => p.origin === 'upload') },
  };
}

const KINDS = 'nodes|checks|rules|contacts|remediations|log_sources';
/** [method, pattern, handler({ m, query, body, user, response, request })] */
const routes = [
  ['GET', '/overview', () => overview()],
  ['GET', '/series', ({ query }) => page(db.series.filter((s) => (!query.get('state') || (query.get('state') === 'problem' ? urgency(s) > 0 : query.get('state') === 'stale' ? s.stale : query.get('state') === 'paused' ? s.paused : s.state === query.get('state'))) && (s.check + ' ' + s.node).includes(query.get('q') ?? '')).sort((a, b) => urgency(b) - urgency(a)), query)],
  ['GET', '/series/([^/]+)/([^/]+)', ({ m }) => ({ ...find(db.series, (s) => s.check === m[1] && s.node === m[2], 'series'), configured: true, results: data.results(m[1], m[2], 50), alerts: db.alerts.filter((a) => a.check === m[1] && a.node === m[2]), metrics: [{ name: 'latency_ms', unit: 'ms' }, { name: 'status', unit: '' }, { name: 'body_bytes', unit: 'By' }, { name: 'cert_days', unit: 'd' }] })],
  ['GET', '/series/([^/]+)/([^/]+)/results', ({ m, query }) => { const at = Number(query.get('cursor')) || now(); const items = data.results(m[1], m[2], Number(query.get('limit')) || 50, at); return { items, next: String(items.at(-1).ts) }; }],
  ['GET', '/series/[^/]+/[^/]+/chart', ({ query }) => data.chart(query.get('metric'), Number(query.get('from')), Number(query.get('to')), Number(query.get('points')))],
  ['GET', '/series/[^/]+/[^/]+/strip', ({ query }) => data.strip(Number(query.get('from')), Number(query.get('to')))],
  ['GET', '/series/([^/]+)/([^/]+)/timeline', ({ m, query }) => page(db.alerts.filter((a) => a.check === m[1] && a.node === m[2]).flatMap((a) => data.alertDetail(a).timeline).reverse(), query)],
  [`GET`, `/(${KINDS})`, ({ m, query }) => page(db.objects[m[1]].filter((o) => JSON.stringify(o.spec).includes(query.get('q') ?? '')).map((o) => withSummary(m[1], o)), query)],
  ['GET', '/nodes/([^/]+)', ({ m }) => ({ ...find(db.objects.nodes, (o) => o.spec.name === m[1], 'node'), series: db.series.filter((s) => s.node === m[1]), alerts: db.alerts.filter((a) => a.node === m[1]) })],
  ['GET', '/checks/([^/]+)', ({ m }) => { const o = find(db.objects.checks, (c) => c.spec.name === m[1], 'check'); return { ...o, plugin: { name: o.spec.plugin, version: '0.1.0', kind: 'probe', summary: db.plugins.find((p) => p.name === o.spec.plugin)?.summary ?? '' }, schedule: o.spec.cron ? `cron ${o.spec.cron} (${o.spec.tz})` : `every ${o.spec.every}`, next_runs: [1, 2, 3, 4, 5].map((i) => now() + i * 1e7), series: db.series.filter((s) => s.check === m[1]), alerts: [] }; }],
  ['GET', `/(${KINDS})/([^/]+)`, ({ m }) => find(db.objects[m[1]], (o) => o.spec.name === m[2], m[1])],
  ['POST', '/nodes/select', ({ body }) => { const all = matching(body.expr); return { nodes: all.slice(0, 20), total: all.length }; }],
  ['POST', '/checks/([^/]+)/run', () => ({ series: 1 })],
  ['POST', '/checks/([^/]+)/(pause|resume)', ({ m }) => { find(db.objects.checks, (o) => o.spec.name === m[1], 'check').spec.paused = m[2] === 'pause'; for (const s of db.series) if (s.check === m[1]) s.paused = m[2] === 'pause'; tell({ type: 'config', generation: ++db.generation }); return {}; }],
  ['POST', '/schedule/preview', ({ body }) => { if (body.every && !/^\d+(s|m|h|d)$/.test(body.every)) throw invalid(['every', `expected a duration such as 10s, found ${JSON.stringify(body.every)}`]); if (body.cron && body.cron.trim().split(/\s+/).length < 5) throw invalid(['cron', 'expected five fields']); return { text: '', next_runs: [1, 2, 3, 4, 5].map((i) => now() + i * 3e7) }; }],
  ['POST', '/rules/test', ({ body }) => (/stat |sate/.test(body.when) ? { ok: false, fields: [{ path: 'when', message: 'unknown variable `sate` at column 1', suggestion: 'state' }], reads: [], results: [], total: 0, matching: 0 } : { ok: true, fields: [], reads: ['check', 'state'], per_series: true, results: db.series.slice(0, 4).map((s) => ({ check: s.check, node: s.node, value: s.state === 'critical', error: null })), total: 4, matching: 1 })],
  ['POST', `/(${KINDS})`, ({ m, body }) => { validate(m[1], body, true); db.objects[m[1]].push({ spec: body, origin: 'ui', version: 1, summary: {} }); if (m[1] === 'checks') for (const node of matching(body.nodes ?? 'true')) db.series.push({ check: body.name, node, state: null, last_state: null, since: null, soft: false, attempt: 0, stale: false, fault: null, last: null, paused: false }); tell({ type: 'config', generation: ++db.generation }); return { version: 1, generation: db.generation }; }],
  ['PUT', `/(${KINDS})/([^/]+)`, ({ m, body, request }) => { const o = find(db.objects[m[1]], (x) => x.spec.name === m[2], m[1]); if (o.origin === 'file') throw new Problem(409, 'read_only', `${m[2]} is defined in ${o.file}; change it there`); if (String(o.version) !== request.headers['if-match']) throw new Problem(409, 'conflict', 'somebody else changed it'); validate(m[1], body, false); o.spec = body; o.version++; tell({ type: 'config', generation: ++db.generation }); return { version: o.version, generation: db.generation }; }],
  ['DELETE', `/(${KINDS})/([^/]+)`, ({ m }) => { const list = db.objects[m[1]]; list.splice(list.indexOf(find(list, (x) => x.spec.name === m[2], m[1])), 1); if (m[1] === 'checks') db.series = db.series.filter((s) => s.check !== m[2]); tell({ type: 'config', generation: ++db.generation }); }],
  ['GET', '/alerts', ({ query }) => page(db.alerts.filter((a) => { const phase = query.get('phase'); return (!phase || (phase === 'open' ? isOpen(a) : a.phase === phase)) && (!query.get('node') || a.node === query.get('node')); }), query)],
  ['GET', '/alerts/(\\d+)', ({ m }) => data.alertDetail(find(db.alerts, (a) => a.id === Number(m[1]), 'alert'))],
  ['POST', '/outbox/\\d+/retry', () => undefined],
  ['POST', '/action_runs/\\d+/decide', () => undefined],
  ['GET', '/plugins', ({ query }) => page(db.plugins.map(({ manifest: _, ...p }) => p), query)],
  ['GET', '/plugins/uploads/([^/]+)', ({ m }) => db.uploads.get(m[1]) ?? find([], () => false, 'upload')],
  ['GET', '/plugins/([^/]+)', ({ m }) => find(db.plugins, (p) => p.name === m[1], 'plugin')],
  ['GET', '/plugins/([^/]+)/crashes', ({ m, query }) => page(data.crashes(m[1]), query)],
  ['GET', '/plugins/([^/]+)/shadow', ({ m }) => ({ shadow: data.shadow(m[1]) })],
  ['POST', '/plugins/([^/]+)/shadow', () => undefined],
  ['DELETE', '/plugins/([^/]+)/shadow', () => undefined],
  ['GET', '/plugins/([^/]+)/versions/([^/]+)/diff', ({ m }) => data.versionDiff(find(db.plugins, (p) => p.name === m[1], 'plugin'), m[2])],
  ['PUT', '/plugins/([^/]+)/grants', ({ m, body }) => { (body.net ?? []).forEach((g, i) => { if (g !== 'node' && !/:/.test(g)) throw invalid([`net[${i}]`, `expected host:port, found ${JSON.stringify(g)}`, `${g}:443`]); }); (body.files ?? []).forEach((f, i) => { if (f !== 'backups') throw invalid([`files[${i}]`, `expected a name that the configuration file defines, found ${JSON.stringify(f)}`]); }); const p = find(db.plugins, (x) => x.name === m[1], 'plugin'); p.grants = body; p.granted = p.wanted.every((c) => [body[{ command: 'commands', 'read-secrets': 'read_secrets' }[c] ?? c]].flat().some(Boolean)); tell({ type: 'plugins', digest: p.active_digest }); return { generation: ++db.generation }; }],
  ['POST', '/plugins/([^/]+)/release', ({ m, body }) => { for (const v of find(db.plugins, (x) => x.name === m[1], 'plugin').versions) if (v.digest === body.digest) v.quarantine = null; tell({ type: 'plugins', digest: body.digest }); }],
  ['POST', '/plugins/([^/]+)/activate', ({ m, body }) => { const p = find(db.plugins, (x) => x.name === m[1], 'plugin'); for (const v of p.versions) v.active = v.digest === body.digest; p.active_digest = body.digest; tell({ type: 'plugins', digest: body.digest }); return { generation: ++db.generation }; }],
  ['DELETE', '/plugins/([^/]+)', ({ m }) => { const p = find(db.plugins, (x) => x.name === m[1], 'plugin'); if (p.used_by.length) throw new Problem(409, 'in_use', `${m[1]} is used by ${p.used_by.join(', ')}; change them first`); db.plugins.splice(db.plugins.indexOf(p), 1); }],
  ['DELETE', '/plugins/([^/]+)/versions/([^/]+)', ({ m }) => { const p = find(db.plugins, (x) => x.name === m[1], 'plugin'); if (p.versions.length > 1 && p.versions.find((v) => v.digest === m[2])?.active) throw new Problem(409, 'conflict', 'this version is the one in use: activate another one first'); p.versions = p.versions.filter((v) => v.digest !== m[2]); }],
  ['POST', '/plugins/([^/]+)/dry_run', ({ m }) => data.dryRun(find(db.plugins, (x) => x.name === m[1], 'plugin').granted)],
  ['POST', '/plugins/([^/]+)/crashes/([^/]+)/replay', () => data.dryRun(true)],
  ['GET', '/commands', () => ({ items: ['restart-web', 'fail-over'], next: null })],
  ['GET', '/secrets', () => ({ items: ['api-token', 'smtp-password'], next: null })],
  ['GET', '/logs', ({ query }) => { const levels = ['', 'trace', 'debug', 'info', 'notice', 'warning', 'error', 'critical']; const least = levels.indexOf(query.get('min_level') ?? ''); return page(db.logs.filter((l) => l.ts >= (Number(query.get('from')) || 0) && l.ts <= (Number(query.get('to')) || Infinity) && levels.indexOf(l.level) >= least && l.message.includes(query.get('q') ?? '')), query); }],
  ['GET', '/logs/sources', () => ({ items: db.objects.log_sources.map((o) => ({ name: o.spec.name, file: o.spec.file, parser: o.spec.parser, files: [{ path: '/var/log/app/web.log', offset: 4_812_300, updated_at: now() }], error: null })), next: null })],
  ['GET', '/mailbox', ({ query }) => page([...db.mails].sort((a, b) => b.at - a.at), query)],
  ['GET', '/demo', () => ({ broken: db.broken })],
  ['POST', '/demo', ({ body }) => { db.broken = body.broken; tell({ type: 'series', check: 'homepage', node: 'web-1', state: 'ok', soft: false, stale: false }); return { broken: db.broken }; }],
  ['GET', '/users', ({ query }) => page(db.users, query)],
  ['POST', '/users', ({ body }) => { if ((body.password ?? '').length < 8) throw invalid(['password', `expected at least 8 characters, found ${(body.password ?? '').length}`]); db.users.push({ name: body.name, role: body.role, disabled: false, has_password: true, created_at: now() }); return db.users.at(-1); }],
  ['PATCH', '/users/([^/]+)', ({ m, body }) => Object.assign(find(db.users, (u) => u.name === m[1], 'user'), body)],
  ['DELETE', '/users/([^/]+)', ({ m }) => { db.users = db.users.filter((u) => u.name !== m[1]); }],
  ['GET', '/tokens', ({ query }) => page(db.tokens, query)],
  ['POST', '/tokens', ({ body }) => { const t = { id: String(Math.random()).slice(2), name: body.name, role: body.role, created_at: now(), expires_at: null }; db.tokens.push(t); return { ...t, token: 'bw_' + data.digest(db.tokens.length).slice(0, 40) }; }],
  ['DELETE', '/tokens/([^/]+)', ({ m }) => { db.tokens = db.tokens.filter((t) => t.id !== m[1]); }],
  ['GET', '/audit', ({ query }) => page(db.audit, query)],
  ['POST', '/config/validate', ({ body }) => (String(body).includes('evry') ? { ok: false, problems: [{ line: 3, column: 5, path: 'checks[0].evry', message: 'unknown key', suggestion: 'every' }] } : { ok: true, problems: [] })],
  ['POST', '/me/password', ({ body, user }) => { if ((body.new ?? '').length < 8) throw invalid(['new', `expected at least 8 characters, found ${(body.new ?? '').length}`]); user.has_password = true; }],
].map(([method, pattern, handle]) => [method, new RegExp(`^/api/v1${pattern}$`), handle]);

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

async function api(request, response, url) {
  const path = url.pathname;
  const raw = request.method === 'GET' ? Buffer.alloc(0) : await read(request);
  const type = request.headers['content-type'] ?? '';
  let user = session(request);
  if (path === '/api/v1/session/link') return logIn('admin', response);
  const body = type.includes('json') && raw.length ? JSON.parse(raw) : raw.toString('latin1');
  if (path === '/api/v1/session') {
    if (request.method === 'POST') {
      if (body.password !== 'bellwether') throw new Problem(401, 'unauthorized', 'name or password is wrong');
      return logIn(body.name, response);
    }
    if (request.method === 'DELETE') return void db.sessions.clear();
    return sessionBody(user);
  }
  if (!user) throw new Problem(401, 'unauthorized', 'log in first');
  if (path === '/api/v1/plugins' && request.method === 'POST') {
    const id = String(Math.random()).slice(2);
    const text = raw.toString('latin1');
    void upload(id, { size: raw.length, name: /filename="([^"]+)"/.exec(text)?.[1] ?? 'plugin.wasm', magic: text.includes('\r\n\r\n\0asm') });
    return { upload_id: id };
  }
  for (const [method, pattern, handle] of routes) {
    const m = request.method === method && pattern.exec(path);
    if (m) return handle({ m: [...m].map((part) => part && decodeURIComponent(part)), query: url.searchParams, body, user, response, request });
  }
  throw new Problem(404, 'not_found', `there is no ${request.method} ${path}`);
}

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const CSP = "default-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; object-src 'none'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

createServer(async (request, response) => {
  const url = new URL(request.url, 'http://mock');
  response.setHeader('content-security-policy', CSP);
  try {
    if (url.pathname === '/api/v1/events') {
      if (!session(request)) throw new Problem(401, 'unauthorized', 'log in first');
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write(': hello\n\n');
      clients.add(response);
      request.on('close', () => clients.delete(response));
      return;
    }
    if (url.pathname === '/api/v1/config/export') return void response.writeHead(200, { 'content-type': 'application/yaml' }).end('nodes:\n  - { name: web-1, address: 192.0.2.11 }\n');
    if (url.pathname.startsWith('/api/')) {
      const answer = await api(request, response, url);
      response.writeHead(answer === undefined ? 204 : 200, { 'content-type': 'application/json' });
      return void response.end(answer === undefined ? undefined : JSON.stringify(answer));
    }
    const file = normalize(join(dist, extname(url.pathname) ? url.pathname : '/index.html'));
    if (!file.startsWith(dist)) throw new Problem(404, 'not_found', 'no such file');
    const bytes = await readFile(file).catch(() => null);
    if (!bytes) throw new Problem(404, 'not_found', 'no such file');
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(bytes);
  } catch (error) {
    response.writeHead(error.status ?? 500, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { code: error.code ?? 'internal', message: error.message, fields: error.fields ?? [] } }));
  }
}).listen(port, '127.0.0.1', () => console.log(`mock on http://127.0.0.1:${port}`));

if (!empty)
  setInterval(() => {
    const n = Math.floor(Math.random() * 1e5);
    db.logs.unshift(data.logEntry(now(), n));
    db.logs.length = Math.min(db.logs.length, 2000);
    tell({ type: 'logs', source: 'app', count: 1 });
    const s = db.series[n % db.series.length];
    if (s.state === 'ok' && !s.paused && s.last) s.last = { ...s.last, ts: now() };
  }, 1500).unref();
setInterval(() => { for (const response of clients) response.write(': ping\n\n'); }, 15_000).unref();
