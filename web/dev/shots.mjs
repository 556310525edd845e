/**
 * Takes pictures of the pages: node dev/shots.mjs [base] [out] [names] [modes]
 *
 * Against the mock (the default), or an engine: BELLWETHER_ADMIN_PASSWORD logs in,
 * BELLWETHER_UI=dist shows the UI of that folder instead of the one built in.
 * A name that is no page of the list is taken as a path: `/alerts/3`.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { chromium } from '@playwright/test';

const [base = 'http://127.0.0.1:8490', out = 'dev/shots', names = '', modes = '1280-light,390-light,1280-dark,390-dark'] = process.argv.slice(2);
const PAGES = {
  overview: '/', alerts: '/alerts', alert: '/alerts/41', fault: '/alerts/42', status: '/status', series: '/series/homepage/web-2', 'series-fault': '/series/orders-queue/db-1',
  nodes: '/nodes', node: '/nodes/web-2', 'node-new': '/nodes/new', checks: '/checks', check: '/checks/api', 'check-cron': '/checks/smtp', 'check-new': '/checks/new', 'check-edit': '/checks/api/edit', 'check-file': '/checks/homepage/edit',
  rules: '/rules', 'rule-new': '/rules/new', contacts: '/contacts', 'contact-new': '/contacts/new', remediations: '/remediations', remediation: '/remediations/restart-web', 'log-sources': '/log-sources', 'log-source-new': '/log-sources/new',
  plugins: '/plugins', plugin: '/plugins/queue-depth', 'plugin-review': '/plugins/raid-status', program: '/plugins/backup-age', 'plugin-builtin': '/plugins/http',
  logs: '/logs', mailbox: '/mailbox', password: '/settings/password', config: '/settings/config', users: '/settings/users', tokens: '/settings/tokens', audit: '/settings/audit', missing: '/no-such-page',
};
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const chosen = names ? names.split(',').map((name) => [name.replaceAll('/', '_'), PAGES[name] ?? name]) : Object.entries(PAGES);
const password = process.env.BELLWETHER_ADMIN_PASSWORD;
const ui = process.env.BELLWETHER_UI;

await mkdir(out, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
try {
  for (const mode of modes.split(',')) {
    const [width, colorScheme] = mode.split('-');
    const context = await browser.newContext({ baseURL: base, viewport: { width: Number(width), height: Number(width) > 600 ? 900 : 844 }, colorScheme, reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'Europe/Berlin' });
    if (ui)
      await context.route(/^[^/]+\/\/[^/]+\/(?!api\/)/, async (route) => {
        const path = new URL(route.request().url()).pathname;
        const name = extname(path) ? path : '/index.html';
        await route.fulfill({ body: await readFile(join(ui, name)), contentType: TYPES[extname(name)] });
      });
    if (password) await context.request.post('/api/v1/session', { data: { name: 'admin', password }, headers: { origin: base } });
    const page = await context.newPage();
    page.on('console', (m) => m.type() === 'error' && console.log(mode, page.url(), m.text()));
    page.on('pageerror', (e) => console.log(mode, page.url(), 'ERROR', e.message));
    for (const [name, path] of chosen) {
      await page.goto(path);
      await page.waitForSelector('h1');
      await page.waitForTimeout(600);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) console.log(mode, path, `scrolls sideways by ${wide} px`);
      await page.screenshot({ path: `${out}/${name}-${mode}.png`, fullPage: !name.startsWith('logs') });
    }
    await context.close();
  }
} finally {
  await browser.close();
}
