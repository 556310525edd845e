import { defineConfig } from '@playwright/test';

const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const MOCK = 8490;
const mock = (flag: string, port: number) => ({ command: `node dev/mock.mjs ${flag} --port ${port}`, url: `http://127.0.0.1:${port}/`, reuseExistingServer: false });
// Each journey starts an engine of its own; only the accessibility tests need the mock.
const journeys = process.argv.includes('--project=e2e');

/**
 * Two projects: `a11y` runs against the mock server with the built UI (build
 * first), `e2e` against the engine at BELLWETHER_BIN, which each test starts.
 */
export default defineConfig({
  testDir: './e2e',
  fullyParallel: false,
  workers: 2,
  forbidOnly: true,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  use: {
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args },
    trace: 'retain-on-failure',
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
  },
  projects: [
    { name: 'a11y', testMatch: /a11y\/.*\.spec\.ts/, use: { baseURL: `http://127.0.0.1:${MOCK}`, trace: 'off', contextOptions: { reducedMotion: 'reduce' } } },
    { name: 'e2e', testMatch: /journeys\/.*\.spec\.ts/, timeout: 180_000, use: { screenshot: 'only-on-failure' } },
  ],
  webServer: journeys ? undefined : [mock('--open', MOCK), mock('--empty', MOCK + 1), mock('--setup', MOCK + 2), mock('--open --many', MOCK + 3)],
});
