import { expect, test } from '@playwright/test';
import { groupBy, labelKeys, tree, type NodeItem } from '../../src/lib/nodes';
import { example, label, one, range, sentence, wrong, type Schema } from '../../src/lib/schema';
import { thresholds } from '../../src/lib/thresholds';

test('keys become labels with their units', () => {
  const number: Schema = { type: 'number' };
  const cases: [string, Schema, string][] = [
    ['expect_status', { type: 'array' }, 'Expect status'],
    ['url', { type: 'string' }, 'URL'],
    ['warn_ms', number, 'Warning (ms)'],
    ['warn_age_s', number, 'Warning: age (s)'],
    ['critical_loss', number, 'Critical: loss'],
    ['cert_warn_days', number, 'Certificate warning (days)'],
    ['min_bytes', { type: 'integer' }, 'Minimum (bytes)'],
    ['time_format', { type: 'string' }, 'Time format'],
    ['warn_ms', { type: 'number', title: 'Warn when slower (ms)' }, 'Warn when slower (ms)'],
  ];
  for (const [key, schema, text] of cases) expect(label(key, schema), key).toBe(text);
});

test('help begins like a sentence, unless it begins with a value', () => {
  expect(sentence('slower is a warning')).toBe('Slower is a warning');
  expect(sentence('false: it must not be there')).toBe('false: it must not be there');
  expect(sentence('none; starttls: must be offered')).toBe('none; starttls: must be offered');
  expect(sentence('false accepts any certificate')).toBe('false accepts any certificate');
  expect(sentence(undefined)).toBe('');
  expect(['Steps', 'Processes', 'JSON', 'JSON expectations'].map(one)).toEqual(['Step', 'Process', 'JSON', 'JSON expectation']);
});

test('examples and bounds are told', () => {
  expect(example({ type: 'array', items: { type: 'string' }, examples: [['SIZE', '8BITMIME']] })).toBe('SIZE');
  expect(example({ type: 'integer', default: 22 })).toBe('22');
  expect(example({ type: 'object', examples: [{ Accept: 'text/plain' }] })).toBe('{"Accept":"text/plain"}');
  expect(example({ type: 'string' })).toBe('');
  expect(range({ minimum: 1, maximum: 65535 })).toBe('1 to 65535');
  expect(range({ minimum: 0 })).toBe('');
  expect(range({ exclusiveMinimum: 0 })).toBe('');
});

test('a value that cannot be right is told with what was expected', () => {
  const port: Schema = { type: 'integer', minimum: 1, maximum: 65535 };
  expect(wrong(port, 70_000)).toBe('expected a whole number from 1 to 65535, found 70000');
  expect(wrong(port, 'ssh')).toBe('expected a whole number from 1 to 65535, found "ssh"');
  expect(wrong(port, 22)).toBe('');
  expect(wrong(port, undefined)).toBe('');
  expect(wrong(port, '{{ node.labels.port }}')).toBe('');
  expect(wrong({ type: 'number', exclusiveMinimum: 0 }, 0)).toBe('expected a number of more than 0, found 0');
  expect(wrong({ type: 'string', pattern: '^wss?://', examples: ['wss://x.example/'] }, 'http://x')).toBe('expected something like "wss://x.example/", found "http://x"');
  // A pattern that this browser cannot read is left to the engine.
  expect(wrong({ type: 'string', pattern: '(?P<x>' }, 'a')).toBe('');
  const status: Schema = { anyOf: [{ type: 'integer', minimum: 100, maximum: 999 }, { type: 'string', pattern: '^[1-9]xx$' }] };
  expect(wrong(status, 200)).toBe('');
  expect(wrong(status, '2xx')).toBe('');
  expect(wrong(status, 'fine')).toContain('expected a whole number from 100 to 999, or something that matches');
});

test('limits of a configuration are those of its metrics', () => {
  const http = { warn_ms: 500, critical_ms: 2000, cert_warn_days: 14, url: 'http://x' };
  expect(thresholds('latency_ms', http, null)).toEqual([{ level: 'warning', value: 500 }, { level: 'critical', value: 2000 }]);
  expect(thresholds('cert_days', http, null)).toEqual([{ level: 'warning', value: 14 }]);
  expect(thresholds('connect_ms', http, null)).toEqual([]);
  const system: Schema = { properties: { warn_memory: { default: 90 }, critical_memory: { default: 95 }, warn_load: {} } };
  expect(thresholds('memory_percent', { warn_memory: 80 }, system)).toEqual([{ level: 'warning', value: 80 }, { level: 'critical', value: 95 }]);
  expect(thresholds('load_1', { warn_load: 2 }, system)).toEqual([]);
  expect(thresholds('load_5', { warn_load: 2 }, system)).toEqual([{ level: 'warning', value: 2 }]);
});

const none = { ok: 0, warning: 0, critical: 0, unknown: 0, pending: 0, stale: 0, paused: 0 };
const node = (name: string, state: keyof typeof none, labels: Record<string, string>, parents: string[] = []): NodeItem => ({
  spec: { name, address: '192.0.2.1', labels, parents }, origin: 'ui', file: null, version: 1, summary: { series: { ...none, [state]: 1 }, pending: null, firing: null, fault: null, used_by: [] },
});
const SITE = [node('web-10', 'ok', { role: 'web' }, ['sw']), node('web-2', 'critical', { role: 'web' }, ['sw', 'sw-2']), node('db-1', 'warning', { role: 'db', rack: '4' }, ['sw']), node('sw', 'ok', { role: 'switch' }), node('alone', 'ok', {})];

test('groups and their nodes stand worst first', () => {
  expect(labelKeys(SITE)).toEqual(['role', 'rack']);
  const groups = groupBy(SITE, 'role');
  expect(groups.map((group) => group.value)).toEqual(['web', 'db', 'switch', null]);
  expect(groups[0].nodes.map((one) => one.spec.name)).toEqual(['web-2', 'web-10']);
  expect(groups[0].states).toEqual([['critical', 1], ['ok', 1]]);
});

test('the tree has each node once, also where parents go in a circle or are gone', () => {
  const [switches, ...rest] = tree(SITE);
  expect(switches).toMatchObject({ size: 3, problems: 2, worst: 'critical', state: 'ok' });
  expect(switches.below.map((branch) => branch.node.spec.name)).toEqual(['web-2', 'db-1', 'web-10']);
  expect(switches.below[0].also).toEqual(['sw-2']);
  expect(rest.map((branch) => branch.node.spec.name)).toEqual(['alone']);
  const circle = tree([node('a', 'ok', {}, ['b']), node('b', 'ok', {}, ['a']), node('c', 'ok', {}, ['c'])]);
  const all = (branches: typeof circle): string[] => branches.flatMap((branch) => [branch.node.spec.name, ...all(branch.below)]);
  expect(all(circle).sort()).toEqual(['a', 'b', 'c']);
});
