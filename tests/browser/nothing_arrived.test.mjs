// "Nothing arrived" for an event of some time ago: five causes, each found within three clicks from the overview, by an
// operator and by an app developer who sees one installation.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, openPage } from './support/browser.mjs';
import { ADMIN_TOKEN, until } from './support/processes.mjs';
import { Visit } from './support/visit.mjs';
import { CREATED, UPDATED, World } from './support/world.mjs';

const CLICKS_MAX = 3;

/** The issue that somebody misses, and what the page says about the subscription that should have got it. */
const CAUSES = [
  { name: 'the filter asks for another project', issue: 'WEB-3', says: /acme\/project.{0,200}project\.key == 'ABC' is false, event\.issue\.fields\.project\.key is "WEB"/ },
  { name: 'the subscription has another event type', issue: 'WEB-3', says: /acme\/created.{0,200}it subscribes to avi:jira:created:issue, not to avi:jira:updated:issue/ },
  { name: 'the event is of another site', issue: 'ABC-7', says: /site-2|no event for ABC-7/, developer: /no event for ABC-7/ },
  { name: 'the app made the change itself', issue: 'ABC-5', says: /acme\/self.{0,200}the app made this change itself/ },
  { name: 'a priority was null', issue: 'ABC-4', says: /acme\/priority.{0,300}event\.issue\.fields\.priority is null/ },
  { name: 'the handler is down', issue: 'ABC-6', says: /acme\/down.{0,200}answered 503/ },
];

let world;
let browser;

before(async () => {
  browser = await launch();
  world = await World.start({ DELIVERY__RETRY_SCHEDULE_S: 3600 });
  await world.app('app', 'hook', 'down');
  await world.app('other', 'hook');
  world.handlers.answer('/app/down', { status: 503 });
  await world.install('acme', 'app', 'site-1');
  await world.install('other', 'other', 'site-1');
  await world.trigger('acme', 'project', 'hook', UPDATED, "event.issue.fields.project.key == 'ABC'");
  await world.trigger('acme', 'created', 'hook', CREATED);
  await world.trigger('acme', 'self', 'hook', UPDATED, { ignoreSelf: true });
  await world.trigger('acme', 'priority', 'hook', UPDATED, "event.issue.fields.priority.name == 'High'");
  await world.trigger('acme', 'down', 'down', UPDATED, "event.issue.key == 'ABC-6'");
  await world.trigger('other', 'secret', 'hook', UPDATED, "event.issue.fields.project.key == 'HIDDEN'");
  await world.event('site-1', 'WEB-3');
  await world.event('site-1', 'ABC-4', { fields: { priority: null } });
  await world.event('site-1', 'ABC-5', { origin: 'app' });
  await world.event('site-1', 'ABC-6');
  await world.event('site-2', 'ABC-7');
  await world.routed();
  await until(async () => (await world.router.admin('GET', '/deliveries?subscription=acme%2Fdown')).items.length, 'the attempt is recorded');
});

after(async () => {
  await browser?.close();
  await world?.stop();
});

/** Looks for the cause with the search of the bar. */
async function look(cause, token, text, mayNotSay) {
  const { page, wrong, close } = await openPage(browser, world.base, { token });
  try {
    const visit = new Visit(page, world.base);
    await visit.begin();
    await visit.find(cause.issue);
    await visit.sees(text);
    assert.ok(visit.clicks <= CLICKS_MAX, `${visit.clicks} clicks`);
    if (mayNotSay) assert.ok(!mayNotSay.test(await page.content()), `the page says ${mayNotSay}`);
    assert.deepEqual(wrong, []);
  } finally {
    await close();
  }
}

for (const cause of CAUSES) {
  test(`${cause.name}, as operator`, () => look(cause, ADMIN_TOKEN, cause.says));

  test(`${cause.name}, as app developer`, async () => {
    const { token } = await world.router.admin('PUT', `/tokens/developer-${CAUSES.indexOf(cause)}`, { scope: 'read', installation: 'acme' });
    await look(cause, token, cause.developer ?? cause.says, /HIDDEN|other\/secret|site-2/);
  });
}
