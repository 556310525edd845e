import { defineConfig } from '@playwright/test';

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const MOCK = 8490;

/**
 * Two projects: `a11y` runs against the mock server with the built UI (build
 * first), `e2e` against a real engine at BELLWETHER_URL.
 */
export default defineConfig({
  testDir: './e2e',
  fullyParallel: false,
  workers: 1,
  forbidOnly: true,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  use: {
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args },
    trace: 'retain-on-failure',
  },
  projects: [
    { name: 'a11y', testMatch: /a11y\/.*\.spec\.ts/, use: { baseURL: `http://127.0.0.1:${MOCK}`, trace: 'off', contextOptions: { reducedMotion: 'reduce' } } },
    { name: 'e2e', testMatch: /journeys\/.*\.spec\.ts/, use: { baseURL: process.env.BELLWETHER_URL ?? 'http://127.0.0.1:8480' } },
  ],
  webServer: process.env.BELLWETHER_URL
    ? undefined
    : [
        { command: `node dev/mock.mjs --open --port ${MOCK}`, url: `http://127.0.0.1:${MOCK}/`, reuseExistingServer: false },
        { command: `node dev/mock.mjs --empty --port ${MOCK + 1}`, url: `http://127.0.0.1:${MOCK + 1}/`, reuseExistingServer: false },
        { command: `node dev/mock.mjs --setup --port ${MOCK + 2}`, url: `http://127.0.0.1:${MOCK + 2}/`, reuseExistingServer: false },
      ],
});
