/** Reads the part of JSON Schema that plugins' configurations use. */
import type { Json, JsonObject } from './types';

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: Json;
  examples?: Json[];
  enum?: Json[];
  const?: Json;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  'x-target'?: string;
}

export type Shape = 'string' | 'number' | 'integer' | 'boolean' | 'enum' | 'list' | 'choices' | 'objects' | 'object' | 'map' | 'scalar' | 'json';

const SCALARS = ['string', 'integer', 'number', 'boolean'];

/** How a value of the schema is asked for; `json` where nothing better fits. */
export function shape(schema: Schema): Shape {
  if (schema.enum) return 'enum';
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return options.every((o) => typeof o.type === 'string' && SCALARS.includes(o.type)) ? 'scalar' : 'json';
  const type = Array.isArray(schema.type) ? schema.type.find((t) => t !== 'null') : schema.type;
  switch (type) {
    case 'string':
    case 'number':
    case 'integer':
    case 'boolean':
      return type;
    case 'array': {
      const inner = schema.items ? shape(schema.items) : 'json';
      if (inner === 'enum' && schema.items?.enum?.every((option) => typeof option === 'string')) return 'choices';
      if (['string', 'number', 'integer', 'scalar', 'enum'].includes(inner)) return 'list';
      return inner === 'object' ? 'objects' : 'json';
    }
    case 'object':
      if (schema.properties) return 'object';
      if (typeof schema.additionalProperties === 'object' && shape(schema.additionalProperties) === 'string') return 'map';
      return 'json';
  }
  return 'json';
}

/** Text of an input as a value of the schema. Text that is no number stays text: the server says so at the field. */
export function parse(schema: Schema, text: string): Json {
  const kind = shape(schema);
  const numeric = kind === 'number' || kind === 'integer' || (kind === 'scalar' && (schema.anyOf ?? schema.oneOf)?.some((o) => o.type === 'integer' || o.type === 'number'));
  if (numeric && /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text.trim())) return Number(text);
  return text;
}

export const show = (value: Json | undefined): string => (value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value));

export function readSchema(schema: JsonObject | string | undefined | null): Schema | null {
  if (!schema) return null;
  try {
    return (typeof schema === 'string' ? JSON.parse(schema) : schema) as Schema;
  } catch {
    return null;
  }
}

const WORDS: Record<string, string> = {
  json: 'JSON', tls: 'TLS', url: 'URL', http: 'HTTP', dns: 'DNS', id: 'ID', cpu: 'CPU', rcode: 'response code', cert: 'certificate', warn: 'warning', min: 'least', max: 'most',
  gt: 'greater than', ge: 'at least', lt: 'less than', le: 'at most',
};
/** Units as the ends of keys name them. */
const UNITS: Record<string, string> = { ms: 'ms', s: 's', days: 'days', bytes: 'bytes', percent: '%' };

/** `expect_status` as `Expect status`, `warn_age_s` as `Warning: age (s)`. */
export function label(name: string, schema: Schema): string {
  if (schema.title) return schema.title;
  const parts = name.split('_');
  const last = parts.at(-1) ?? '';
  const unit = parts.length > 1 && isNumber(schema) ? UNITS[last] : undefined;
  const words = (unit ? parts.slice(0, -1) : parts).map((word) => WORDS[word] ?? word);
  if (words.length > 1 && (parts[0] === 'warn' || parts[0] === 'critical')) words[0] += ':';
  const text = words.join(' ') + (unit ? ` (${unit})` : '');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A sentence of a description. What it says of a value ("true: …", "none; …") keeps its case. */
export function sentence(text: string | undefined): string {
  if (!text || /^\S+[:;] /.test(text)) return text ?? '';
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const kindOf = (schema: Schema): string[] => [schema.type ?? (schema.anyOf ?? schema.oneOf)?.map((o) => o.type ?? [])].flat(2).filter((t): t is string => typeof t === 'string');
const isNumber = (schema: Schema) => kindOf(schema).some((type) => type === 'number' || type === 'integer');

/** What a number may be, in words; empty where there is no bound worth telling. */
export function range({ minimum, maximum, exclusiveMinimum }: Schema): string {
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  if (maximum !== undefined) return `at most ${maximum}`;
  if (minimum !== undefined && minimum !== 0) return `at least ${minimum}`;
  return exclusiveMinimum !== undefined && exclusiveMinimum !== 0 ? `more than ${exclusiveMinimum}` : '';
}

/** A value to show where none is typed: an example, or what holds without one. */
export function example(schema: Schema): string {
  const given = schema.examples?.[0];
  if (Array.isArray(given)) return show(given[0]);
  if (given !== undefined && given !== null) return typeof given === 'object' ? JSON.stringify(given) : show(given);
  const inner = schema.items?.examples?.[0];
  if (inner !== undefined) return show(inner);
  return Array.isArray(schema.default) ? show(schema.default[0]) : schema.default !== null && typeof schema.default === 'object' ? '' : show(schema.default);
}

/** What is wrong with a value that was typed; the engine's judgement of the whole comes with saving. */
export function wrong(schema: Schema, value: Json | undefined): string {
  // A template is filled in for each node.
  if (value === undefined || value === null || (typeof value === 'string' && value.includes('{{'))) return '';
  const found = `found ${typeof value === 'string' ? JSON.stringify(value) : show(value)}`;
  const options = schema.anyOf ?? schema.oneOf;
  if (options) {
    if (options.some((option) => !wrong(option, value))) return '';
    return `expected ${options.map((option) => expectation(option)).join(', or ')}, ${found}`;
  }
  const bad = (() => {
    switch (shape(schema)) {
      case 'integer':
        return !Number.isInteger(value) || outside(schema, value as number);
      case 'number':
        return typeof value !== 'number' || outside(schema, value);
      case 'string':
        return typeof value !== 'string' || !fits(schema, value);
      default:
        return false;
    }
  })();
  return bad ? `expected ${expectation(schema)}, ${found}` : '';
}
const outside = ({ minimum, maximum, exclusiveMinimum }: Schema, value: number) =>
  (minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum) || (exclusiveMinimum !== undefined && value <= exclusiveMinimum);
function fits({ pattern, minLength, maxLength }: Schema, value: string): boolean {
  if ((minLength !== undefined && value.length < minLength) || (maxLength !== undefined && value.length > maxLength)) return false;
  try {
    return pattern === undefined || new RegExp(pattern, 'u').test(value);
  } catch {
    // A pattern in another dialect is for the engine alone.
    return true;
  }
}
function expectation(schema: Schema): string {
  const more = schema.exclusiveMinimum === 0 ? 'more than 0' : range(schema) || (schema.minimum === 0 ? 'at least 0' : '');
  if (isNumber(schema)) return `a ${kindOf(schema).includes('number') ? 'number' : 'whole number'}${more && (/^\d/.test(more) ? ` from ${more}` : ` of ${more}`)}`;
  if (schema.maxLength !== undefined) return `at most ${schema.maxLength} characters`;
  const like = example(schema);
  return like ? `something like ${JSON.stringify(like)}` : schema.pattern ? `something that matches ${schema.pattern}` : 'a text';
}
