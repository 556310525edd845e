/** Takes pictures of the pages against a running mock: node dev/shots.mjs [base] [out] [filter] */
import { mkdir } from 'node:fs/promises';
import { chromium } from '@playwright/test';

const [base = 'http://127.0.0.1:8490', out = 'dev/shots', filter = '', modes = '1280-light,390-light,1280-dark,390-dark'] = process.argv.slice(2);
const pages = {
  overview: '/', alerts: '/alerts', alert: '/alerts/41', fault: '/alerts/42', status: '/status', series: '/series/homepage/web-2', 'series-fault': '/series/orders-queue/db-1',
  nodes: '/nodes', node: '/nodes/web-2', 'node-new': '/nodes/new', checks: '/checks', check: '/checks/api', 'check-new': '/checks/new', 'check-edit': '/checks/api/edit', 'check-file': '/checks/homepage/edit',
  rules: '/rules', 'rule-new': '/rules/new', contacts: '/contacts', remediation: '/remediations/restart-web', 'log-sources': '/log-sources', plugins: '/plugins', plugin: '/plugins/queue-depth', 'plugin-review': '/plugins/raid-status', program: '/plugins/backup-age',
  logs: '/logs', mailbox: '/mailbox', config: '/settings/config', users: '/settings/users', tokens: '/settings/tokens', audit: '/settings/audit',
};
await mkdir(out, { recursive: true });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
try {
  for (const mode of modes.split(',')) {
    const [width, colorScheme] = mode.split('-');
    const context = await browser.newContext({ viewport: { width: Number(width), height: Number(width) > 600 ? 900 : 844 }, colorScheme, reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.on('console', (m) => m.type() === 'error' && console.log(mode, page.url(), m.text()));
    page.on('pageerror', (e) => console.log(mode, page.url(), 'ERROR', e.message));
    for (const [name, path] of Object.entries(pages)) {
      if (filter && !filter.split(',').includes(name)) continue;
      await page.goto(base + path);
      await page.waitForSelector('h1');
      await page.waitForTimeout(500);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) console.log(mode, path, `scrolls sideways by ${wide} px`);
      await page.screenshot({ path: `${out}/${name}-${mode}.png`, fullPage: !name.startsWith('logs') });
    }
    await context.close();
  }
} finally {
  await browser.close();
}
