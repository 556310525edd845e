import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { expect, type Locator, type Page, test as base } from '@playwright/test';
import { Engine } from './engine';
import { MailServer } from './mail';
import type { PluginFile } from './plugins';
import { Service, SilentServer } from './service';

export const PASSWORD = 'correct horse battery staple';

interface World {
  /** What the configuration file holds beside the address; a test may change it. */
  config: object;
  mail: MailServer;
  service: Service;
  silent: SilentServer;
  engine: Engine;
  /** Logged in as the administrator. */
  admin: Page;
}

const TYPES: Record<string, string> = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

/** A world of its own for each test: engine, mail server, service to watch. */
export const test = base.extend<World>({
  config: [{}, { option: true }],
  // BELLWETHER_UI names a folder with another build of the UI (`dist`): a change
  // of it is tried without building the engine.
  page: async ({ page }, use) => {
    const folder = process.env.BELLWETHER_UI;
    if (folder)
      await page.route(/^[^/]+\/\/[^/]+\/(?!api\/)/, async (route) => {
        const path = new URL(route.request().url()).pathname;
        const name = extname(path) ? path : '/index.html';
        await route.fulfill({ body: await readFile(join(folder, name)), contentType: TYPES[extname(name)] });
      });
    await use(page);
  },
  mail: async ({}, use) => {
    const mail = await MailServer.start();
    await use(mail);
    await mail.stop();
  },
  service: async ({}, use) => {
    const service = await Service.start();
    await use(service);
    await service.stop();
  },
  silent: async ({}, use) => {
    const silent = await SilentServer.start();
    await use(silent);
    await silent.stop();
  },
  engine: async ({ config, mail, service }, use, info) => {
    const engine = await Engine.serve((url) => ({
      public_url: url,
      smtp: { url: mail.url, from: 'Bellwether <alerts@example.org>' },
      commands: { 'restart-shop': service.repair },
      retention: { results: '1d' },
      ...config,
    }));
    await use(engine);
    await engine.stop();
    if (info.status !== info.expectedStatus) await info.attach('engine.log', { body: engine.output, contentType: 'text/plain' });
  },
  admin: async ({ engine, page }, use) => {
    await page.goto(engine.loginLink);
    await setPassword(page);
    await use(page);
  },
});

/** The first start's page: a password of one's own. */
export async function setPassword(page: Page) {
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Set password and continue' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

/** Follows a link of the main menu. */
export async function visit(page: Page, name: string) {
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name }).click();
  await expect(page.getByRole('heading', { level: 1, name })).toBeVisible();
}

/** Opens a list by the menu and its form for a new one. */
export async function add(page: Page, list: string, word: string) {
  await visit(page, list);
  await page.getByRole('link', { name: `Add ${word}` }).first().click();
  await expect(page.getByRole('heading', { level: 1, name: `Add a ${word}` })).toBeVisible();
}

/** Presses the form's button and reads that it was saved. */
export async function save(page: Page, word: string, name: string) {
  await page.getByRole('button', { name: `Add ${word}` }).click();
  await expect(page.getByText(new RegExp(`^${word} “${name}” added$`, 'i'))).toBeVisible();
}

/** Uploads a file on the plugin page; the region with its progress and end. */
export async function upload(page: Page, plugin: PluginFile): Promise<Locator> {
  await page.getByLabel('Plugin file').setInputFiles(plugin);
  return page.getByRole('group', { name: `Upload of ${plugin.name}` });
}
