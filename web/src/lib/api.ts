/** Speaks HTTP with the engine: one error type, one place that notices a lost login. */
import type { FieldError } from './types';

const BASE = '/api/v1';

/** An answer that is not 2xx, or no answer at all (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fields: FieldError[] = [],
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

interface Options {
  body?: unknown;
  query?: Query;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

let onUnauthorized = () => {};
/** Called when the session has ended. */
export function whenUnauthorized(callback: () => void) {
  onUnauthorized = callback;
}

export function url(path: string, query?: Query): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') params.set(key, String(value));
  }
  const text = params.toString();
  return BASE + path + (text ? `?${text}` : '');
}

/** Path segments from names. */
export function p(strings: TemplateStringsArray, ...names: (string | number)[]): string {
  return strings.reduce((out, part, i) => out + part + (i < names.length ? encodeURIComponent(names[i]) : ''), '');
}

function failure(status: number, text: string): ApiError {
  try {
    const error = JSON.parse(text).error;
    if (error?.message) return new ApiError(status, error.code ?? 'error', error.message, error.fields ?? []);
  } catch {
    // Not ours: a proxy's page, for example.
  }
  return new ApiError(status, 'http', `the server answered ${status} without saying why`);
}

async function send(method: string, path: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  let body: BodyInit | undefined;
  if (typeof options.body === 'string') {
    body = options.body;
    headers['content-type'] ??= 'text/plain; charset=utf-8';
  } else if (options.body !== undefined) {
    body = JSON.stringify(options.body);
    headers['content-type'] = 'application/json';
  }
  let response: Response;
  try {
    response = await fetch(url(path, options.query), { method, headers, body, signal: options.signal, credentials: 'same-origin' });
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    throw new ApiError(0, 'network', 'the engine cannot be reached; check that it runs and try again');
  }
  if (!response.ok) {
    const error = failure(response.status, await response.text());
    if (response.status === 401 && !path.startsWith('/session')) onUnauthorized();
    throw error;
  }
  return response;
}

async function json<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const text = await (await send(method, path, options)).text();
  return (text ? JSON.parse(text) : undefined) as T;
}

export const http = {
  get: <T>(path: string, query?: Query, signal?: AbortSignal) => json<T>('GET', path, { query, signal }),
  text: async (path: string) => (await send('GET', path, { headers: { accept: '*/*' } })).text(),
  post: <T>(path: string, body?: unknown, query?: Query) => json<T>('POST', path, { body, query }),
  put: <T>(path: string, body: unknown, version?: string | number) =>
    json<T>('PUT', path, { body, headers: version === undefined ? {} : { 'if-match': String(version) } }),
  patch: <T>(path: string, body: unknown) => json<T>('PATCH', path, { body }),
  del: <T>(path: string) => json<T>('DELETE', path),
};

/** Sends a file; `progress` hears the share sent, 0 to 1. */
export function sendFile<T>(path: string, form: FormData, progress: (share: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', url(path));
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, 'network', 'the upload was cut off; check that the engine runs and try again'));
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText) as T);
      else {
        if (request.status === 401) onUnauthorized();
        reject(failure(request.status, request.responseText));
      }
    };
    request.send(form);
  });
}
