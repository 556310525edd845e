import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const DIST = new URL('../../../../plugins/dist/', import.meta.url);

/** A file as it goes into a file input. */
export interface PluginFile {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

export const file = (name: string, buffer: Buffer): PluginFile => ({ name, mimeType: 'application/wasm', buffer });

/** A component of plugins/dist, such as `http` or `testing/hostile`. */
export async function built(plugin: string): Promise<PluginFile> {
  const path = fileURLToPath(new URL(`${plugin}.wasm`, DIST));
  const buffer = await readFile(path).catch(() => {
    throw new Error(`expected a plugin at ${path}, found none: run plugins/build.sh`);
  });
  return file(path.slice(path.lastIndexOf('/') + 1), buffer);
}

/**
 * The same component as somebody else's build of it: with a custom section, so
 * that its digest is not that of the one inside the engine.
 */
export function rebuilt(plugin: PluginFile, name: string): PluginFile {
  const note = Buffer.from('\x07builtbya person');
  return file(name, Buffer.concat([plugin.buffer, Buffer.from([0, note.length]), note]));
}
