import { expect, test } from '@playwright/test';

test('server-side errors stand at their fields and the first one has the focus', async ({ page }) => {
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('front page');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByText('More options').click();
  await page.getByRole('textbox', { name: 'Expect status' }).fill('abc');
  await page.getByLabel('Every').fill('soon');
  await page.getByRole('button', { name: 'Add check' }).click();
  const name = page.getByLabel('Name');
  await expect(name).toBeFocused();
  await expect(name).toHaveAttribute('aria-invalid', 'true');
  await expect(name).toHaveAccessibleDescription(/expected letters/);
  await expect(page.getByLabel('Every')).toHaveAccessibleDescription(/expected a duration/);
  await expect(page.getByLabel('URL')).toHaveAccessibleDescription(/expected a value, found none/);
  await expect(page.getByRole('textbox', { name: 'Expect status' })).toHaveAccessibleDescription(/expected a status/);
});

test('an error of the raw configuration stands at the raw text', async ({ page }) => {
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('odd');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByRole('radiogroup', { name: 'How to edit the configuration' }).getByText('JSON').click();
  await page.getByLabel('Configuration as JSON').fill('{"url": "http://x.example", "urll": 1}');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByLabel('Configuration as JSON')).toHaveAccessibleDescription(/urll: is not known/);
});

test('a check is added and its page shows it', async ({ page }) => {
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('front-page');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByLabel('Nodes').fill('name == "web-1"');
  await expect(page.getByText('1 node matches')).toBeVisible();
  await page.getByLabel('URL').fill('http://{{ node.address }}/');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'front-page' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'This check by node' })).toContainText('web-1');
});

test('objects of the file are read-only and say so', async ({ page }) => {
  await page.goto('/checks/homepage/edit');
  await expect(page.getByText('is defined in the configuration file bellwether.yaml')).toBeVisible();
  await expect(page.getByLabel('Every')).toBeDisabled();
  await expect(page.getByRole('button', { name: 'Save changes' })).toHaveCount(0);
});

test('a plugin is uploaded, reviewed and granted', async ({ page }) => {
  await page.goto('/plugins');
  await page.getByLabel('Plugin file').setInputFiles({ name: 'disk-wear.wasm', mimeType: 'application/wasm', buffer: Buffer.from('\0asm\x0d\0\x01\0') });
  await page.getByRole('link', { name: 'Review permissions' }).click();
  await expect(page.getByText('“disk-wear” asks to:')).toBeVisible();
  await page.getByLabel('The node under check').check();
  await page.getByRole('textbox', { name: 'Target' }).fill('api.example.org');
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByRole('textbox', { name: 'Target' })).toBeFocused();
  await page.getByRole('textbox', { name: 'Target' }).fill('api.example.org:443');
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByRole('button', { name: 'Save permissions' })).toBeVisible();
});

test('a file that is no plugin is refused in plain words', async ({ page }) => {
  await page.goto('/plugins');
  await page.getByLabel('Plugin file').setInputFiles({ name: 'notes.wasm', mimeType: 'application/wasm', buffer: Buffer.from('hello') });
  await expect(page.getByRole('alert')).toContainText('expected a WebAssembly component');
});

test('the keyboard reaches the content, and the menu on a phone', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 800 });
  await page.goto('/');
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused();
  const menu = page.getByRole('button', { name: 'Menu' });
  await menu.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Plugins', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Plugins' })).toBeFocused();
  await expect(menu).toHaveAttribute('aria-expanded', 'false');
});
