import { expect } from '@playwright/test';
import { Engine } from './support/engine';
import { setPassword, test, visit } from './support/fixtures';

test('the demo is broken and repairs itself', async ({ page }, info) => {
  const engine = await Engine.demo();
  try {
    await page.goto(engine.loginLink);
    await setPassword(page);
    await expect(page.getByText('All 2 checks on 1 node are fine.')).toBeVisible();
    // The alert and its end may follow each other quickly.
    const firing = page.getByRole('list', { name: 'Firing alerts' }).getByText('homepage-down').waitFor();
    await page.getByRole('button', { name: 'Break it' }).click();
    await firing;
    await expect(page.getByRole('heading', { name: 'Everything is fine' })).toBeVisible({ timeout: 60_000 });
    await expect(page.getByRole('heading', { name: 'This is a demo' })).toBeVisible();

    await visit(page, 'Mailbox');
    const mails = page.getByRole('list', { name: 'Mails, newest first' });
    await expect(mails.getByRole('link', { name: '[RESOLVED] homepage-down on shop-1' })).toBeVisible();
    await mails.getByRole('link', { name: '[FIRING] homepage-down on shop-1' }).click();
    await page.getByText('Plain text').click();
    await expect(page.getByText('Last results (newest first, UTC)')).toBeVisible();

    await visit(page, 'Alerts');
    await page.getByRole('link', { name: 'homepage-down' }).first().click();
    const timeline = page.getByRole('list', { name: 'Timeline' });
    await expect(timeline).toContainText('The check confirms that “restart-shop” repaired it.', { timeout: 30_000 });
    await expect(timeline).toContainText('The alert was resolved');
  } finally {
    await engine.stop();
    if (info.status !== info.expectedStatus) await info.attach('engine.log', { body: engine.output, contentType: 'text/plain' });
  }
});
