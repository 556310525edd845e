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
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  'x-target'?: string;
}

export type Shape = 'string' | 'number' | 'integer' | 'boolean' | 'enum' | 'list' | 'objects' | 'object' | 'map' | 'scalar' | 'json';

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

/** `expect_status` as `Expect status`. */
export function label(name: string, schema: Schema): string {
  if (schema.title) return schema.title;
  const words: Record<string, string> = { json: 'JSON', tls: 'TLS', url: 'URL', http: 'HTTP', dns: 'DNS', id: 'ID', ms: '(ms)', gt: 'greater than', ge: 'at least', lt: 'less than', le: 'at most' };
  const text = name
    .split('_')
    .map((word) => words[word] ?? word)
    .join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
