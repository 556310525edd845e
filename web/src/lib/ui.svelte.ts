/** Small shared state of the interface: clock, theme, toasts. */

/** Ticks once a second while somebody looks. */
export const clock = $state({ now: Date.now() });
setInterval(() => {
  if (!document.hidden) clock.now = Date.now();
}, 1000);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) clock.now = Date.now();
});

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'bellwether-theme';
function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}
export const theme = $state<{ value: Theme; dark: boolean }>({ value: stored(), dark: false });
const system = matchMedia('(prefers-color-scheme: dark)');
function apply() {
  const { value } = theme;
  if (value === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  theme.dark = value === 'dark' || (value === 'system' && system.matches);
}
system.addEventListener('change', apply);
apply();
export function setTheme(value: Theme) {
  theme.value = value;
  apply();
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Private windows: the choice lasts as long as the page.
  }
}

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
}
export const toasts = $state<Toast[]>([]);
let nextToast = 1;
export function toast(text: string, bad = false) {
  const id = nextToast++;
  toasts.push({ id, text, bad });
  setTimeout(() => dismiss(id), bad ? 10_000 : 5000);
}
export function dismiss(id: number) {
  const at = toasts.findIndex((item) => item.id === id);
  if (at >= 0) toasts.splice(at, 1);
}

/** Runs an action of the user; a failure becomes a toast. */
export async function attempt<T>(work: () => Promise<T>, done?: string): Promise<T | undefined> {
  try {
    const value = await work();
    if (done) toast(done);
    return value;
  } catch (error) {
    toast((error as Error).message, true);
    return undefined;
  }
}
