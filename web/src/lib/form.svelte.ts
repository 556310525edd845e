/** Errors of a form, put where the person can mend them. */
import { getContext, setContext, tick } from 'svelte';
import { ApiError } from './api';
import type { FieldError } from './types';

const KEY = Symbol('form');

export class FormState {
  /** Message by path of a field on the page. */
  errors = $state<Record<string, string>>({});
  /** What has no field. */
  top = $state<string[]>([]);
  busy = $state(false);
  root: HTMLElement | undefined;
  #paths = new Map<string, number>();

  register(path: string): () => void {
    this.#paths.set(path, (this.#paths.get(path) ?? 0) + 1);
    return () => {
      const left = (this.#paths.get(path) ?? 1) - 1;
      if (left) this.#paths.set(path, left);
      else this.#paths.delete(path);
    };
  }

  /** The field on the page for a path: itself or the nearest above. */
  #home(path: string): string | null {
    let at = path;
    for (;;) {
      if (this.#paths.has(at)) return at;
      const cut = Math.max(at.lastIndexOf('.'), at.lastIndexOf('['));
      if (cut <= 0) return null;
      at = at.slice(0, cut);
    }
  }

  clear() {
    this.errors = {};
    this.top = [];
  }

  place(fields: FieldError[], message?: string) {
    this.clear();
    for (const field of fields) {
      const text = field.message + (field.suggestion ? ` — did you mean “${field.suggestion}”?` : '');
      const home = this.#home(field.path);
      if (home === null) this.top.push(field.path ? `${field.path}: ${text}` : text);
      else {
        const rest = field.path === home ? '' : `${field.path.slice(home.length).replace(/^\./, '')}: `;
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
