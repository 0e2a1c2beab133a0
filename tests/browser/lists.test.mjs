// Search and paging of every list: what the URL asks for is shown, and the next pages have the rest, each entry once.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, openPage } from './support/browser.mjs';
import { until } from './support/processes.mjs';
import { UPDATED, World } from './support/world.mjs';

// More than a page of 50 has.
const COUNT = 60;
const name = (number) => `tenant-${String(number).padStart(2, '0')}`;

let world;
let browser;
let opened;

before(async () => {
  browser = await launch();
  world = await World.start({ DELIVERY__RETRY_SCHEDULE_S: 3600, LIMITS__REGISTRATION_BURST: 10_000 });
  for (let number = 0; number < COUNT; number++) {
    await world.app(name(number), 'hook');
    world.handlers.answer(`/${name(number)}/hook`, { status: 404 });
    await world.install(name(number), name(number), `site-${name(number)}`);
    await world.trigger(name(number), 'updated', 'hook', UPDATED);
    await world.event(`site-${name(number)}`, `OPS-${100 + number}`);
  }
  await until(async () => (await world.router.admin('GET', '/dlq?limit=200')).items.length === COUNT, 'every delivery is dead');
  opened = await openPage(browser, world.base, { scripts: false });
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

/** Searches: the labels of fields with what is written there, the number of entries then, and the parameters of the URL. */
const LISTS = [
  { path: '/subscriptions', search: { Search: 'tenant-07' }, url: 'q=tenant-07', found: 1, text: 'tenant-07/updated' },
  { path: '/events', search: { 'Issue or page': 'OPS-107' }, url: 'entity=OPS-107', found: 1, text: 'OPS-107' },
  { path: '/deliveries', search: { Subscription: 'tenant-07/updated' }, url: 'subscription=tenant-07%2Fupdated', found: 1, text: 'OPS-107' },
  { path: '/dead-letters', search: { Site: 'site-tenant-07' }, url: 'site=site-tenant-07', found: 1, text: 'tenant-07/updated' },
  { path: '/endpoints', search: { Installation: 'tenant-07' }, url: 'installation=tenant-07', found: 1, text: '/tenant-07/hook' },
  { path: '/installations', search: { Search: 'tenant-07' }, url: 'q=tenant-07', found: 1, text: 'tenant-07' },
  { path: '/sites', search: { Search: 'tenant-07' }, url: 'q=tenant-07', found: 1, text: 'site-tenant-07' },
];

for (const list of LISTS) {
  test(`${list.path} is searched, and paged to its end`, async () => {
    const { page, wrong } = opened;
    wrong.length = 0;
    await page.goto(world.base + list.path);
    const seen = new Set();
    let pages = 0;
    for (;;) {
      const links = await page.locator('main tbody tr > :first-child a').evaluateAll((all) => all.map((link) => link.href));
      links.forEach((link) => assert.ok(!seen.has(link), `${link} is on two pages`) || seen.add(link));
      const next = page.getByRole('link', { name: 'Next page' });
      pages++;
      if (!(await next.count())) break;
      await next.click();
    }
    assert.ok(pages > 1, 'there are several pages');
    assert.equal(seen.size, COUNT, 'all entries are shown');
    await page.getByRole('link', { name: 'First page' }).click();
    assert.equal(new URL(page.url()).search, '');

    for (const [label, text] of Object.entries(list.search)) await page.getByLabel(label, { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Show' }).click();
    assert.ok(page.url().includes(list.url), page.url());
    const rows = page.locator('main tbody tr');
    assert.equal(await rows.count(), list.found);
    assert.ok((await rows.first().innerText()).includes(list.text));
    await page.reload();
    assert.equal(await rows.count(), list.found, 'the URL is a permalink');
    await page.getByRole('link', { name: 'Clear' }).click();
    assert.equal(await rows.count(), 50);
    assert.deepEqual(wrong, []);
  });
}
