/** A router of one file over the History API. */
import { tick } from 'svelte';

export const route = $state({ path: location.pathname, query: new URLSearchParams(location.search), hash: location.hash });

/** Something with unsaved input may object to leaving. */
let guard: (() => boolean) | null = null;
export function leaveGuard(check: (() => boolean) | null) {
  guard = check;
}

function sync() {
  route.path = location.pathname;
  route.query = new URLSearchParams(location.search);
  route.hash = location.hash;
}

export async function go(to: string, options: { replace?: boolean; keep?: boolean } = {}) {
  const before = location.pathname;
  if (options.replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
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

addEventListener('popstate', sync);
addEventListener('beforeunload', (event) => {
  if (guard?.()) event.preventDefault();
});
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname.startsWith('/api/') || (link.hash && link.pathname === location.pathname)) return;
  event.preventDefault();
  if (guard?.() && !confirm('Leave without saving what you changed?')) return;
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
