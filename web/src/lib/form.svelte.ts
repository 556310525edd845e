/** Errors of a form, put where the person can mend them. */
import { getContext, setContext, tick } from 'svelte';
import { SvelteMap } from 'svelte/reactivity';
import { ApiError } from './api';
import type { FieldError } from './types';

const KEY = Symbol('form');

/** The engine says `checks[3].every` of an object other than the one that was sent. */
const ELSEWHERE = /^(plugins|nodes|checks|rules|contacts|remediations|log_sources)\[\d+\]/;

export class FormState {
  /** Message by path of a field on the page. */
  errors = $state<Record<string, string>>({});
  /** What has no field. */
  top = $state<string[]>([]);
  busy = $state(false);
  root: HTMLElement | undefined;
  #paths = new Map<string, number>();
  /** What cannot be sent as it is, by field. */
  #held = new SvelteMap<symbol, { path: string; text: string }>();

  register(path: string): () => void {
    this.#paths.set(path, (this.#paths.get(path) ?? 0) + 1);
    return () => {
      const left = (this.#paths.get(path) ?? 1) - 1;
      if (left) this.#paths.set(path, left);
      else this.#paths.delete(path);
    };
  }

  /** Nothing is sent until this is called off. */
  hold(path: string, text: string): () => void {
    const key = Symbol(path);
    this.#held.set(key, { path, text });
    return () => void this.#held.delete(key);
  }

  /** True where something typed is not in what would be sent. */
  get held() {
    return this.#held.size > 0;
  }

  /** The field on the page for a path: itself or the nearest above. */
  #home(path: string): string | null {
    if (ELSEWHERE.test(path)) return null;
    let at = path;
    for (;;) {
      if (this.#paths.has(at)) return at;
      const cut = Math.max(at.lastIndexOf('.'), at.lastIndexOf('['));
      if (cut <= 0) return null;
      at = at.slice(0, cut);
    }
  }

  /** Where and what for the person: a missing key is reported at the object that lacks it. */
  #told(field: FieldError): { path: string; text: string } {
    const path = field.path;
    const missing = /^expected the key "([^"]+)"/.exec(field.message)?.[1];
    const inner = missing && path !== missing && !path.endsWith(`.${missing}`) ? `${path}.${missing}`.replace(/^\./, '') : path;
    if (missing && this.#paths.has(inner)) return { path: inner, text: 'expected a value, found none' };
    return { path, text: field.message + (field.suggestion ? ` — did you mean “${field.suggestion}”?` : '') };
  }

  clear() {
    this.errors = {};
    this.top = [];
  }

  /** Drops what was said of a field, and of everything below it. */
  forget(path: string) {
    for (const at of Object.keys(this.errors)) if (at === path || at.startsWith(`${path}.`) || at.startsWith(`${path}[`)) delete this.errors[at];
  }

  place(fields: FieldError[], message?: string) {
    this.clear();
    for (const field of fields) {
      const { path, text } = this.#told(field);
      const home = this.#home(path);
      if (home === null) this.top.push(path ? `${path}: ${text}` : text);
      else {
        const rest = path === home ? '' : `${path.slice(home.length).replace(/^\./, '')}: `;
        this.errors[home] = this.errors[home] ? `${this.errors[home]}; ${rest}${text}` : rest + text;
      }
    }
    if (!fields.length && message) this.top.push(message);
  }

  async focusFirst() {
    await tick();
    const bad = this.root?.querySelector<HTMLElement>('[aria-invalid="true"], [data-form-errors]');
    if (!bad) return;
    for (let at: HTMLElement | null = bad; at; at = at.parentElement) if (at instanceof HTMLDetailsElement) at.open = true;
    bad.focus();
    bad.scrollIntoView({ block: 'center' });
  }

  /** Runs the submission; true where it went through. */
  async run(work: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false;
    if (this.held) {
      this.place([...this.#held.values()].map(({ path, text }) => ({ path, message: text })));
      await this.focusFirst();
      return false;
    }
    this.busy = true;
    this.clear();
    try {
      await work();
      return true;
    } catch (cause) {
      const error = cause instanceof ApiError ? cause : new ApiError(0, 'client', (cause as Error).message);
      this.place(error.fields, error.message);
      await this.focusFirst();
      return false;
    } finally {
      this.busy = false;
    }
  }
}

export const provideForm = (form: FormState) => setContext(KEY, form);
export const useForm = () => getContext<FormState | undefined>(KEY);
