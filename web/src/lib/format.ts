/** Numbers and times as people read them. */
import type { Alert, Micros, Series, State } from './types';

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const logTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const dayTime = new Intl.DateTimeFormat(undefined, { weekday: 'short', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const toDate = (us: Micros) => new Date(us / 1000);
export const full = (us: Micros) => absolute.format(toDate(us));
export const time = (us: Micros) => clockTime.format(toDate(us));
export const dayAndTime = (us: Micros) => dayTime.format(toDate(us));
const minute = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
/** Labels of a time axis, as the reader's language has them; `ticks` and `step` in seconds. */
export function timeTicks(ticks: number[], step: number): string[] {
  let before = '';
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const date = day.format(at);
    const label = step >= 86_400 ? date : (step < 60 ? clockTime : minute).format(at) + (date === before ? '' : `\n${date}`);
    before = date;
    return label;
  });
}
/** Milliseconds matter in logs. */
export const precise = (us: Micros) => `${logTime.format(toDate(us))}.${String(Math.floor(us / 1000) % 1000).padStart(3, '0')}`;

const STEPS: [number, string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** `2 h 5 min`: at most two units. */
export function span(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, word] of STEPS) {
    const count = Math.floor(rest / size);
    if (count > 0) {
      parts.push(`${count} ${word}`);
      rest -= count * size;
      if (parts.length === 2 || (parts.length === 1 && size >= 60 && count >= 10)) break;
    } else if (parts.length) break;
  }
  return parts.join(' ') || '0 s';
}

export function ago(us: Micros, nowMs: number): string {
  const seconds = nowMs / 1000 - us / 1e6;
  if (Math.abs(seconds) < 1.5) return 'now';
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** A run's duration from microseconds. */
export function duration(us: number): string {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  if (us < 60_000_000) return `${(us / 1e6).toFixed(us < 10_000_000 ? 2 : 1)} s`;
  return span(us / 1e6);
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
export const count = (value: number) => plain.format(value);
export function amount(value: number, unit = ''): string {
  if (unit === 'By') return bytes(value);
  const number = fine.format(value);
  if (!unit || unit === '1') return number;
  return unit === '%' ? `${number}%` : `${number} ${unit}`;
}

export const plural = (n: number, one: string, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const shortDigest = (digest: string) => digest.replace(/^sha256:/, '').slice(0, 12);

/** What a series is shown as: a fault is never a state of the target. */
export type Shown = State | 'fault' | 'stale' | 'paused' | 'pending' | 'none';
export function shown(series: Pick<Series, 'state' | 'last_state' | 'soft' | 'fault' | 'stale' | 'paused'>): Shown {
  if (series.paused) return 'paused';
  if (series.fault) return 'fault';
  if (series.stale) return 'stale';
  // While soft, the newest report is shown, marked as not confirmed.
  return (series.soft ? series.last_state : null) ?? series.state ?? 'pending';
}

/** What an alert is called where it stands alone. */
export function alertName(source: Alert['source']): string {
  switch (source.kind) {
    case 'rule':
      return source.name;
    case 'fault':
      return `Faults of ${source.check}`;
    case 'log_source':
      return `Faults of log source ${source.source}`;
    case 'plugin':
      return `Plugin ${source.plugin} is quarantined`;
  }
}

export const WORDS: Record<Shown, string> = {
  ok: 'OK',
  warning: 'Warning',
  critical: 'Critical',
  unknown: 'Unknown',
  fault: 'Fault',
  stale: 'Stale',
  paused: 'Paused',
  pending: 'Waiting',
  none: 'No data',
};

export const list = (text: string) =>
  text
    .split(/[\n,]/)
    .map((part) => part.trim())
    .filter(Boolean);
