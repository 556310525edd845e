import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Page } from '@playwright/test';

// They only look.
test.describe.configure({ mode: 'parallel' });

const PAGES = [
  '/', '/alerts', '/alerts/41', '/alerts/42', '/status', '/series/homepage/web-2', '/series/orders-queue/db-1', '/nodes', '/nodes/web-2', '/nodes/new', '/nodes/web-2/edit',
  '/nodes?view=groups', '/nodes?view=tree',
  '/checks', '/checks/api', '/checks/smtp', '/checks/new', '/checks/api/edit', '/checks/homepage/edit', '/rules', '/rules/new', '/rules/api-slow', '/contacts', '/contacts/new', '/remediations',
  '/remediations/restart-web', '/remediations/new', '/log-sources', '/log-sources/new', '/plugins', '/plugins/queue-depth', '/plugins/backup-age', '/plugins/raid-status', '/plugins/http', '/logs', '/mailbox',
  '/settings/config', '/settings/password', '/settings/users', '/settings/tokens', '/settings/audit', '/no-such-page',
];
const EMPTY = ['/', '/alerts', '/nodes', '/checks', '/rules', '/logs', '/mailbox', '/status'];

async function settled(page: Page) {
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await expect(page.getByText('Loading…')).toHaveCount(0);
}
async function audit(page: Page) {
  const found = await new AxeBuilder({ page })
    // The frame of a mail runs no script, not even this one.
    .exclude('iframe')
    .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']).analyze();
  expect(found.violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.target.join(' ')} ${n.failureSummary ?? ''}`).join('\n  ')}`)).toEqual([]);
}
function watch(page: Page): string[] {
  const problems: string[] = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(error.message));
  return problems;
}

for (const path of PAGES)
  test(path, async ({ page }) => {
    const problems = watch(page);
    const sideways = () => page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth));
    await page.goto(path);
    await settled(page);
    await audit(page);
    expect(await sideways(), 'scrolls sideways on a desk').toBe(0);
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: 'dark' });
    await audit(page);
    expect(await sideways(), 'scrolls sideways on a phone').toBe(0);
    expect(problems).toEqual([]);
  });

test.describe('a large outage', () => {
  test.use({ baseURL: 'http://127.0.0.1:8493' });
  for (const path of ['/', '/alerts', '/nodes?view=groups', '/nodes?view=tree', '/rules', '/alerts/100'])
    test(path, async ({ page }) => {
      await page.setViewportSize({ width: 390, height: 844 });
      await page.goto(path);
      await settled(page);
      await audit(page);
      expect(await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)), 'scrolls sideways').toBe(0);
    });
});

test('alerts are counted that the overview does not list', async ({ page }) => {
  await page.route('**/api/v1/overview', async (route) => {
    const response = await route.fetch();
    const overview = await response.json();
    const [alert] = overview.alerts;
    await route.fulfill({ response, json: { ...overview, firing_total: 300, alerts: Array.from({ length: 50 }, (_, i) => ({ ...alert, id: 900 + i, phase: 'firing' })) } });
  });
  await page.goto('/');
  await expect(page.getByText('300 alerts firing, ')).toBeVisible();
  await expect(page.getByRole('navigation', { name: 'Main' }).getByText('300 firing')).toBeVisible();
  await expect(page.getByRole('link', { name: '10 of 300 shown' })).toBeVisible();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
});

test.describe('nothing configured', () => {
  test.use({ baseURL: 'http://127.0.0.1:8491' });
  test('log in and look at every empty list', async ({ page }) => {
    await page.goto('/');
    await audit(page);
    await page.getByLabel('Name').fill('admin');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.getByRole('alert')).toContainText('Name or password is wrong');
    await audit(page);
    await page.getByLabel('Password').fill('bellwether');
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.getByRole('heading', { name: 'First steps' })).toBeVisible();
    for (const path of EMPTY) {
      await page.goto(path);
      await settled(page);
      await audit(page);
    }
  });
});

test.describe('first start', () => {
  test.use({ baseURL: 'http://127.0.0.1:8492' });
  test('a one-time link leads to a password of one’s own', async ({ page }) => {
    await page.goto('/');
    await expect(page.getByText('First start?')).toBeVisible();
    await page.goto('/login#token=abc');
    await page.reload();
    await page.getByLabel('New password', { exact: true }).fill('short');
    await page.getByLabel('New password again').fill('short');
    await audit(page);
    await page.getByRole('button', { name: 'Set password and continue' }).click();
    await expect(page.getByLabel('New password', { exact: true })).toBeFocused();
    await expect(page.getByText('expected at least 8 characters, found 5')).toBeVisible();
    await page.getByLabel('New password', { exact: true }).fill('long enough now');
    await page.getByLabel('New password again').fill('long enough now');
    await page.getByRole('button', { name: 'Set password and continue' }).click();
    await expect(page.getByRole('heading', { name: 'Overview' })).toBeVisible();
    expect(new URL(page.url()).hash).toBe('');
  });
});
