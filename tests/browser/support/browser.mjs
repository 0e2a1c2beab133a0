// Chromium as people use it: contexts of a size and a color scheme, the login, and what no page may do.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { chromium } from 'playwright-core';

import { ADMIN_TOKEN } from './processes.mjs';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-quic', '--font-render-hinting=none',
];
const WAIT_MS = 30_000;

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
  if (!executablePath || !existsSync(executablePath)) {
    throw new Error(`Chromium is missing: none of ${CHROMIUM.join(', ')} exists. Install it (Debian: apt-get install chromium), or set CHROMIUM.`);
  }
  return chromium.launch({ executablePath, args: ARGUMENTS });
}

/** A page of a new context that is logged in, with a list of what went wrong while it was open. */
export async function openPage(browser, base, { width = 1400, height = 900, scheme = 'light', scripts = true, token = ADMIN_TOKEN } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: scripts, reducedMotion: 'reduce', locale: 'en-GB',
    timezoneId: 'UTC', httpCredentials: { username: 'test', password: token, origin: base },
  });
  context.setDefaultTimeout(WAIT_MS);
  const wrong = [];
  context.on('request', (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol.startsWith('http') && hostname !== '127.0.0.1') wrong.push(`a request to ${request.url()}`);
  });
  context.on('console', (message) => {
    if (message.type() === 'error') wrong.push(`console: ${message.text()} at ${message.location().url}`);
  });
  context.on('weberror', (error) => wrong.push(`script: ${error.error()}`));
  const page = await context.newPage();
  await login(page, base, token);
  return { page, wrong, close: () => context.close() };
}

/** Logs in with the form, if the console shows one; by HTTP basic authentication otherwise, which the context answers. */
async function login(page, base, token) {
  await page.goto(`${base}/`);
  const field = page.getByLabel('Token', { exact: true });
  if (!(await field.count())) return;
  await field.fill(token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('navigation', { name: 'Console' }).waitFor();
}

/** Returns the headers of requests that are logged in, for programs without a browser. */
export async function headers(base, token = ADMIN_TOKEN) {
  const form = await fetch(`${base}/login`, { redirect: 'manual' });
  const csrf = /name="csrf" value="([^"]+)"/.exec(await form.text())?.[1];
  if (form.status !== 200 || !csrf) return { authorization: `Basic ${Buffer.from(`test:${token}`).toString('base64')}` };
  const cookies = (answer) => answer.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ');
  const body = new URLSearchParams({ csrf, token, next: '/' });
  const answer = await fetch(`${base}/login`, { method: 'POST', redirect: 'manual', body, headers: { cookie: cookies(form), origin: base } });
  return { cookie: cookies(answer) };
}

/**
 * Returns what axe says is wrong with the page, one text for each node. Its timers stand still in a page without scripts, so
 * it examines the document of such a page in `twin`, a page of the same size that has them.
 */
export async function accessibilityProblems(page, twin) {
  if (!twin) return violations(page);
  const html = (await page.content()).replace(/<script\b[^>]*><\/script>/g, '').replace(/<(\/?)noscript>/g, '<$1div>');
  await twin.route(page.url(), (route) => route.fulfill({ contentType: 'text/html; charset=utf-8', body: html }), { times: 1 });
  await twin.goto(page.url());
  return violations(twin);
}

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => (await axe.run(document, { resultTypes: ['violations'] })).violations);
  return found.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 160)}`));
}
