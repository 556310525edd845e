/** Words and references of plugins. */
import type { Plugin, PluginVersion } from './types';

const KINDS: Record<string, string> = { probe: 'Check', 'log-parser': 'Log parser', action: 'Action', notifier: 'Notifier', command: 'Program' };
export const kindOf = (plugin: Plugin) => KINDS[plugin.kind] ?? plugin.kind;

export const activeOf = (plugin: Plugin): PluginVersion | undefined => plugin.versions.find((v) => v.active);

/** The name in `name` and `name@version`; `sha256:…` stays as it is. */
export const nameIn = (reference: string) => reference.replace(/@.*$/, '');
/** The plugin that `name`, `name@version` or `sha256:…` refers to. */
export const refersTo = (plugin: Plugin, reference: string) => plugin.name === nameIn(reference) || plugin.versions.some((v) => v.digest === reference.replace(/^sha256:/, ''));

/** Runs of a version that gave no judgement, since the engine started. */
export const faultsOf = (version: PluginVersion | undefined) => Object.values(version?.cost.faults ?? {}).reduce((sum, n) => sum + n, 0);
