/** Every call of the REST API, typed. */
import { http, p, sendFile, type Query } from './api';
import type * as T from './types';

type Signal = AbortSignal | undefined;

export const client = {
  session: () => http.get<T.Session>('/session'),
  logIn: (name: string, password: string) => http.post<T.Session>('/session', { name, password }),
  useLink: (token: string) => http.post<T.Session>('/session/link', { token }),
  logOut: () => http.del<void>('/session'),
  setPassword: (body: { old?: string; new: string }) => http.post<void>('/me/password', body),

  users: (s?: Signal) => http.get<T.Page<T.User>>('/users', {}, s),
  addUser: (body: { name: string; role: T.Role; password?: string }) => http.post<T.User>('/users', body),
  changeUser: (name: string, body: { role?: T.Role; password?: string }) => http.patch<T.User>(p`/users/${name}`, body),
  removeUser: (name: string) => http.del<void>(p`/users/${name}`),
  tokens: (s?: Signal) => http.get<T.Page<T.Token>>('/tokens', {}, s),
  addToken: (body: { name: string; role: T.Role; expires_in?: string }) => http.post<T.TokenCreated>('/tokens', body),
  removeToken: (id: string) => http.del<void>(p`/tokens/${id}`),
  audit: (query: Query, s?: Signal) => http.get<T.Page<T.AuditEntry>>('/audit', query, s),

  overview: (s?: Signal) => http.get<T.Overview>('/overview', {}, s),
  seriesList: (query: Query, s?: Signal) => http.get<T.Page<T.Series>>('/series', query, s),
  series: (check: string, node: string, s?: Signal) => http.get<T.SeriesDetail>(p`/series/${check}/${node}`, {}, s),
  results: (check: string, node: string, query: Query, s?: Signal) =>
    http.get<T.Page<T.Result>>(p`/series/${check}/${node}/results`, query, s),
  chart: (check: string, node: string, query: Query, s?: Signal) =>
    http.get<T.ChartData>(p`/series/${check}/${node}/chart`, query, s),
  strip: (check: string, node: string, query: Query, s?: Signal) => http.get<T.Strip>(p`/series/${check}/${node}/strip`, query, s),
  seriesTimeline: (check: string, node: string, query: Query, s?: Signal) =>
    http.get<T.Page<T.TimelineEntry>>(p`/series/${check}/${node}/timeline`, query, s),

  list: <K extends T.Kind>(kind: K, query: Query = {}, s?: Signal) => http.get<T.Page<T.Obj<T.Specs[K]>>>(`/${kind}`, query, s),
  object: <K extends T.Kind>(kind: K, name: string, s?: Signal) =>
    http.get<T.Obj<T.Specs[K]>>(`/${kind}/${encodeURIComponent(name)}`, {}, s),
  add: <K extends T.Kind>(kind: K, spec: T.Specs[K]) => http.post<T.Obj<T.Specs[K]>>(`/${kind}`, spec),
  change: <K extends T.Kind>(kind: K, name: string, spec: T.Specs[K], version: string | number) =>
    http.put<T.Obj<T.Specs[K]>>(`/${kind}/${encodeURIComponent(name)}`, spec, version),
  remove: (kind: T.Kind, name: string) => http.del<void>(`/${kind}/${encodeURIComponent(name)}`),
  node: (name: string, s?: Signal) => http.get<T.NodeDetail>(p`/nodes/${name}`, {}, s),
  check: (name: string, s?: Signal) => http.get<T.CheckDetail>(p`/checks/${name}`, {}, s),
  runNow: (check: string, node?: string) => http.post<void>(p`/checks/${check}/run`, node ? { node } : {}),
  makeReportUrl: (check: string, node: string) => http.post<{ url: string }>(p`/series/${check}/${node}/report-url`),
  removeReportUrl: (check: string, node: string) => http.del<void>(p`/series/${check}/${node}/report-url`),
  pause: (check: string, paused: boolean) => http.post<void>(p`/checks/${check}/` + (paused ? 'pause' : 'resume')),
  selectNodes: (expr: string) => http.post<{ nodes: string[]; total: number }>('/nodes/select', { expr }),
  preview: (schedule: { every?: string; cron?: string; tz?: string }) =>
    http.post<{ text: string; next_runs: T.Micros[] }>('/schedule/preview', schedule),
  testRule: (body: { when: string; check?: string; node?: string }) => http.post<T.RuleTest>('/rules/test', body),

  alerts: (query: Query, s?: Signal) => http.get<T.Page<T.Alert>>('/alerts', query, s),
  alert: (id: string | number, s?: Signal) => http.get<T.AlertDetail>(p`/alerts/${id}`, {}, s),
  retryDelivery: (id: number) => http.post<void>(p`/outbox/${id}/retry`),

  decideRepair: (run: number, approve: boolean) => http.post<void>(p`/action_runs/${run}/decide`, { approve }),

  plugins: (s?: Signal) => http.get<T.Page<T.Plugin>>('/plugins', {}, s),
  plugin: (name: string, s?: Signal) => http.get<T.PluginDetail>(p`/plugins/${name}`, {}, s),
  upload: (file: File, name: string, signature: string, progress: (share: number) => void) => {
    const form = new FormData();
    if (name) form.append('name', name);
    if (signature) form.append('signature', signature);
    form.append('file', file, file.name);
    return sendFile<{ upload_id: string }>('/plugins', form, progress);
  },
  uploadState: (id: string) => http.get<T.Upload>(p`/plugins/uploads/${id}`),
  grant: (name: string, grants: T.Grants) => http.put<void>(p`/plugins/${name}/grants`, grants),
  activate: (name: string, digest: string) => http.post<void>(p`/plugins/${name}/activate`, { digest }),
  release: (name: string, digest: string) => http.post<void>(p`/plugins/${name}/release`, { digest }),
  shadow: (name: string, s?: Signal) => http.get<T.ShadowPage>(p`/plugins/${name}/shadow`, {}, s),
  startShadow: (name: string, digest: string) => http.post<void>(p`/plugins/${name}/shadow`, { digest }),
  endShadow: (name: string) => http.del<void>(p`/plugins/${name}/shadow`),
  versionDiff: (name: string, digest: string, s?: Signal) => http.get<T.VersionDiff>(p`/plugins/${name}/versions/${digest}/diff`, {}, s),
  crashes: (name: string, s?: Signal) => http.get<T.Page<T.Crash>>(p`/plugins/${name}/crashes`, {}, s),
  replayCrash: (name: string, id: number) => http.post<T.DryRun>(p`/plugins/${name}/crashes/${id}/replay`, {}),
  removePlugin: (name: string) => http.del<void>(p`/plugins/${name}`),
  removeVersion: (name: string, digest: string) => http.del<void>(p`/plugins/${name}/versions/${digest}`),
  dryRun: (name: string, body: { node?: string; config: T.JsonObject; input?: T.InputSpec; timeout?: string }) =>
    http.post<T.DryRun>(p`/plugins/${name}/dry_run`, body),
  commands: async (s?: Signal) => names(await http.get<Names>('/commands', {}, s)),
  secrets: async (s?: Signal) => names(await http.get<Names>('/secrets', {}, s)),

  logs: (query: Query, s?: Signal) => http.get<T.Page<T.LogEntry>>('/logs', query, s),
  logSources: (s?: Signal) => http.get<T.Page<T.LogSourceState>>('/logs/sources', {}, s),

  mailbox: (s?: Signal) => http.get<T.Page<T.Mail>>('/mailbox', { limit: 200 }, s),
  demo: (s?: Signal) => http.get<{ broken: boolean }>('/demo', {}, s),
  setDemo: (broken: boolean) => http.post<{ broken: boolean }>('/demo', { broken }),

  exportConfig: () => http.text('/config/export'),
  validateConfig: (yaml: string) => http.post<{ ok: boolean; problems: T.ConfigProblem[] }>('/config/validate', yaml),
};

type Names = { items: (string | { name: string })[] };
const names = (answer: Names) => answer.items.map((item) => (typeof item === 'string' ? item : item.name));
