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

/** Least pause between two reloads that live events ask for, in ms. */
const PAUSE = 1000;

export function resource<T>(
  fetcher: (signal: AbortSignal) => Promise<T>,
  options: { on?: (event: LiveEvent) => boolean; every?: number } = {},
): Resource<T> {
  let data = $state.raw<T>();
  let error = $state.raw<ApiError | null>(null);
  let loading = $state(true);
  let nonce = $state(0);

  $effect(() => {
    void nonce;
    const control = new AbortController();
    untrack(() => (loading = true));
    fetcher(control.signal).then(
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

function refresh(reload: () => void, options: { on?: (event: LiveEvent) => boolean; every?: number }) {
  const { on, every } = options;
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
      const timer = setInterval(() => document.hidden || reload(), every);
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
  loadMore(): void;
  reload(): void;
}

/** A list by cursor: the first page follows live events, further ones are appended on demand. */
export function paged<T>(
  fetcher: (cursor: string | undefined, signal?: AbortSignal) => Promise<Page<T>>,
  options: { on?: (event: LiveEvent) => boolean; every?: number } = {},
): Paged<T> {
  const first = resource((signal) => fetcher(undefined, signal), options);
  let rest = $state.raw<T[]>([]);
  let next = $state.raw<string | null>(null);
  let busy = $state(false);
  let failed = $state.raw<ApiError | null>(null);
  $effect(() => {
    const page = first.data;
    untrack(() => {
      rest = [];
      next = page?.next ?? null;
    });
  });
  return {
    get items() {
      return rest.length ? [...(first.data?.items ?? []), ...rest] : (first.data?.items ?? []);
    },
    get more() {
      return next !== null;
    },
    get loading() {
      return first.loading || busy;
    },
    get ready() {
      return first.data !== undefined;
    },
    get error() {
      return first.error ?? failed;
    },
    async loadMore() {
      if (busy || next === null) return;
      busy = true;
      try {
        const page = await fetcher(next);
        rest = [...rest, ...page.items];
        next = page.next;
        failed = null;
      } catch (cause) {
        failed = cause instanceof ApiError ? cause : new ApiError(0, 'client', String(cause));
      }
      busy = false;
    },
    reload: first.reload,
  };
}
