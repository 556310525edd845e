/** Data of a page: loads, reloads when its inputs or live events say so. */
import { untrack } from 'svelte';
import { ApiError } from './api';
import { subscribe } from './live.svelte';
import type { LiveEvent, Page } from './types';

export interface Resource<T> {
  readonly data: T | undefined;
  readonly error: ApiError | null;
  readonly loading: boolean;
  reload(): void;
}

/** When data is asked for again: at these events, and after so many ms for what no event tells. */
interface Refresh {
  on?: (event: LiveEvent) => boolean;
  every?: number | (() => number);
}

/** Least pause between two reloads that live events ask for, in ms. */
const PAUSE = 1000;

export function resource<T>(
  /** `again`: the same inputs as before, asked for once more. */
  fetcher: (signal: AbortSignal, again: boolean) => Promise<T>,
  options: Refresh = {},
): Resource<T> {
  let asked = 0;
  let data = $state.raw<T>();
  let error = $state.raw<ApiError | null>(null);
  let loading = $state(true);
  let nonce = $state(0);

  $effect(() => {
    const again = nonce !== asked;
    asked = nonce;
    const control = new AbortController();
    untrack(() => (loading = true));
    fetcher(control.signal, again).then(
      (value) => {
        if (control.signal.aborted) return;
        data = value;
        error = null;
        loading = false;
      },
      (cause) => {
        if (control.signal.aborted) return;
        error = cause instanceof ApiError ? cause : new ApiError(0, 'client', String(cause));
        loading = false;
      },
    );
    return () => control.abort();
  });
  refresh(() => nonce++, options);
  return {
    get data() {
      return data;
    },
    get error() {
      return error;
    },
    get loading() {
      return loading;
    },
    reload: () => void nonce++,
  };
}

function refresh(reload: () => void, { on, every }: Refresh) {
  if (on) {
    $effect(() => {
      let last = Date.now();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const unsubscribe = subscribe((event) => {
        if (timer || !(event.type === 'resync' || on(event))) return;
        timer = setTimeout(
          () => {
            timer = undefined;
            last = Date.now();
            reload();
          },
          Math.max(50, last + PAUSE - Date.now()),
        );
      });
      return () => {
        clearTimeout(timer);
        unsubscribe();
      };
    });
  }
  if (every) {
    $effect(() => {
      const timer = setInterval(() => document.hidden || reload(), typeof every === 'function' ? every() : every);
      return () => clearInterval(timer);
    });
  }
}

export interface Paged<T> {
  readonly items: T[];
  readonly more: boolean;
  readonly loading: boolean;
  readonly ready: boolean;
  readonly error: ApiError | null;
  loadMore(): Promise<void>;
  reload(): void;
}

/** A list by cursor: pages are appended on demand; live events reload as many as are shown. */
export function paged<T>(
  fetcher: (cursor: string | undefined, signal?: AbortSignal) => Promise<Page<T>>,
  options: Refresh = {},
): Paged<T> {
  let pages = 1;
  let busy = $state(false);
  let failed = $state.raw<ApiError | null>(null);
  let all = $state.raw<Page<T> | undefined>();
  const first = resource(async (signal, again) => {
    if (!again) pages = 1;
    let page = await fetcher(undefined, signal);
    const items = [...page.items];
    for (let n = 1; n < pages && page.next !== null; n++) {
      page = await fetcher(page.next, signal);
      items.push(...page.items);
    }
    return { items, next: page.next };
  }, options);
  $effect(() => {
    all = first.data;
  });
  return {
    get items() {
      return all?.items ?? [];
    },
    get more() {
      return !!all && all.next !== null;
    },
    get loading() {
      return first.loading || busy;
    },
    get ready() {
      return all !== undefined;
    },
    get error() {
      return first.error ?? failed;
    },
    async loadMore() {
      if (busy || !all || all.next === null) return;
      busy = true;
      const before = all;
      try {
        const page = await fetcher(all.next);
        // A reload in between has the newer rows; the person asks again.
        if (all === before) {
          all = { items: [...before.items, ...page.items], next: page.next };
          pages++;
        }
        failed = null;
      } catch (cause) {
        failed = cause instanceof ApiError ? cause : new ApiError(0, 'client', String(cause));
      }
      busy = false;
    },
    reload: first.reload,
  };
}
