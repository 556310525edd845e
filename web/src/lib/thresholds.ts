/** The limits that a check's configuration sets for a metric. */
import type { Schema } from './schema';
import type { JsonObject } from './types';

export interface Threshold {
  level: 'warning' | 'critical';
  value: number;
}

/** Where the end of a key is not the metric's name. */
const METRICS: Record<string, string[]> = {
  ms: ['latency_ms', 'rtt_ms', 'offset_ms'],
  days: ['cert_days'],
  above: ['value'],
  below: ['value'],
  load: ['load_5'],
  clients: ['connected_clients'],
  memory_percent: ['memory_used_percent'],
  lag_s: ['replication_lag_s'],
};

/** `warn_ms` and `critical_ms` for `latency_ms`, `cert_warn_days` for `cert_days`, and so on. */
export function thresholds(metric: string, config: JsonObject | undefined, schema: Schema | null): Threshold[] {
  const set: JsonObject = { ...config };
  for (const [key, { default: preset }] of Object.entries(schema?.properties ?? {})) if (preset !== undefined) set[key] ??= preset;
  const found: Threshold[] = [];
  for (const [key, value] of Object.entries(set)) {
    const parts = key.split('_');
    const at = parts.findIndex((part) => part === 'warn' || part === 'critical');
    if (at < 0 || typeof value !== 'number') continue;
    const about = parts.toSpliced(at, 1).join('_');
    if (about === metric || `${about}_percent` === metric || METRICS[about]?.includes(metric)) found.push({ level: parts[at] === 'warn' ? 'warning' : 'critical', value });
  }
  return found.sort((a, b) => a.value - b.value);
}
