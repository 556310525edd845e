import { expect, test, type Page } from '@playwright/test';

test('a question gives the focus back, and what it removed passes it on', async ({ page }) => {
  await page.goto('/settings/tokens');
  const revoke = page.getByRole('button', { name: 'Revoke token prometheus' });
  await revoke.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog', { name: 'Revoke token “prometheus”?' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(revoke).toBeFocused();
  // The mock is shared by all tests: nothing is really removed.
  await page.route('**/api/v1/tokens/*', (route) => route.fulfill({ status: 204 }));
  await page.route('**/api/v1/tokens', (route) => route.fulfill({ json: { items: [], next: null } }));
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke token' }).click();
  await expect(page.getByText('No tokens')).toBeVisible();
  await expect(page.getByRole('heading', { level: 1, name: 'Settings' })).toBeFocused();
});

test('rows of a list come and go without losing the focus', async ({ page }) => {
  await page.goto('/contacts/new');
  await page.getByRole('textbox', { name: 'E-mail address' }).fill('ops@example.org');
  const another = page.getByRole('button', { name: 'Add another' });
  await another.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('textbox', { name: 'E-mail address 2' })).toBeFocused();
  await page.getByRole('button', { name: 'Remove E-mail address 2' }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('textbox', { name: 'E-mail address' })).toBeFocused();
});

test('more rows are shown and the focus goes to the first of them', async ({ page }) => {
  await page.goto('/series/homepage/web-2');
  const rows = page.getByRole('list', { name: 'Recent results' }).getByRole('listitem');
  await expect(rows).toHaveCount(20);
  await page.getByRole('button', { name: 'Show more results' }).focus();
  await page.keyboard.press('Enter');
  await expect(rows).not.toHaveCount(20);
  await expect(rows.nth(20).getByRole('button')).toBeFocused();
});

test('a chart is moved by keyboard and read as a table', async ({ page }) => {
  await page.goto('/series/api/web-2?metric=latency_ms');
  await expect(page.getByRole('img', { name: /latency_ms over 1h: average .* ms, .*warning at 400 ms/ })).toBeVisible();
  await page.getByText('Values as a table').focus();
  await page.keyboard.press('Enter');
  const table = page.getByRole('region', { name: 'Values as a table' });
  await expect(table.getByRole('row').nth(1)).toContainText('ms');
  await expect(table.getByText('no value').first()).toBeAttached();
  const asked = page.waitForRequest((request) => request.url().includes('/chart?') && Number(new URL(request.url()).searchParams.get('to')) < (Date.now() - 20 * 60_000) * 1000);
  await page.getByRole('button', { name: 'Earlier' }).focus();
  await page.keyboard.press('Enter');
  await asked;
  await expect(page.getByRole('button', { name: 'Earlier' })).toBeFocused();
  await page.getByRole('button', { name: 'Back to now' }).click();
  await expect(page.getByText(/^Until/)).toHaveCount(0);
});

test('nodes are shown in groups and as a tree', async ({ page }) => {
  await page.goto('/nodes');
  await page.getByRole('radio', { name: 'Groups' }).focus();
  await page.keyboard.press('Space');
  const groups = page.getByRole('list', { name: 'Nodes by label' });
  await expect(groups.getByRole('listitem').first()).toContainText('web-2');
  await page.getByLabel('Group by label').selectOption('env');
  await expect(groups).toContainText('staging');
  await groups.getByRole('link', { name: 'staging' }).click();
  await expect(page.getByRole('searchbox')).toHaveValue('env: staging');
  await expect(page.getByRole('region', { name: 'Nodes' }).getByRole('listitem').first()).toContainText('web-5');
  await page.getByRole('radio', { name: 'Tree' }).check({ force: true });
  await expect(page.getByRole('list', { name: 'Reached through switch-1' })).toContainText('web-2');
});

/** Answers of the overview with so many alerts firing. */
async function firing(page: Page, count: () => number) {
  await page.route('**/api/v1/overview', async (route) => {
    const response = await route.fetch();
    const overview = await response.json();
    const [alert] = overview.alerts;
    await route.fulfill({ response, json: { ...overview, firing_total: count(), alerts: Array.from({ length: count() }, (_, i) => ({ ...alert, id: 900 + i, phase: 'firing' })) } });
  });
}
test('a screen reader is told of a new alert, and not of the first look', async ({ page }) => {
  let count = 1;
  await firing(page, () => count);
  await page.goto('/');
  await expect(page.getByRole('list', { name: 'Firing alerts' }).getByRole('listitem')).toHaveCount(1);
  const news = page.getByRole('status', { name: 'News' });
  await expect(news).toHaveText('');
  count = 3;
  // An event makes the page look again.
  await page.request.post('/api/v1/checks/api/pause');
  await page.request.post('/api/v1/checks/api/resume');
  await expect(news).toHaveText('3 alerts firing, the newest: homepage-down on web-2.');
  await page.unrouteAll({ behavior: 'ignoreErrors' });
});

test('a lost connection is told until it is back', async ({ page }) => {
  await page.route('**/api/v1/events', (route) => route.abort());
  await page.goto('/');
  const lost = page.getByRole('alert').filter({ hasText: 'Connection lost.' });
  await expect(lost).toContainText('What you see may be old.');
  await expect(page.getByText('Not live')).toBeVisible();
  await page.unroute('**/api/v1/events');
  await lost.getByRole('button', { name: 'Reconnect now' }).click();
  await expect(lost).toHaveCount(0);
  await expect(page.getByText(/^Live/)).toBeVisible();
});

test('an engine that fails says so, and what was shown stays', async ({ page }) => {
  let failing = false;
  await page.route('**/api/v1/alerts?*', (route) => (failing ? route.fulfill({ status: 500, json: { error: { code: 'internal', message: 'the store does not answer', fields: [] } } }) : route.continue()));
  await page.goto('/alerts');
  await expect(page.getByRole('list', { name: 'Open alerts' })).toBeVisible();
  failing = true;
  await page.getByText('Cancelled').click();
  await expect(page.getByRole('alert')).toContainText('The store does not answer');
  await expect(page.getByRole('list', { name: 'Open alerts' })).toBeVisible();
});
