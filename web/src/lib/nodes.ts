/** Nodes in groups by a label, and as a tree of what is reached through what; worst first. */
import type { Counts, Obj, Specs } from './types';

export type NodeItem = Obj<Specs['nodes']>;

const ORDER = ['critical', 'unknown', 'warning', 'stale', 'pending', 'ok', 'paused'] as const;
export type Worst = (typeof ORDER)[number] | 'none';
export const isProblem = (state: Worst) => state === 'critical' || state === 'unknown' || state === 'warning' || state === 'stale';

/** The worst state among a node's checks; `none` where nothing is checked. */
export function worst(counts: Counts | null): Worst {
  return ORDER.find((state) => (counts?.[state] ?? 0) > 0) ?? 'none';
}
const rank = (state: Worst) => (state === 'none' ? ORDER.length : ORDER.indexOf(state));
const byName = (a: NodeItem, b: NodeItem) => a.spec.name.localeCompare(b.spec.name, undefined, { numeric: true });
const worstOf = (node: NodeItem) => worst(node.summary.series);
const worstFirst = (a: NodeItem, b: NodeItem) => rank(worstOf(a)) - rank(worstOf(b)) || byName(a, b);

export interface Group {
  /** The label's value; null for nodes without it. */
  value: string | null;
  nodes: NodeItem[];
  problems: NodeItem[];
  /** Nodes by their worst state, worst first. */
  states: [Worst, number][];
}

/** Labels that nodes have, the most common first. */
export function labelKeys(nodes: NodeItem[]): string[] {
  const times = new Map<string, number>();
  for (const { spec } of nodes) for (const key of Object.keys(spec.labels ?? {})) times.set(key, (times.get(key) ?? 0) + 1);
  return [...times].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([key]) => key);
}

export function groupBy(nodes: NodeItem[], key: string): Group[] {
  const groups = new Map<string | null, NodeItem[]>();
  for (const node of nodes) {
    const value = node.spec.labels?.[key] ?? null;
    groups.set(value, [...(groups.get(value) ?? []), node]);
  }
  return [...groups]
    .map(([value, members]) => {
      const sorted = members.sort(worstFirst);
      const states = new Map<Worst, number>();
      for (const node of sorted) states.set(worstOf(node), (states.get(worstOf(node)) ?? 0) + 1);
      return { value, nodes: sorted, problems: sorted.filter((node) => isProblem(worstOf(node))), states: [...states] };
    })
    .sort((a, b) => rank(worstOf(a.nodes[0])) - rank(worstOf(b.nodes[0])) || b.problems.length - a.problems.length || (a.value ?? '\uffff').localeCompare(b.value ?? '\uffff'));
}

export interface Branch {
  node: NodeItem;
  state: Worst;
  /** The worst state of itself and all below. */
  worst: Worst;
  below: Branch[];
  /** Nodes below, and those of them with a problem. */
  size: number;
  problems: number;
  /** Further nodes it is reached through. */
  also: string[];
}

/** Each node once, below the first of its parents that is known; nodes of a circle stand at the top. */
export function tree(nodes: NodeItem[]): Branch[] {
  const known = new Map(nodes.map((node) => [node.spec.name, node]));
  const children = new Map<string, NodeItem[]>();
  const parentOf = (node: NodeItem) => node.spec.parents?.find((name) => known.has(name) && name !== node.spec.name);
  for (const node of nodes) {
    const parent = parentOf(node);
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), node]);
  }
  const placed = new Set<string>();
  function grow(node: NodeItem): Branch {
    placed.add(node.spec.name);
    const below = (children.get(node.spec.name) ?? []).filter((child) => !placed.has(child.spec.name)).map(grow);
    const parent = parentOf(node);
    const state = worstOf(node);
    return {
      node,
      state,
      worst: below.reduce((least, branch) => (rank(branch.worst) < rank(least) ? branch.worst : least), state),
      below: sorted(below),
      size: below.reduce((sum, branch) => sum + 1 + branch.size, 0),
      problems: below.reduce((sum, branch) => sum + (isProblem(branch.state) ? 1 : 0) + branch.problems, 0),
      also: (node.spec.parents ?? []).filter((name) => name !== parent),
    };
  }
  const roots = nodes.filter((node) => parentOf(node) === undefined).map(grow);
  for (const node of nodes) if (!placed.has(node.spec.name)) roots.push(grow(node));
  return sorted(roots);
}
const sorted = (branches: Branch[]) =>
  branches.sort((a, b) => rank(a.worst) - rank(b.worst) || b.problems - a.problems || Number(b.size > 0) - Number(a.size > 0) || byName(a.node, b.node));
