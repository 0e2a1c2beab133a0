// What operators change, by clicks, with scripts and without: pause, redeliver, redrive, reset, test, try, shadow and promote.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, openPage } from './support/browser.mjs';
import { furnishedWorld } from './support/furnished.mjs';
import { until } from './support/processes.mjs';
import { UPDATED } from './support/world.mjs';

let world;
let browser;

before(async () => {
  browser = await launch();
  world = await furnishedWorld();
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

const path = (id) => encodeURIComponent(id);
const subscription = (id) => world.router.admin('GET', `/subscriptions/${path(id)}`);
const total = async (list) => (await world.router.admin('GET', list)).items.length;

/** Runs an action with scripts and without, each on a page of its own. */
function action(name, act) {
  for (const scripts of [true, false]) {
    test(`${name}, ${scripts ? 'with' : 'without'} scripts`, async () => {
      const { page, wrong, close } = await openPage(browser, world.base, { scripts });
      try {
        const press = (label) => page.getByRole('button', { name: label }).first().click();
        const says = (text) => page.locator('main').getByText(text).first().waitFor();
        const open = (target) => page.goto(world.base + target);
        await act({ page, press, says, open, scripts });
        assert.deepEqual(wrong, []);
      } catch (error) {
        throw new Error(`${error.message}\nat ${page.url()}:\n${await page.locator('main').innerText().catch(() => '')}`, { cause: error });
      } finally {
        await close();
      }
    });
  }
}

action('pause and resume a subscription', async ({ page, press, says, open }) => {
  const id = 'acme-assigner/created';
  await open('/subscriptions?q=created&installation=acme-assigner');
  await page.getByRole('link', { name: id }).click();
  await press('Pause');
  await says('Paused. Matches are kept');
  assert.equal((await subscription(id)).state, 'paused');
  await press('Resume');
  await says('Resumed. What waited is delivered now.');
  assert.equal((await subscription(id)).state, 'active');
});

action('redeliver a delivery', async ({ page, press, says, open }) => {
  const before = world.handlers.received('/assigner/hook');
  await open('/deliveries?subscription=acme-assigner%2Furgent&outcome=delivered');
  await page.locator('main tbody a').first().click();
  await press('Redeliver');
  await says('A new delivery was started');
  await until(() => world.handlers.received('/assigner/hook') === before + 1, 'the handler receives it again');
});

action('redrive dead letters after their number is shown', async ({ page, press, says, open }) => {
  const list = '/dlq?subscription=acme-reporter%2Fweekly&limit=200';
  world.handlers.answer('/reporter/hook', { status: 404 });
  const present = await total(list);
  for (let number = 0; number < 4; number++) await world.event('acme', `OPS-${500 + number}`);
  await until(async () => (await total(list)) === present + 4, 'four more are dead');
  world.handlers.answer('/reporter/hook', { status: 204 });
  const before = world.handlers.received('/reporter/hook');
  await open('/dead-letters');
  await page.getByLabel('Subscription', { exact: true }).fill('acme-reporter/weekly');
  await press('Show');
  await press(/^Redrive these/);
  await says('Back without a change');
  assert.equal(await total(list), present + 4, 'the plan changes nothing');
  await press(`Redrive ${present + 4} deliveries`);
  await says('The redrive was started');
  await until(async () => (await total(list)) === 0, 'they leave the dead letters');
  assert.equal(world.handlers.received('/reporter/hook'), before + present + 4);
});

action('try a stopped endpoint again', async ({ page, press, says, open }) => {
  world.handlers.answer('/mirror/hook', { status: 500 });
  const endpoint = () => world.router.admin('GET', `/endpoints/${path(world.ids.endpoint)}`);
  for (let number = 0; number < 12; number++) await world.event('globex', `OPS-${600 + number}`);
  await until(async () => (await endpoint()).state === 'open', 'the endpoint is stopped');
  world.handlers.answer('/mirror/hook', { status: 204 });
  await open('/endpoints?state=open&installation=globex-mirror');
  await page.locator('main tbody a').first().click();
  await press('Try it now');
  await says('The breaker is reset');
  await world.event('globex', 'OPS-650');
  await until(async () => (await endpoint()).state === 'closed', 'it delivers');
});

action('test an endpoint', async ({ page, press, says, open }) => {
  await open('/endpoints?installation=acme-notifier');
  await page.locator('main tbody a').first().click();
  await press('Send a test');
  await says('The endpoint accepted the test');
  world.handlers.answer('/notifier/hook', { status: 500, text: 'out of paper' });
  await page.getByRole('link', { name: 'Back to the endpoint' }).click();
  await press('Send a test');
  await says('The endpoint did not accept the test');
  await says('out of paper');
  world.handlers.answer('/notifier/hook', { status: 204 });
});

action('try a filter', async ({ page, press, says, open, scripts }) => {
  await open('/try');
  const filter = page.getByLabel('Filter', { exact: true });
  await filter.fill("event.issue.fields.priority.name = 'High'");
  if (!scripts) await press('Try');
  await says('The filter has mistakes');
  await says('compare with');
  await filter.fill("event.issue.fields.project.key == 'NONE'");
  if (scripts) await says('The filter is valid');
  await press('Try');
  await says('does not match');
  const event = page.getByLabel('Event', { exact: true });
  await event.fill('{"issue": {"fields": {"project": {"key": "NONE"}}}}');
  await press('Try');
  await says('matches: the event would be delivered');
});

action('try an event on a subscription', async ({ page, press, says, open }) => {
  await open('/subscriptions/acme-assigner%2Furgent');
  await page.getByRole('link', { name: 'Try an event' }).click();
  await page.getByLabel('Event', { exact: true }).fill('{"issue": {"fields": {"priority": {"name": "Low"}, "project": {"key": "OPS"}}}}');
  await press('Try');
  await says('would not be delivered');
  await says('Low');
});

action('set, promote and roll back a shadow filter', async ({ page, press, says, open }) => {
  const id = 'acme-assigner/not-own';
  const before = (await subscription(id)).events[0].expression;
  const expression = "event.issue.fields.project.key == 'WEB'";
  await open(`/subscriptions/${path(id)}?tab=shadow`);
  await page.getByLabel('Shadow filter').fill(expression);
  await press('Set the shadow filter');
  await says('The shadow filter is counted from now on');
  await world.event('acme', 'WEB-700');
  await until(async () => (await world.router.admin('GET', `/subscriptions/${path(id)}/shadow`)).gained > 0, 'the shadow counts');
  await page.reload();
  await says('only the shadow filter delivers');
  await press('Promote');
  await says('The shadow filter delivers now');
  assert.equal((await subscription(id)).events[0].expression, expression);
  await page.getByRole('link', { name: 'Shadow filter' }).click();
  await press('Roll back');
  await says('delivers again');
  assert.equal((await subscription(id)).events[0].expression, before);
  // As it was, for the other run.
  await world.router.admin('DELETE', `/subscriptions/${path(id)}/shadow`).catch(() => {});
});

action('delete a dead letter', async ({ page, press, says, open }) => {
  world.handlers.answer('/reporter/hook', { status: 404 });
  await world.event('acme', 'OPS-800');
  await until(async () => (await total('/dlq')) > 0, 'it is dead');
  await open('/dead-letters');
  const before = await total('/dlq');
  await page.locator('main tbody a').first().click();
  await press('Delete this one');
  await says('Deleted.');
  assert.equal(await total('/dlq'), before - 1);
});

action('follow events live', async ({ page, press, says, open, scripts }) => {
  await open('/live');
  if (!scripts) {
    // Playwright finds no elements within noscript, though Chromium shows them.
    assert.match(await page.locator('main').innerText(), /Live views need scripts.*switchyard tail/s);
    return;
  }
  await says('connected');
  await world.event('acme', 'OPS-900', { type: UPDATED });
  await page.locator('#feed a', { hasText: 'OPS-900' }).first().waitFor();
  await press('Pause');
  await world.event('acme', 'OPS-901', { type: UPDATED });
  await says(/paused, \d+ not shown/);
  await press('Go on');
  await page.locator('#feed a[href^="/events/"]', { hasText: 'OPS-900' }).first().click();
  await says('What every subscription decided');
});

action('create, rotate and remove a token', async ({ page, press, says, open, scripts }) => {
  const name = scripts ? 'ana' : 'bob';
  await open('/access');
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByLabel('May', { exact: true }).selectOption('operate');
  await press('Create the token');
  await says(/Copy the token/);
  const first = await page.locator('main pre').innerText();
  const status = async (token) =>
    (await world.router.exchange('GET', '/admin/v1/subscriptions', undefined, { authorization: `Bearer ${token}` })).status;
  assert.equal(await status(first), 200);
  await open('/access');
  await press(`Rotate ${name}`);
  await says(/Copy the token/);
  const second = await page.locator('main pre').innerText();
  assert.deepEqual([await status(first), await status(second)], [401, 200]);
  await open('/access');
  await press(`Remove ${name}`);
  await says('The token was removed');
  assert.equal(await status(second), 401);
  await open('/audit');
  await says(name);
});
