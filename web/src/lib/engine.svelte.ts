/** What the frame around every page shows of the engine: the degraded banner and the count of alerts. */
import { client } from './client';
import { subscribe } from './live.svelte';

export const engine = $state<{ degraded: string | null; firing: number }>({ degraded: null, firing: 0 });

export function watchEngine(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  async function load() {
    try {
      const overview = await client.overview();
      if (stopped) return;
      engine.degraded = overview.engine.degraded;
      engine.firing = overview.alerts.filter((alert) => alert.phase === 'firing').length;
    } catch {
      // The connection banner and the page itself say so.
    }
  }
  function soon(delay: number) {
    if (timer) return;
    timer = setTimeout(() => {
      timer = undefined;
      void load();
    }, delay);
  }
  void load();
  const unsubscribe = subscribe((event) => {
    if (event.type === 'series' || event.type === 'alert' || event.type === 'config' || event.type === 'plugins') soon(500);
    if (event.type === 'resync') soon(0);
  });
  const slow = setInterval(() => document.hidden || soon(0), 15_000);
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(slow);
    unsubscribe();
  };
}
