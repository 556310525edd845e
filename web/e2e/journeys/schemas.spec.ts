import { expect, type Page } from '@playwright/test';
import { example, label, sentence, shape, type Schema } from '../../src/lib/schema';
import { add, test } from './support/fixtures';

interface Detail {
  name: string;
  kind: 'probe' | 'action' | 'log-parser';
  origin: string;
  manifest: { config_schema: Schema };
}
/** What no field can ask for better than a text in JSON. */
const JSON_FIELDS = ['secret_headers'];

const FORMS = {
  probe: { list: 'Checks', word: 'check', field: 'Plugin' },
  action: { list: 'Remediations', word: 'remediation', field: 'Plugin' },
  'log-parser': { list: 'Log sources', word: 'log source', field: 'Parser' },
};

/** The form's fields as a person gets them: name, help, placeholder, whether it must be filled. */
const fields = (page: Page) =>
  page.locator('form .field').evaluateAll((all) =>
    all.map((field) => {
      const control = field.querySelector('input, select, textarea');
      const name = field.querySelector(':scope > label, :scope > legend')?.firstChild?.textContent ?? '';
      return {
        name: name.trim(),
        help: field.querySelector('.hint')?.textContent ?? '',
        placeholder: control?.getAttribute('placeholder') ?? '',
        required: control?.getAttribute('aria-required') === 'true',
        labelled: !control || !!(control.getAttribute('aria-label') || (control.id && field.querySelector(`label[for="${control.id}"]`))),
      };
    }),
  );

test('every plugin that comes with the engine has a form that explains itself', async ({ admin: page }) => {
  const get = async (path: string) => (await page.request.get(new URL(path, page.url()).href)).json();
  const names: string[] = (await get('/api/v1/plugins?limit=200')).items.filter((plugin: Detail) => plugin.origin === 'builtin').map((plugin: Detail) => plugin.name);
  expect(names.length).toBeGreaterThan(20);
  const plugins: Detail[] = await Promise.all(names.map((name) => get(`/api/v1/plugins/${name}`)));

  for (const [kind, { list, word, field }] of Object.entries(FORMS)) {
    page.once('dialog', (dialog) => void dialog.accept());
    await add(page, list, word);
    for (const plugin of plugins.filter((one) => one.kind === kind))
      await test.step(`${kind} ${plugin.name}`, async () => {
        const schema = plugin.manifest.config_schema;
        const properties = Object.entries(schema.properties ?? {});
        await page.getByLabel(field, { exact: true }).selectOption(plugin.name);
        const required = schema.required ?? [];
        const last = properties.at(-1);
        if (last) await expect(page.locator('form .field').filter({ hasText: label(last[0], last[1]) }).first()).toBeAttached();
        const found = await fields(page);
        for (const [key, property] of properties) {
          const title = label(key, property);
          const at = `${plugin.name}: ${key}`;
          const own = found.filter((one) => one.name === title);
          expect.soft(own.length, `${at} has one field called ${title}`).toBeGreaterThan(0);
          if (!JSON_FIELDS.includes(key)) expect.soft(shape(property), at).not.toBe('json');
          expect.soft(own.some((one) => one.labelled), `${at} is labelled`).toBe(true);
          expect.soft(property.description, `${at} is described`).toBeTruthy();
          expect.soft(own.map((one) => one.help).join(' '), at).toContain(sentence(property.description));
          if (['string', 'integer', 'number', 'list'].includes(shape(property)) && example(property)) expect.soft(own.map((one) => one.placeholder), at).toContain(example(property));
          if (required.includes(key) && shape(property) !== 'objects') expect.soft(own.some((one) => one.required), `${at} is marked as required`).toBe(true);
        }

        // A wrong value is told at once, and by the engine, at the field.
        await page.getByLabel('Name', { exact: true }).first().fill('odd');
        const numbers = properties.filter(([, property]) => shape(property) === 'integer' || shape(property) === 'number');
        const [key, property] = numbers.find(([name]) => required.includes(name)) ?? numbers[0] ?? [];
        if (key && property) {
          for (const more of await page.locator('form details.more:not([open]) > summary').all()) await more.click();
          const input = page.getByLabel(label(key, property), { exact: true });
          await input.fill('many');
          await input.blur();
          await expect(input).toHaveAccessibleDescription(/expected a (whole )?number.*, found "many"/);
        }
        await page.getByRole('button', { name: `Add ${word}` }).click();
        if (key && property) await expect(page.getByLabel(label(key, property), { exact: true })).toHaveAttribute('aria-invalid', 'true');
        for (const name of required) {
          const asked = schema.properties?.[name];
          if (!asked || name === key) continue;
          const box = page.locator('form .field').filter({ has: page.locator('label, legend').filter({ hasText: label(name, asked) }) }).first();
          await expect.soft(box.locator('.error'), `${plugin.name}: ${name} is missed at its field`).toContainText('expected');
        }
        if (key && property) await page.getByLabel(label(key, property), { exact: true }).fill('');
      });
  }
});

test('what was set for one plugin does not follow to another', async ({ admin: page }) => {
  await add(page, 'Checks', 'check');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByLabel('URL').fill('http://192.0.2.1/');
  await page.getByLabel('Plugin', { exact: true }).selectOption('tcp');
  await page.getByLabel('Port').fill('70000');
  await page.getByLabel('Port').blur();
  await expect(page.getByLabel('Port')).toHaveAccessibleDescription(/expected a whole number from 1 to 65535, found 70000/);
  await page.getByLabel('Port').fill('22');
  await expect(page.getByLabel('Port')).not.toHaveAttribute('aria-invalid', 'true');
  const request = page.waitForRequest((sent) => sent.method() === 'POST' && sent.url().endsWith('/api/v1/checks'));
  await page.getByLabel('Name', { exact: true }).fill('shell');
  await page.getByRole('button', { name: 'Add check' }).click();
  expect((await request).postDataJSON().config).toEqual({ port: 22 });
});
