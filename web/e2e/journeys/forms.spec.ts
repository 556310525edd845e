import { expect } from '@playwright/test';
import { add, save, test } from './support/fixtures';

test('what the engine refuses stands at the field, and the first one has the focus', async ({ admin: page }) => {
  await add(page, 'Nodes', 'node');
  await page.getByLabel('Name').fill('web 1');
  await page.getByRole('button', { name: 'Add node' }).click();
  await expect(page.getByLabel('Address')).toHaveAccessibleDescription(/expected a value, found none/);
  await expect(page.getByLabel('Address')).toBeFocused();
  await page.getByLabel('Address').fill('127.0.0.1');
  await page.getByRole('button', { name: 'Add node' }).click();
  await expect(page.getByLabel('Name')).toHaveAccessibleDescription(/expected a name of letters, digits/);
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.getByLabel('Name').fill('web-1');
  await save(page, 'node', 'web-1');

  await add(page, 'Checks', 'check');
  await page.getByLabel('Name').fill('homepage');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByLabel('Every').fill('200ms');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByLabel('URL')).toHaveAccessibleDescription(/expected a value, found none/);
  await expect(page.getByLabel('Every')).toHaveAccessibleDescription(/expected/);
  await page.getByLabel('URL').fill('http://{{ node.adress }}/');
  await page.getByLabel('Every').fill('30s');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByLabel('URL')).toHaveAccessibleDescription(/expected a template over node.name, .*found a value that is not there/);
  await page.getByLabel('URL').fill('http://{{ node.address }}/');
  await save(page, 'check', 'homepage');

  await add(page, 'Rules', 'rule');
  await page.getByLabel('Name').fill('homepage-down');
  await page.getByLabel('When').fill('check == "homepage" && stat == "critical"');
  await page.getByRole('button', { name: 'Add rule' }).click();
  await expect(page.getByLabel('When')).toHaveAccessibleDescription(/unknown variable "stat".*did you mean “state”/);
  await expect(page.getByLabel('When')).toBeFocused();

  page.once('dialog', (dialog) => void dialog.accept());
  await add(page, 'Contacts', 'contact');
  await page.getByLabel('Name').fill('oncall');
  await page.getByLabel('E-mail address').fill('nobody');
  await page.getByRole('button', { name: 'Add contact' }).click();
  await expect(page.getByRole('textbox', { name: 'E-mail address' })).toHaveAccessibleDescription(/expected/);
});
