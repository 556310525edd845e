/** What a plugin may do of what it asks for. */
import type { Grants, Plugin } from './types';

const HAS: Record<string, (grants: Grants) => boolean> = {
  net: (g) => !!g.net?.length,
  state: (g) => !!g.state,
  secrets: (g) => !!g.secrets?.length,
  command: (g) => !!g.commands?.length,
};
const WORDS: Record<string, string> = { net: 'use the network', state: 'remember between runs', secrets: 'use secrets', command: 'run commands' };

export const has = (grants: Grants, capability: string) => HAS[capability]?.(grants) ?? false;

/** `none`: nobody has decided yet, or everything was refused. */
export function permitted(plugin: Plugin): 'all' | 'some' | 'none' {
  if (plugin.granted) return 'all';
  return Object.keys(HAS).some((capability) => has(plugin.grants, capability)) ? 'some' : 'none';
}

/** What it asked for and was not given, in words. */
export const withheld = (plugin: Plugin) => plugin.wanted.filter((capability) => !has(plugin.grants, capability)).map((capability) => WORDS[capability] ?? capability);
