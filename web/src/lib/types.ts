/**
 * What the API answers. The only place that knows its shapes: everything else
 * imports from here, so that generated types can take over name by name.
 * Times are microseconds since the epoch (UTC).
 */
export type Micros = number;
export type State = 'ok' | 'warning' | 'critical' | 'unknown';
export type Severity = 'info' | 'warning' | 'critical';
export type Phase = 'pending' | 'firing' | 'resolved' | 'removed' | 'cancelled';
export type Role = 'viewer' | 'operator' | 'admin';
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface FieldError {
  path: string;
  message: string;
  suggestion?: string | null;
}

export interface Session {
  user: { name: string; role: Role } | null;
  setup_needed: boolean;
  demo: boolean;
  version: string;
  public_url: string;
}

export interface Fault {
  kind: string;
  text: string;
}

export interface Series {
  check: string;
  node: string;
  state: State | null;
  since: Micros | null;
  /** State of the last report; differs from `state` while `soft`. */
  last_state?: State | null;
  soft: boolean;
  attempt: number;
  stale: boolean;
  fault: Fault | null;
  last: { ts: Micros; duration_us: number; summary: string } | null;
  paused: boolean;
}

export interface Alert {
  id: number;
  source: { kind: 'rule'; name: string } | { kind: 'fault'; check: string } | { kind: 'plugin'; plugin: string; digest: string };
  check: string | null;
  node: string | null;
  phase: Phase;
  severity: Severity;
  labels: Record<string, string>;
  summary: string;
  pending_at: Micros;
  fired_at: Micros | null;
  ended_at: Micros | null;
  remedies: Record<string, { runs: number; done: boolean; last: string }>;
  escalated: boolean;
}

export type Counts = Record<'ok' | 'warning' | 'critical' | 'unknown' | 'pending' | 'stale' | 'paused', number>;

export interface Overview {
  generation: number;
  engine: {
    ready: boolean;
    degraded: string | null;
    version: string;
    uptime_s: number;
    checks_per_s: number;
    lateness_p99_ms: number | null;
    faults: number;
  };
  counts: Counts;
  alerts: Alert[];
  problems: Series[];
  problems_total: number;
  nodes_total: number;
  checks_total: number;
  series_total: number;
  rules_total: number;
  contacts_total: number;
  first_steps: Record<'node' | 'check' | 'rule' | 'contact' | 'plugin', boolean>;
}

/* Objects of the configuration, as in YAML. */
export interface NodeSpec {
  name: string;
  address: string;
  labels?: Record<string, string>;
  parents?: string[];
}
export interface CheckSpec {
  name: string;
  plugin: string;
  nodes?: string;
  every?: string;
  cron?: string;
  tz?: string;
  jitter?: string;
  timeout?: string;
  attempts?: number;
  retry_every?: string;
  limits?: { memory?: string };
  config?: JsonObject;
  /** What the engine fetches for a command plugin. */
  input?: JsonObject;
  paused?: boolean;
}
export interface RuleSpec {
  name: string;
  when: string;
  for?: string;
  severity?: Severity;
  labels?: Record<string, string>;
  notify?: string[];
  remediate?: string[];
}
export interface ContactSpec {
  name: string;
  email?: string[];
}
export interface EnvelopeSpec {
  per_node?: string;
  overall?: string;
  max_share?: string;
  cooldown?: string;
  approve?: boolean;
  dry_run?: boolean;
  verify?: string;
  verify_after?: string;
}
export interface RemediationSpec {
  name: string;
  plugin: string;
  config?: JsonObject;
  timeout?: string;
  limits?: EnvelopeSpec;
}
export interface LogSourceSpec {
  name: string;
  file: string;
  parser: string;
  from?: 'end' | 'start';
  config?: JsonObject;
}
export interface Specs {
  nodes: NodeSpec;
  checks: CheckSpec;
  rules: RuleSpec;
  contacts: ContactSpec;
  remediations: RemediationSpec;
  log_sources: LogSourceSpec;
}
export type Kind = keyof Specs;

