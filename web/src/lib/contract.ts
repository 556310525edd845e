/**
 * Holds types.ts to the engine's OpenAPI document at compile time: when the
 * snapshot changes in a way the UI does not expect, `npm run check` says where.
 */
import type { components } from './openapi';
import type * as T from './types';

type S = components['schemas'];
/** The document calls what may be null optional; the engine always sends it. */
type Sent<A> = A extends (infer I)[] ? Sent<I>[] : A extends object ? { [K in keyof A]-?: Sent<Exclude<A[K], undefined>> | (undefined extends A[K] ? null : never) } : A;
type Fits<Answer extends Expected, Expected> = [Answer, Expected];

/** What the engine answers, and what the UI expects of it. */
export type Contract = [
  Fits<Sent<S['Series']>, T.Series>,
  Fits<Sent<S['AlertView']>, T.Alert>,
  Fits<Sent<S['Overview']>, T.Overview>,
  Fits<Sent<S['ResultView']>, T.Result>,
  Fits<Sent<S['Chart']>, T.ChartData>,
  Fits<Sent<S['Strip']>, T.Strip>,
  Fits<Sent<S['DeliveryView']>, T.OutboxItem>,
  Fits<Sent<S['ActionRunView']>, T.ActionRun>,
  Fits<Sent<S['LogView']>, T.LogEntry>,
  Fits<Sent<S['LogSourceView']>, T.LogSourceState>,
  Fits<Sent<S['Mail']>, T.Mail>,
  Fits<Sent<S['UserView']>, T.User>,
  Fits<Sent<S['TokenView']>, T.Token>,
  Fits<Sent<S['VersionView']>, T.PluginVersion>,
  Fits<Sent<S['RuleTestReport']>, T.RuleTest>,
  Fits<Sent<S['DryRunReport']>, T.DryRun>,
  Fits<Sent<S['ConfigProblem']>, T.ConfigProblem>,
];
