/** A router of one file over the History API. */
import { tick } from 'svelte';

export const route = $state({ path: location.pathname, query: new URLSearchParams(location.search), hash: location.hash });

/** Something with unsaved input may object to leaving. */
let guard: (() => boolean) | null = null;
export function leaveGuard(check: (() => boolean) | null) {
  guard = check;
}

const QUESTION = 'Leave without saving what you changed?';
/** How many entries of the history lie before this one: tells how far Back and Forward went. */
let depth = Number(history.state?.depth) || 0;
history.replaceState({ depth }, '');
/** On the way back to a page that was not to be left. */
let returning = false;

function sync() {
  route.path = location.pathname;
  route.query = new URLSearchParams(location.search);
  route.hash = location.hash;
}

export async function go(to: string, options: { replace?: boolean; keep?: boolean } = {}) {
  const before = location.pathname;
  if (options.replace) history.replaceState({ depth }, '', to);
  else history.pushState({ depth: ++depth }, '', to);
  sync();
  if (!options.keep && before !== location.pathname) {
    await tick();
    scrollTo(0, 0);
  }
}

/** Changes the query in place: filters are part of the address. */
export function setQuery(values: Record<string, string | null | undefined>) {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(values)) {
    if (value) query.set(key, value);
    else query.delete(key);
  }
  const text = query.toString();
  void go(location.pathname + (text ? `?${text}` : ''), { replace: true, keep: true });
}

addEventListener('popstate', (event) => {
  if (returning) {
    returning = false;
    return;
  }
  const same = location.pathname === route.path;
  const known: unknown = event.state?.depth;
  // A link inside the page made an entry that says nothing.
  const there = typeof known === 'number' ? known : depth + (same ? 1 : -1);
  if (there !== known) history.replaceState({ depth: there }, '');
  if (!same && guard?.() && !confirm(QUESTION)) {
    returning = true;
    history.go(depth - there);
    return;
  }
  if (!same) guard = null;
  depth = there;
  sync();
});
addEventListener('beforeunload', (event) => {
  if (guard?.()) event.preventDefault();
});
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname.startsWith('/api/') || (link.hash && link.pathname === location.pathname)) return;
  event.preventDefault();
  if (guard?.() && !confirm(QUESTION)) return;
  guard = null;
  void go(link.pathname + link.search + link.hash);
});

export const to = {
  node: (name: string) => `/nodes/${encodeURIComponent(name)}`,
  check: (name: string) => `/checks/${encodeURIComponent(name)}`,
  series: (check: string, node: string) => `/series/${encodeURIComponent(check)}/${encodeURIComponent(node)}`,
  alert: (id: number) => `/alerts/${id}`,
  plugin: (name: string) => `/plugins/${encodeURIComponent(name)}`,
  object: (kind: string, name: string) => `/${kind.replace('_', '-')}/${encodeURIComponent(name)}`,
};
