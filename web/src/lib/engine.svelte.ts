/** What the frame around every page shows of the engine: the degraded banner and the count of alerts. */
import { client } from './client';
import { alertName, plural } from './format';
import { subscribe } from './live.svelte';
import type { Alert } from './types';

export const engine = $state<{ degraded: string | null; firing: number; news: string }>({ degraded: null, firing: 0, news: '' });

/** Least pause between two things that a screen reader is told, in ms: an outage is many alerts at once. */
const QUIET = 10_000;

export function watchEngine(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let told: number | null = null;
  let spoke = 0;
  /** Says in words what the count beside “Alerts” shows: when it has changed, and never in a rush. */
  function tell(firing: Alert[], total: number) {
    if (told === null) told = total;
    if (total === told || Date.now() - spoke < QUIET) return;
    const newest = firing.reduce<Alert | null>((best, alert) => (!best || (alert.fired_at ?? 0) > (best.fired_at ?? 0) ? alert : best), null);
    const name = newest && `${alertName(newest.source)}${newest.node ? ` on ${newest.node}` : ''}`;
    engine.news = !total ? 'No alert fires any more.' : total > told ? `${plural(total, 'alert')} firing, the newest: ${name}.` : `${plural(total, 'alert')} still firing.`;
    told = total;
    spoke = Date.now();
  }
  async function load() {
    try {
      const overview = await client.overview();
      if (stopped) return;
      engine.degraded = overview.engine.degraded;
      const firing = overview.alerts.filter((alert) => alert.phase === 'firing');
      engine.firing = overview.firing_total;
      tell(firing, overview.firing_total);
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
