/** One EventSource for the whole page; pages subscribe to what they show. */
import type { LiveEvent } from './types';

export const live = $state({ connected: false, lost: false });

type Listener = (event: LiveEvent) => void;
const listeners = new Set<Listener>();
let source: EventSource | null = null;
let wait = 1000;
let timer: ReturnType<typeof setTimeout> | undefined;
let graceTimer: ReturnType<typeof setTimeout> | undefined;
let opened = false;

function tell(event: LiveEvent) {
  for (const listener of [...listeners]) listener(event);
}

function open() {
  clearTimeout(timer);
  source = new EventSource('/api/v1/events');
  source.onopen = () => {
    wait = 1000;
    clearTimeout(graceTimer);
    graceTimer = undefined;
    live.connected = true;
    live.lost = false;
    if (opened) tell({ type: 'resync' });
    opened = true;
  };
  source.onerror = () => {
    live.connected = false;
    // A restart of the engine takes a moment: the banner waits for it.
    graceTimer ??= setTimeout(() => (live.lost = true), 2500);
    source?.close();
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 2, 15_000);
  };
  source.addEventListener('resync', () => tell({ type: 'resync' }));
  source.addEventListener('change', (message) => {
    try {
      tell(JSON.parse(message.data) as LiveEvent);
    } catch {
      // An event of a newer engine is no reason to stop listening.
    }
  });
}

export function connect() {
  if (!source) open();
}

export function reconnectNow() {
  source?.close();
  wait = 1000;
  open();
}

export function disconnect() {
  clearTimeout(timer);
  clearTimeout(graceTimer);
  graceTimer = undefined;
  source?.close();
  source = null;
  opened = false;
  live.connected = false;
  live.lost = false;
}

/** Calls `listener` for every event until the returned function is called. */
export function subscribe(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
