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

test('JSON that is none is not saved, and nothing typed is lost', async ({ page }) => {
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('half-typed');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  const modes = page.getByRole('radiogroup', { name: 'How to edit the configuration' });
  await modes.getByText('JSON').click();
  const json = page.getByLabel('Configuration as JSON');
  await json.fill('{"url": "http://x.example",');
  await expect(modes.getByLabel('Form')).toBeDisabled();
  let sent = 0;
  page.on('request', (request) => (sent += Number(request.method() === 'POST' && request.url().endsWith('/api/v1/checks'))));
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(json).toBeFocused();
  await expect(json).toHaveAccessibleDescription(/Not JSON yet/);
  expect(sent).toBe(0);
  await expect(json).toHaveValue('{"url": "http://x.example",');
  await json.fill('{"url": "http://x.example"}');
  await expect(json).not.toHaveAttribute('aria-invalid');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'half-typed' })).toBeVisible();
  expect(sent).toBe(1);
});

test('what is wrong with another object is told above the form, not at a field of this one', async ({ page }) => {
  const fields = [{ path: 'nodes[3].address', message: 'expected an address (node db-1, made in the UI)' }];
  await page.route('**/api/v1/checks', (route) =>
    route.request().method() === 'POST' ? route.fulfill({ status: 422, json: { error: { code: 'validation', message: 'not valid', fields } } }) : route.continue(),
  );
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('innocent');
  await page.getByLabel('Plugin', { exact: true }).selectOption('http');
  await page.getByRole('button', { name: 'Add check' }).click();
  await expect(page.getByRole('alert')).toContainText('nodes[3].address: expected an address (node db-1, made in the UI)');
  await expect(page.locator('[aria-invalid="true"]')).toHaveCount(0);
  await page.unrouteAll({ behavior: 'ignoreErrors' });
});

test('the browser does not go back from a form with changes without asking', async ({ page }) => {
  await page.goto('/checks');
  await page.getByRole('link', { name: 'Add check' }).first().click();
  const name = page.getByLabel('Name');
  await name.fill('precious');
  const asked: string[] = [];
  let answer = false;
  page.on('dialog', (dialog) => {
    asked.push(dialog.message());
    void (answer ? dialog.accept() : dialog.dismiss());
  });
  const back = () => page.evaluate(() => history.back());
  await back();
  await expect.poll(() => asked.length).toBe(1);
  await expect(page).toHaveURL(/\/checks\/new$/);
  await expect(name).toHaveValue('precious');
  await back();
  await expect.poll(() => asked.length).toBe(2);
  await expect(page).toHaveURL(/\/checks\/new$/);
  answer = true;
  await back();
  await expect(page.getByRole('heading', { level: 1, name: 'Checks' })).toBeVisible();
  await expect(page).toHaveURL(/\/checks$/);
  expect(asked).toHaveLength(3);
});

test('a number that is cleared is left out', async ({ page }) => {
  await page.goto('/checks/smtp/edit');
  const attempts = page.getByLabel('Attempts');
  await attempts.fill('5');
  await attempts.fill('');
  const request = page.waitForRequest((r) => r.method() === 'PUT');
  await page.getByRole('button', { name: 'Save changes' }).click();
  expect((await request).postDataJSON()).not.toHaveProperty('attempts');
});

test('a change that came in between is not overwritten', async ({ page }) => {
  await page.goto('/checks/smtp/edit');
  await page.getByLabel('Time limit').fill('9s');
  const { spec, version } = await (await page.request.get('/api/v1/checks/smtp')).json();
  const other = await page.request.put('/api/v1/checks/smtp', { data: spec, headers: { 'if-match': String(version) } });
  expect(other.ok()).toBe(true);
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByRole('alert')).toContainText('somebody changed this check while you edited it');
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

test('saving permissions changes what was changed and nothing else', async ({ page }) => {
  // An engine may know a grant that this form does not.
  await page.route('**/api/v1/plugins/queue-depth', async (route) => {
    const response = await route.fetch();
    const plugin = await response.json();
    await route.fulfill({ response, json: { ...plugin, grants: { ...plugin.grants, later: ['something'] } } });
  });
  const before = page.waitForResponse('**/api/v1/plugins/queue-depth');
  await page.goto('/plugins/queue-depth');
  const { grants } = await (await before).json();
  for (const title of ['Use the network', 'Remember between runs', 'See this host', 'Read files on this host', 'Use secrets', 'Run commands on this host', 'Read the values of secrets'])
    await expect(page.getByRole('group', { name: title })).toContainText('Allowed');
  await expect(page.getByRole('group', { name: 'Read the values of secrets' })).toContainText('Grant this as you would hand out the password');
  await page.getByLabel('Allow remembering').uncheck();
  const request = page.waitForRequest((r) => r.method() === 'PUT');
  await page.getByRole('button', { name: 'Save permissions' }).click();
  const sent = (await request).postDataJSON();
  expect({ ...sent, net: sent.net.toSorted() }).toEqual({ ...grants, net: grants.net.toSorted(), state: false });
  await expect(page.getByText('“queue-depth” may do what you granted')).toBeVisible();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
});

test('a change that somebody else makes does not undo what is being typed', async ({ page }) => {
  await page.goto('/plugins/raid-status');
  const folder = page.getByRole('textbox', { name: 'Folder' });
  await folder.fill('backups');
  const reloaded = page.waitForResponse('**/api/v1/plugins/raid-status');
  await page.request.post('/api/v1/checks/api/pause');
  await page.request.post('/api/v1/checks/api/resume');
  await reloaded;
  await expect(folder).toHaveValue('backups');
  await page.getByLabel('api-token').check();
  await page.getByRole('button', { name: 'Grant permissions' }).click();
  await expect(page.getByRole('group', { name: 'Read files on this host' })).toContainText('Allowed');
  await page.getByRole('button', { name: 'Revoke all' }).click();
  await expect(page.getByText('“raid-status” asks to:')).toBeVisible();
});

test('a check of a program says what the engine fetches for it', async ({ page }) => {
  await page.goto('/checks/new');
  await page.getByLabel('Name').fill('backup');
  await page.getByLabel('Plugin', { exact: true }).selectOption('backup-age');
  await page.getByLabel('Input of the program').selectOption('tcp');
  await page.getByLabel('Port').fill('25');
  await page.getByLabel('Say first').fill('QUIT\\r\\n');
  const request = page.waitForRequest((r) => r.method() === 'POST' && r.url().endsWith('/api/v1/checks'));
  await page.getByRole('button', { name: 'Add check' }).click();
  expect((await request).postDataJSON().input).toEqual({ tcp: { port: 25, send: 'QUIT\r\n' } });
  await expect(page.getByRole('heading', { level: 1, name: 'backup' })).toBeVisible();
});

test('a check with a cron schedule is changed', async ({ page }) => {
  await page.goto('/checks/smtp/edit');
  await page.getByLabel('Time limit').fill('7s');
  const request = page.waitForRequest((r) => r.method() === 'PUT');
  await page.getByRole('button', { name: 'Save changes' }).click();
  const sent = (await request).postDataJSON();
  expect(sent).toMatchObject({ cron: '*/5 * * * *', timeout: '7s' });
  expect(sent).not.toHaveProperty('every');
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
