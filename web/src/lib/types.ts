/**
 * What the API takes and answers: the names that the interface uses for the
 * schemas of openapi.json (`npm run types` makes openapi.d.ts of it), and the
 * few shapes that the document leaves open.
 * Times are microseconds since the epoch (UTC).
 */
import type { components } from './openapi';

type S = components['schemas'];

export type Micros = number;
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The document has `Record<string, never>` for an object of any shape. */
type IsOpen<A> = string extends keyof A ? ([A[keyof A]] extends [never] ? true : false) : false;
/** An answer. The document calls what may be null optional; the engine always sends it. */
type Sent<A> = A extends (infer I)[]
  ? Sent<I>[]
  : A extends object
    ? IsOpen<A> extends true
      ? JsonObject
      : { [K in keyof A]-?: Sent<Exclude<A[K], undefined>> | (undefined extends A[K] ? null : never) }
    : A;
/** An object as in YAML: what is absent has its default. */
type Written<A> = A extends (infer I)[]
  ? Written<I>[]
  : A extends object
    ? IsOpen<A> extends true
      ? JsonObject
      : { [K in keyof A]: Written<Exclude<A[K], null>> }
    : A;
type Replace<A, B> = Omit<A, keyof B> & B;

export type State = S['State'];
export type Severity = S['Severity'];
export type Phase = S['Phase'];
export type Role = S['Role'];
export type FieldError = S['FieldError'];
export type Fault = S['Fault'];

export interface Page<T> {
  items: T[];
  next: string | null;
}

export type Session = Sent<S['SessionView']>;
export type Series = Sent<S['Series']>;
export type SeriesDetail = Sent<S['SeriesPage']>;
export type Result = Sent<S['ResultView']>;
export type Alert = Sent<S['AlertView']>;
export type AlertDetail = Sent<S['AlertPage']>;
export type TimelineEntry = Sent<S['TimelineView']>;
export type OutboxItem = Sent<S['DeliveryView']>;
export type ActionRun = Sent<S['ActionRunView']>;
export type Counts = Sent<S['StateCounts']>;
export type Overview = Sent<S['Overview']>;
export type ChartData = Sent<S['Chart']>;
export type Strip = Sent<S['Strip']>;
export type LogEntry = Sent<S['LogView']>;
export type LogSourceState = Sent<S['LogSourceView']>;
export type Mail = Sent<S['Mail']>;
export type User = Sent<S['UserView']>;
export type Token = Sent<S['TokenView']>;
/** With its secret, shown once. */
export type TokenCreated = Sent<S['TokenCreated']>;
export type AuditEntry = Sent<S['AuditView']>;
export type RuleTest = Sent<S['RuleTestReport']>;
export type ConfigProblem = Sent<S['ConfigProblem']>;
export type DryRun = Sent<S['DryRunReport']>;
export type HostCall = Sent<S['HostCall']>;
export type RunUse = Sent<S['RunUse']>;

/* Objects of the configuration. */
export type InputSpec = Written<S['InputSpec']>;
export type HttpInput = Written<S['HttpInput']>;
export type TcpInput = Written<S['TcpInput']>;
export type FileInput = Written<S['FileInput']>;
export type EnvelopeSpec = Partial<Written<S['EnvelopeSpec']>>;
export interface Specs {
  nodes: Written<S['NodeSpec']>;
  checks: Replace<Written<S['CheckSpec']>, { limits?: Partial<Written<S['LimitsSpec']>> }>;
  rules: Written<S['RuleSpec']>;
  contacts: Written<S['ContactSpec']>;
  remediations: Replace<Written<S['RemediationSpec']>, { limits?: EnvelopeSpec }>;
  log_sources: Written<S['LogSourceSpec']>;
}
export type Kind = keyof Specs;
export type RemediationSpec = Specs['remediations'];

/** A configured object as it is listed, with whose it is. */
export type Obj<Spec> = Replace<Sent<S['Item_NodeSpec']>, { spec: Spec }>;
export type NodeDetail = Replace<Sent<S['NodePage']>, { spec: Specs['nodes'] }>;
export type CheckDetail = Replace<Sent<S['CheckPage']>, { spec: Specs['checks'] }>;

/* Plugins. */
/** What is not granted may be absent. */
export type Grants = Partial<S['GrantsSpec']>;
export type PluginVersion = Sent<S['VersionView']>;
export type Plugin = Replace<Sent<S['PluginView']>, { grants: Grants }>;
/** What a plugin says of itself. */
export interface Manifest {
  name: string;
  version: string;
  summary: string;
  config_schema: JsonObject;
  capabilities: string[];
  metrics: { name: string; unit: string; description: string }[];
}
export type PluginDetail = Plugin & { manifest: Manifest };
export type ShadowPage = Sent<S['ShadowPage']>;
export type ShadowSide = Sent<S['ShadowSide']>;
export type VersionDiff = Sent<S['VersionDiff']>;
export type Crash = Sent<S['CrashView']>;
export type Upload = Replace<Sent<S['Upload']>, { result: Replace<Sent<S['UploadResult']>, { manifest: Manifest }> | null }>;

/** `resync` is made by the client after a lost connection: anything may have changed. */
export type LiveEvent = S['Event'] | { type: 'resync' };
