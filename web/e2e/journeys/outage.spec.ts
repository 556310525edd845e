import { expect } from '@playwright/test';
import { add, PASSWORD, save, setPassword, test, upload, visit } from './support/fixtures';
import { built, rebuilt } from './support/plugins';

test('from the first start to a repaired outage', async ({ engine, mail, page, service }) => {
  await test.step('the printed link leads to a password, the password to the overview', async () => {
    await page.goto(engine.loginLink);
    await setPassword(page);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Name').fill('admin');
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.getByRole('heading', { name: 'First steps' })).toBeVisible();
  });

  // Gone after a reload: from here on everything arrives by itself.
  await page.evaluate(() => document.body.setAttribute('data-same-page', ''));

  await test.step('a plugin is uploaded, its progress is shown, its permissions are granted', async () => {
    await visit(page, 'Plugins');
    await page.getByText('Name and signature').click();
    await page.getByLabel('Plugin name').fill('my-http');
    // Waited for from before it begins: compiling may be too quick to see which step is the current one.
    const compiling = page.getByRole('list', { name: 'Progress' }).getByText('Compile in isolation').waitFor();
    const progress = await upload(page, rebuilt(await built('http'), 'their-build.wasm'));
    await compiling;
    await expect(progress.getByRole('status')).toContainText('my-http 0.1.0 is ready');
    await progress.getByRole('link', { name: 'Review permissions' }).click();
    await expect(page.getByText('“my-http” asks to:')).toBeVisible();
    await page.getByLabel('The node under check').check();
    await page.getByRole('button', { name: 'Grant permissions' }).click();
    await expect(page.getByText('“my-http” may do what you granted from its next run on')).toBeVisible();
  });

  await test.step('node, check, contact, remediation and rule are added by their forms', async () => {
    await add(page, 'Nodes', 'node');
    await page.getByLabel('Name').fill('shop-1');
    await page.getByLabel('Address').fill('127.0.0.1');
    await save(page, 'node', 'shop-1');

    await add(page, 'Checks', 'check');
    await page.getByLabel('Name').fill('homepage');
    await page.getByLabel('Plugin', { exact: true }).selectOption('my-http');
    await page.getByLabel('Nodes').fill('name == "shop-1"');
    await expect(page.getByText('1 node matches')).toBeVisible();
    await page.getByLabel('URL').fill(`http://{{ node.address }}:${service.port}/health`);
    await page.getByText('More options').click();
    await page.getByRole('textbox', { name: 'Expect status' }).fill('200');
    await page.getByLabel('Every').fill('1s');
    await expect(page.getByText('Next five times')).toBeVisible();
    await page.getByLabel('Time limit').fill('2s');
    await page.getByLabel('Attempts').fill('2');
    await page.getByLabel('Retry interval').fill('1s');
    await save(page, 'check', 'homepage');
    await expect(page.getByRole('list', { name: 'This check by node' }).getByRole('listitem')).toContainText('OK');

    await add(page, 'Contacts', 'contact');
    await page.getByLabel('Name').fill('oncall');
    await page.getByLabel('E-mail address').fill('ops@example.org');
    await save(page, 'contact', 'oncall');

    await add(page, 'Remediations', 'remediation');
    await page.getByLabel('Name').fill('restart');
    await page.getByLabel('Plugin', { exact: true }).selectOption('run-command');
    await page.getByLabel('Command').fill('restart-shop');
    await page.getByLabel('Cooldown').fill('1m');
    await page.getByLabel('Check that proves the repair').selectOption('homepage');
    await page.getByLabel('Verify after').fill('1s');
    await save(page, 'remediation', 'restart');

    await add(page, 'Rules', 'rule');
    await page.getByLabel('Name').fill('homepage-down');
    await page.getByLabel('When').fill('check == "homepage" && state == "critical"');
    await page.getByRole('button', { name: 'Test rule' }).click();
    await expect(page.getByRole('list', { name: 'Result of the rule now' })).toContainText('false');
    await page.getByLabel('Severity').selectOption('critical');
    await page.getByLabel('oncall').check();
    await page.getByLabel('restart').check();
    await save(page, 'rule', 'homepage-down');

    await visit(page, 'Overview');
    await expect(page.getByRole('heading', { name: 'Everything is fine' })).toBeVisible();
  });

  await test.step('the service breaks: check, alert and mail come by themselves', async () => {
    await service.break();
    const alert = page.getByRole('list', { name: 'Firing alerts' }).getByRole('listitem');
    await expect(alert).toContainText('homepage-down on shop-1');
    await expect(alert).toContainText('Critical');
    await expect(alert).toContainText('503');
    await expect(page.getByRole('list', { name: 'Problems' }).getByRole('listitem')).toContainText('homepage on shop-1');
    await expect(page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Alerts 1 firing' })).toBeVisible();
  });

  const firing = await mail.expect('[FIRING] homepage-down on shop-1');
  const link = /^http\S+$/m.exec(firing.text ?? '')?.[0] ?? '';
  await test.step('the mail says what broke, as text and as HTML, with one link', async () => {
    expect(firing.recipients).toEqual(['ops@example.org']);
    expect(firing.types.slice(0, 3)).toEqual(['multipart/alternative', 'text/plain', 'text/html']);
    expect(firing.subject).toContain('503');
    expect(firing.text).toContain('Last results');
    expect(firing.html).toContain(`href="${link}"`);
    expect(link.startsWith(`${engine.url}/alerts/`)).toBe(true);
  });

  const timeline = page.getByRole('list', { name: 'Timeline' });
  await test.step('its alert page says that the repair runs', async () => {
    await page.getByRole('list', { name: 'Firing alerts' }).getByRole('link', { name: 'homepage-down' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'homepage-down on shop-1' })).toBeVisible();
    expect(new URL(page.url()).pathname).toBe(new URL(link).pathname);
    await expect(timeline).toContainText('Remediation “restart” started (run 1).');
    await expect(page.getByRole('list', { name: 'Repairs' })).toContainText('Running');
  });

  await test.step('the repair ends: the alert resolves before one’s eyes, and the all-clear joins the thread', async () => {
    await service.letRepairsEnd();
    await expect(timeline).toContainText('The alert was resolved');
    const resolved = await mail.expect('[RESOLVED] homepage-down on shop-1');
    expect(firing.messageId).toBeTruthy();
    expect(resolved.messageId).not.toBe(firing.messageId);
    expect(resolved.inReplyTo).toBe(firing.messageId);
    expect([resolved.references].flat()).toContain(firing.messageId);
    expect(resolved.text).toContain('restart');
  });

  await test.step('the timeline tells all of it', async () => {
    const events = [
      'Rule “homepage-down” fired with severity critical.',
      'The alert mail to ops@example.org (contact “oncall”) was put in the outbox.',
      'Remediation “restart” started (run 1).',
      'The mail server accepted the mail to ops@example.org.',
      'queued as journey-1',
      'Remediation “restart” finished',
      'The check confirms that “restart” repaired it.',
      'The alert was resolved: the rule is no longer true.',
      'The all-clear mail to ops@example.org (contact “oncall”) was put in the outbox.',
      'queued as journey-2',
    ];
    // The alert may end before its repair is proved.
    for (const event of events) await expect(timeline).toContainText(event, { timeout: 30_000 });
    await timeline.getByText('Show output').click();
    await expect(timeline.getByText('service restarted')).toBeVisible();
    await expect(page.getByRole('list', { name: 'Mails' }).getByText('Accepted')).toHaveCount(2);
    await expect(page.getByRole('list', { name: 'Repairs' })).toContainText('confirmed by the check');
    await expect(page.locator('body[data-same-page]')).toHaveCount(1);
    expect(mail.mails).toHaveLength(2);

    await page.getByRole('region', { name: 'Facts' }).getByRole('link', { name: 'homepage', exact: true }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'homepage on shop-1' })).toBeVisible();
    await page.getByRole('button', { name: 'Show more events' }).click();
    const results = [
      'The check went from OK to critical (failure 1, not confirmed yet).',
      'The check went from OK to critical (confirmed).',
      'The check recovered: it went from critical to OK.',
    ];
    for (const event of results) await expect(timeline).toContainText(event);
  });

  await test.step('the link of the mail opens the same alert', async () => {
    await page.goto(link);
    await expect(page.getByRole('heading', { level: 1, name: 'homepage-down on shop-1' })).toBeVisible();
    await expect(timeline).toContainText('The alert was resolved');
    await visit(page, 'Overview');
    await expect(page.getByRole('heading', { name: 'Everything is fine' })).toBeVisible();
  });
});