export interface Obj<S> {
  spec: S;
  origin: 'file' | 'ui';
  /** The file that holds it, for objects of the file. */
  file?: string | null;
  version: number;
  summary?: {
    /** States of its series. */
    series?: Partial<Counts>;
    pending?: number;
    firing?: number;
    used_by?: string[];
  };
}
export interface NodeDetail extends Obj<NodeSpec> {
  series: Series[];
  alerts: Alert[];
}
export interface CheckDetail extends Obj<CheckSpec> {
  plugin?: { name: string; version: string; kind: string; summary: string } | null;
  schedule: string;
  next_runs: Micros[];
  series: Series[];
}

export interface Result {
  ts: Micros;
  state: State | null;
  fault: Fault | string | null;
  duration_us: number;
  lateness_us: number;
  summary: string;
  details: string | null;
  metrics: Record<string, number>;
}
export interface SeriesDetail extends Series {
  /** False: only its history is left. */
  configured?: boolean;
  results: Result[];
  alerts: Alert[];
  metrics: { name: string; unit: string }[];
}
export interface ChartData {
  metric: string;
  unit: string;
  from: Micros;
  to: Micros;
  step_s: number;
  ts: Micros[];
  avg: (number | null)[];
  min: (number | null)[];
  max: (number | null)[];
}
export interface Strip {
  segments: { from: Micros; to: Micros; state: State | 'stale' | 'none' }[];
}

type Kinded = 'firing' | 'resolved' | 'repair_failed' | 'fault' | 'fault_resolved';
export type TimelineEntry = { ts: Micros; alert?: number | null } & (
  | { event: 'state_changed'; from: State | null; to: State; hard: boolean; attempt: number; summary: string }
  | { event: 'fault_began'; fault: Fault }
  | { event: 'fault_ended' }
  | { event: 'alert_pending'; rule: string; until: Micros }
  | { event: 'alert_fired'; rule: string; severity: Severity; summary: string }
  | { event: 'alert_resolved'; summary: string }
  | { event: 'alert_cancelled' }
  | { event: 'alert_removed'; reason: string }
  | { event: 'notification_queued'; outbox: number; kind: Kinded; contact: string; recipient: string }
  | { event: 'notification_skipped'; kind: Kinded; reason: string }
  | { event: 'notification_sent'; outbox: number; recipient: string; reply: string }
  | { event: 'notification_retry'; outbox: number; recipient: string; error: string; next_at: Micros; attempts: number }
  | { event: 'notification_failed'; outbox: number; recipient: string; error: string }
  | { event: 'remediation_started'; run: number; remediation: string; attempt: number; dry_run: boolean }
  | { event: 'remediation_refused'; remediation: string; reason: string }
  | { event: 'remediation_finished'; run: number; remediation: string; ok: boolean; summary: string; output: string; duration_us: number }
  | { event: 'remediation_interrupted'; run: number; remediation: string }
  | { event: 'remediation_verified'; run: number; remediation: string; ok: boolean; summary: string }
  | { event: 'remediation_escalated'; remediation: string; reason: string }
);

export interface OutboxItem {
  id: number;
  kind?: string;
  contact: string;
  recipient: string;
  message_id: string;
  status: 'queued' | 'sent' | 'failed';
  attempts: number;
  created_at: Micros;
  next_at?: Micros | null;
  done_at?: Micros | null;
  /** What the mail server said last, or why it was not reached. */
  reply?: string | null;
}
export interface ActionRun {
  id: number;
  remediation: string;
  node: string | null;
  attempt: number;
  status: 'running' | 'awaiting_approval' | 'succeeded' | 'failed' | 'dry_run' | 'interrupted' | 'cancelled';
  verify: 'none' | 'waiting' | 'ok' | 'failed';
  created_at: Micros;
  finished_at: Micros | null;
  summary: string;
  output: string;
}
export interface AlertDetail extends Alert {
  timeline: TimelineEntry[];
  outbox: OutboxItem[];
  action_runs: ActionRun[];
  expression?: string | null;
  results: Result[];
}

