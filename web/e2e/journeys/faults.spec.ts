import { expect } from '@playwright/test';
import { add, save, test, upload, visit } from './support/fixtures';
import { built } from './support/plugins';

test('a plugin that loops is a fault, a target that hangs is critical, and both say where', async ({ admin: page, silent }) => {
  await visit(page, 'Plugins');
  const progress = await upload(page, await built('testing/hostile'));
  await progress.getByRole('link', { name: 'Review permissions' }).click();
  await page.getByLabel('The node under check').check();
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByText('“hostile” may do what you granted from its next run on')).toBeVisible();

  await add(page, 'Nodes', 'node');
  await page.getByLabel('Name').fill('shop-1');
  await page.getByLabel('Address').fill('127.0.0.1');
  await save(page, 'node', 'shop-1');

  async function check(name: string, mode: string, target?: string) {
    await add(page, 'Checks', 'check');
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Plugin', { exact: true }).selectOption('hostile');
    await page.getByLabel('Mode').selectOption({ label: mode });
    if (target) {
      await page.getByText('More options').click();
      await page.getByLabel('Target').fill(target);
    }
    await page.getByLabel('Every').fill('2s');
    await page.getByLabel('Time limit').fill('1s');
    await save(page, 'check', name);
    return page.getByRole('list', { name: 'This check by node' }).getByRole('listitem');
  }

  await test.step('an endless loop', async () => {
    const row = await check('loops', 'endless-loop');
    await expect(row).toContainText('Fault');
    await expect(row).toContainText('comput');
    await row.getByRole('link', { name: 'shop-1' }).click();
    await expect(page.getByText('This is a problem of the engine or the plugin, and says nothing about shop-1.')).toBeVisible();
  });

  await test.step('a target that never answers', async () => {
    const row = await check('hangs', 'endless-host-call', `http://127.0.0.1:${silent.port}/`);
    await expect(row).toContainText('Critical');
    await expect(row).toContainText(/timed out in first.byte/);
    await expect(row).not.toContainText('Fault');
    await row.getByRole('link', { name: 'shop-1' }).click();
    await expect(page.getByRole('list', { name: 'Recent results' }).getByRole('listitem').first()).toContainText(/timed out in first.byte/);
  });

  await test.step('other checks are not held up: both stand in the overview', async () => {
    await visit(page, 'Overview');
    const problems = page.getByRole('list', { name: 'Problems' }).getByRole('listitem');
    await expect(problems.filter({ hasText: 'hangs on shop-1' })).toContainText('Critical');
    await expect(problems.filter({ hasText: 'loops on shop-1' })).toContainText('Fault');
  });

  await test.step('the request that crashed it is run again, and says what it used', async () => {
    await visit(page, 'Plugins');
    await page.getByRole('link', { name: 'hostile', exact: true }).click();
    const crash = page.getByRole('list', { name: 'Crashes' }).getByRole('listitem').first();
    await expect(crash).toContainText('loops on shop-1');
    await crash.getByText('Backtrace and log').click();
    await expect(crash).toContainText('backtrace, innermost first');
    await crash.getByRole('button', { name: /^Run request \d+ again$/ }).click();
    const again = page.getByRole('group', { name: /^Result of running request/ });
    await expect(again).toContainText('computed beyond its deadline');
    await expect(again.getByRole('list', { name: 'Limits used' })).toContainText(/Memory.*of 64\.0 MiB/);
  });

  await test.step('a dry run lists the calls of the engine with their times', async () => {
    const form = page.getByRole('form', { name: 'Dry run of hostile' });
    await form.getByLabel('Mode').selectOption({ label: 'endless-host-call' });
    await form.getByText('More options').click();
    await form.getByLabel('Target').fill(`http://127.0.0.1:${silent.port}/`);
    await form.getByLabel('Time limit').fill('300ms');
    await form.getByRole('button', { name: 'Run once' }).click();
    const report = page.getByRole('group', { name: 'Result of the dry run' });
    await expect(report).toBeFocused();
    const calls = report.getByRole('list', { name: 'Calls of the engine' }).getByRole('listitem');
    await expect(calls.first()).toContainText(/net\.http GET .*timed out in first-byte.*3\d\d ms/);
    await expect(calls.last()).toContainText('never came back');
  });
});
