import { expect, type Page } from '@playwright/test';
import { add, save, test, upload, visit } from './support/fixtures';
import { built } from './support/plugins';

test.use({ config: { secrets: { 'database-password': { env: 'PATH' } }, files: { backups: '/tmp' } } });

const granted = async (page: Page, plugin: string) => (await (await page.request.get(new URL(`/api/v1/plugins/${plugin}`, page.url()).href)).json()).grants;

test('every permission is granted in the form, and saving one leaves the others', async ({ admin: page }) => {
  await visit(page, 'Plugins');
  const progress = await upload(page, await built('testing/reach'));
  await progress.getByRole('link', { name: 'Review permissions' }).click();
  await expect(page.getByText('“reach” asks to:')).toBeVisible();

  await page.getByLabel('The node under check').check();
  await page.getByRole('textbox', { name: 'Target' }).fill('api.example.org:443');
  await page.getByLabel('Allow remembering').check();
  await page.getByLabel('Allow figures of this host').check();
  await page.getByRole('textbox', { name: 'Folder' }).fill('backup');
  await page.getByRole('group', { name: 'Read the values of secrets' }).getByLabel('database-password').check();
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByRole('textbox', { name: 'Folder' })).toHaveAccessibleDescription(/expected a name that the configuration file defines, found "backup"/);
  await page.getByRole('textbox', { name: 'Folder' }).fill('backups');
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByRole('region', { name: 'Permissions' }).getByText('Granted')).toBeVisible();
  const all = { net: ['api.example.org:443', 'node'], state: true, system: true, files: ['backups'], read_secrets: ['database-password'] };
  expect(await granted(page, 'reach')).toEqual(all);

  await page.getByLabel('Allow remembering').uncheck();
  await page.getByRole('button', { name: 'Save permissions' }).click();
  await expect(page.getByRole('group', { name: 'Remember between runs' })).toContainText('Not allowed');
  expect(await granted(page, 'reach')).toEqual({ ...all, state: false });
});

test('a plain program is a check: the engine fetches, the program judges', async ({ admin: page, service }) => {
  await visit(page, 'Plugins');
  await page.getByText('Name and signature').click();
  await page.getByLabel('Plugin name').fill('queue');
  const progress = await upload(page, await built('testing/command-queue'));
  await progress.getByRole('link', { name: 'Open plugin' }).click();
  await expect(page.getByText('A program does not say what it needs.')).toBeVisible();

  await add(page, 'Nodes', 'node');
  await page.getByLabel('Name').fill('shop-1');
  await page.getByLabel('Address').fill('127.0.0.1');
  await save(page, 'node', 'shop-1');

  await add(page, 'Checks', 'check');
  await page.getByLabel('Name').fill('jobs');
  await page.getByLabel('Plugin', { exact: true }).selectOption('queue');
  await page.getByRole('radiogroup', { name: 'How to edit the configuration' }).getByText('JSON').click();
  await page.getByLabel('Configuration as JSON').fill('{"args": ["-w", "80", "-c", "90"]}');
  await page.getByLabel('Input of the program').selectOption('http');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByLabel('Input URL')).toHaveAccessibleDescription(/expected/);
  await expect(page.getByLabel('Input URL')).toBeFocused();
  await page.getByLabel('Input of the program').selectOption('text');
  await page.getByRole('textbox', { name: 'Text', exact: true }).fill('95');
  await page.getByLabel('Every').fill('1s');
  await save(page, 'check', 'jobs');
  const row = page.getByRole('list', { name: 'This check by node' }).getByRole('listitem');
  await expect(row).toContainText('Critical');
  await expect(row).toContainText('95 waiting');

  await page.getByRole('link', { name: 'Edit check' }).click();
  await page.getByLabel('Input of the program').selectOption('http');
  await page.getByLabel('Input URL').fill(`http://{{ node.address }}:${service.port}/`);
  await page.getByLabel('Time limit').fill('3s');
  await page.getByRole('button', { name: 'Save changes' }).click();
  // The service answers "fine", and the program expects a number.
  await expect(row).toContainText('Fault');
  await expect(row).toContainText('a number on standard input');
});