export interface Grants {
  net?: string[];
  secrets?: string[];
  commands?: string[];
  state?: boolean;
}
export interface PluginVersion {
  digest: string;
  version: string;
  uploaded_at: Micros | null;
  size: number;
  active: boolean;
  cost?: { runs: number; faults: Record<string, number>; cpu_us: number; host_calls: number; peak_memory: number };
  signed_by?: string | null;
  quarantine?: { cause: 'crashes' | 'revoked' | 'unsigned'; reason: string; since: Micros; trials: number; trial_at?: Micros | null } | null;
}
export interface Crash {
  id: number;
  request: { version: string; digest: string; at: Micros; fault: Fault; check: string; node: { name: string } } & Record<string, unknown>;
}
export interface Plugin {
  name: string;
  kind: 'probe' | 'log-parser' | 'action' | 'notifier' | 'command';
  origin: 'builtin' | 'file' | 'upload';
  active_digest: string | null;
  versions: PluginVersion[];
  summary: string;
  grants: Grants;
  wanted: string[];
  used_by: string[];
  granted: boolean;
  faults_24h?: number;
}
export interface Manifest {
  name: string;
  version: string;
  summary: string;
  config_schema: JsonObject | string;
  capabilities?: string[];
  metrics: { name: string; unit: string; description: string }[];
}
export interface PluginDetail extends Plugin {
  manifest: Manifest | null;
}
export interface Upload {
  id?: string;
  phase: 'received' | 'compiling' | 'describing' | 'done' | 'failed';
  message: string;
  result?: {
    name: string;
    version: string;
    kind: string;
    digest: string;
    wanted: string[];
    manifest?: Manifest | null;
    replaces?: { version: string; added_capabilities: string[]; removed_capabilities: string[] } | null;
  } | null;
}
export interface DryRun {
  state: State | null;
  summary: string;
  details?: string | null;
  metrics?: Record<string, number> | { name: string; value: number }[];
  log?: { level: string; message: string }[];
  fault: Fault | null;
  duration_us: number;
}

export interface LogEntry {
  id: number | string;
  ts: Micros;
  received: Micros;
  source: string;
  level: string;
  message: string;
  fields: Record<string, string>;
}
export interface LogSourceState {
  name: string;
  files: { path: string; offset: number; size?: number | null }[];
  error?: string | null;
}

export interface Mail {
  id: string;
  at: Micros;
  from: string;
  to: string;
  subject: string;
  message_id: string;
  in_reply_to: string | null;
  text: string;
  html: string | null;
}

export interface User {
  name: string;
  role: Role;
  disabled?: boolean;
  has_password?: boolean;
  created_at?: Micros;
  last_login_at?: Micros | null;
}
export interface Token {
  id: number | string;
  name: string;
  role: Role;
  created_at: Micros;
  expires_at: Micros | null;
  last_used_at?: Micros | null;
  token?: string;
}
export interface AuditEntry {
  ts: Micros;
  id: number;
  actor: string;
  action: string;
  subject: string;
  detail: Json;
}

export interface RuleTest {
  ok: boolean;
  fields?: FieldError[];
  reads: string[];
  results: { check?: string | null; node?: string | null; value: boolean; error?: string | null }[];
  total?: number;
  /** How many are true now. */
  matching?: number;
}
export interface ConfigProblem {
  line: number | null;
  column: number | null;
  path: string;
  message: string;
  suggestion?: string | null;
}

export type LiveEvent =
  | { type: 'series'; check: string; node: string; state: State | null; soft: boolean; stale: boolean }
  | { type: 'alert'; id: number; name: string; phase: Phase }
  | { type: 'outbox'; id: number }
  | { type: 'logs'; source: string; count: number }
  | { type: 'config'; generation: number }
  | { type: 'plugins'; digest: string }
  | { type: 'upload'; id: string; phase: string; message: string }
  /** Made by the client after a lost connection: anything may have changed. */
  | { type: 'resync' };
