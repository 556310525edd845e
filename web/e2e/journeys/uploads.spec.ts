import { expect } from '@playwright/test';
import { test, upload, visit } from './support/fixtures';
import { built, file, type PluginFile } from './support/plugins';

test.use({ config: { engine: { max_plugin_size: '2MiB' } } });

const REFUSED: { what: string; plugin: () => Promise<PluginFile>; says: string | RegExp }[] = [
  { what: 'a text', plugin: async () => file('notes.txt', Buffer.from('not a plugin at all')), says: 'expected a file that begins with \\0asm' },
  { what: 'an empty file', plugin: async () => file('empty.wasm', Buffer.alloc(0)), says: 'expected a WebAssembly file, found none' },
  { what: 'half a component', plugin: async () => half(await built('http')), says: 'truncated or damaged: the file ends in the middle' },
  { what: 'a core module', plugin: async () => file('module.wasm', Buffer.from('\0asm\x01\0\0\0')), says: 'a core module without the export _start; expected a component, or a WASI program' },
  { what: 'an import that the engine does not have', plugin: () => built('testing/backdoor'), says: 'imports evil:host/backdoor@1.0.0, which the engine does not have' },
  { what: 'another world', plugin: () => built('testing/wrong-world'), says: /expected exactly one export .* found bellwether:testing\/hello@0\.1\.0/ },
  { what: 'two kinds at once', plugin: () => built('testing/two-worlds'), says: /expected exactly one export .* and / },
  { what: 'a newer contract', plugin: () => built('testing/newer-version'), says: 'bellwether:plugin/probe@0.2.0' },
  { what: 'a manifest that is nonsense', plugin: () => built('testing/bad-manifest'), says: 'manifest' },
  { what: 'a description that never ends', plugin: () => built('testing/hostile-describe'), says: /describe/ },
  { what: 'a name that belongs to the engine', plugin: () => built('http'), says: 'the name http belongs to a plugin that came with the engine' },
  { what: 'more bytes than allowed', plugin: async () => file('huge.wasm', Buffer.alloc(12 << 20)), says: 'expected at most 2097152 bytes' },
];

test('files that are no plugins are refused in plain words, and the page stays usable', async ({ admin: page }) => {
  await visit(page, 'Plugins');
  for (const { what, plugin, says } of REFUSED)
    await test.step(what, async () => {
      const progress = await upload(page, await plugin());
      await expect.soft(progress.getByRole('alert')).toContainText(says);
      await expect.soft(progress).toBeFocused();
    });
  const good = await upload(page, await built('testing/noop'));
  await expect(good.getByRole('status')).toContainText('noop 0.1.0 is ready');
  await good.getByRole('link', { name: 'Open plugin' }).click();
  await expect(page.getByText('It asks for nothing: it computes on what it is given.')).toBeVisible();
});

function half({ name, buffer }: PluginFile): PluginFile {
  return file(name, buffer.subarray(0, buffer.length / 2));
}
