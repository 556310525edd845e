/** What a plugin may do of what it asks for. */
import type { Grants, Plugin } from './types';

export interface Permission {
  /** As manifests call it. */
  capability: string;
  icon: string;
  title: string;
  text: string;
  /** In a sentence: "may not …". */
  verb: string;
  /** It reaches beyond the plugin's own work. */
  loud?: true;
  has: (grants: Grants) => boolean;
}

/** The order of the screen: the louder, the later. */
export const PERMISSIONS: Permission[] = [
  { capability: 'net', icon: 'net', title: 'Use the network', verb: 'use the network', text: 'Connect to machines and services. Only to what you list here, checked by the address that is really connected to.', has: (g) => !!g.net?.length },
  { capability: 'state', icon: 'memory', title: 'Remember between runs', verb: 'remember between runs', text: 'Keep small values for each check and node, such as the last counter.', has: (g) => !!g.state },
  { capability: 'system', icon: 'node', title: 'See this host', verb: 'see figures of this host', text: 'Processor, memory, disks, network counters and processes of the machine that the engine runs on. Arguments of processes are left out.', has: (g) => !!g.system },
  { capability: 'files', icon: 'file', title: 'Read files on this host', verb: 'read files', text: 'Only below folders that the configuration file defines by name. It cannot write.', has: (g) => !!g.files?.length },
  { capability: 'secrets', icon: 'key', title: 'Use secrets', verb: 'use secrets', text: 'The engine puts these secrets into HTTP headers for the plugin and sends them wherever its network permission reaches. The plugin does not see the values.', loud: true, has: (g) => !!g.secrets?.length },
  { capability: 'command', icon: 'terminal', title: 'Run commands on this host', verb: 'run commands', text: 'Only commands that the configuration file defines by name, exactly as written there.', loud: true, has: (g) => !!g.commands?.length },
  { capability: 'read-secrets', icon: 'key', title: 'Read the values of secrets', verb: 'read the values of secrets', text: 'The plugin is handed the secret itself, for protocols in which only the plugin can use it.', loud: true, has: (g) => !!g.read_secrets?.length },
];
const of = (capability: string) => PERMISSIONS.find((p) => p.capability === capability);

export const has = (grants: Grants, capability: string) => of(capability)?.has(grants) ?? false;

/** `none`: nobody has decided yet, or everything was refused. */
export function permitted(plugin: Plugin): 'all' | 'some' | 'none' {
  if (plugin.granted) return 'all';
  return PERMISSIONS.some((p) => p.has(plugin.grants)) ? 'some' : 'none';
}

/** Capabilities in words, as in "use the network, run commands". */
export const inWords = (capabilities: string[]) => capabilities.map((capability) => of(capability)?.verb ?? capability).join(', ');

/** What it asked for and was not given, in words. */
export const withheld = (plugin: Plugin) => inWords(plugin.wanted.filter((capability) => !has(plugin.grants, capability)));
