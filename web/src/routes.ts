/** Which page an address shows. Pages load when they are first needed. */
type Load = () => Promise<{ default: unknown }>;

const routes: [string, Load][] = [
  ['/', () => import('./pages/Overview.svelte')],
  ['/alerts', () => import('./pages/Alerts.svelte')],
  ['/alerts/:id', () => import('./pages/Alert.svelte')],
  ['/status', () => import('./pages/Status.svelte')],
  ['/series/:check/:node', () => import('./pages/Series.svelte')],
  ['/nodes', () => import('./pages/Nodes.svelte')],
  ['/nodes/new', () => import('./pages/NodeForm.svelte')],
  ['/nodes/:name', () => import('./pages/Node.svelte')],
  ['/nodes/:name/edit', () => import('./pages/NodeForm.svelte')],
  ['/checks', () => import('./pages/Checks.svelte')],
  ['/checks/new', () => import('./pages/CheckForm.svelte')],
  ['/checks/:name', () => import('./pages/Check.svelte')],
  ['/checks/:name/edit', () => import('./pages/CheckForm.svelte')],
  ['/rules', () => import('./pages/Rules.svelte')],
  ['/rules/new', () => import('./pages/RuleForm.svelte')],
  ['/rules/:name', () => import('./pages/RuleForm.svelte')],
  ['/contacts', () => import('./pages/Contacts.svelte')],
  ['/contacts/new', () => import('./pages/ContactForm.svelte')],
  ['/contacts/:name', () => import('./pages/ContactForm.svelte')],
  ['/remediations', () => import('./pages/Remediations.svelte')],
  ['/remediations/new', () => import('./pages/RemediationForm.svelte')],
  ['/remediations/:name', () => import('./pages/RemediationForm.svelte')],
  ['/log-sources', () => import('./pages/LogSources.svelte')],
  ['/log-sources/new', () => import('./pages/LogSourceForm.svelte')],
  ['/log-sources/:name', () => import('./pages/LogSourceForm.svelte')],
  ['/plugins', () => import('./pages/Plugins.svelte')],
  ['/plugins/:name', () => import('./pages/Plugin.svelte')],
  ['/logs', () => import('./pages/Logs.svelte')],
  ['/mailbox', () => import('./pages/Mailbox.svelte')],
  ['/settings', () => import('./pages/Settings.svelte')],
  ['/settings/:tab', () => import('./pages/Settings.svelte')],
];

const missing: Load = () => import('./pages/NotFound.svelte');

export function match(path: string): { load: Load; params: Record<string, string> } {
  const parts = path.replace(/\/+$/, '').split('/').slice(1);
  for (const [pattern, load] of routes) {
    const wanted = pattern === '/' ? [] : pattern.split('/').slice(1);
    if (wanted.length !== parts.length) continue;
    const params: Record<string, string> = {};
    if (
      wanted.every((part, i) => {
        if (!part.startsWith(':')) return part === parts[i];
        try {
          params[part.slice(1)] = decodeURIComponent(parts[i]);
          return true;
        } catch {
          return false;
        }
      })
    )
      return { load, params };
  }
  return { load: missing, params: {} };
}
