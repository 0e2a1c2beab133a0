// The bad day of an operator, by clicks: six incidents, each with a router of its own. The overview names the problem, and
// two clicks later a page has named the culprit and the cause.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { launch, openPage } from './support/browser.mjs';
import { SmallDisk } from './support/processes.mjs';
import { Visit } from './support/visit.mjs';
import { UPDATED, World } from './support/world.mjs';

const CLICKS_MAX = 2;
const SITE = 'acme';

let browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

/** Runs an incident: `cause` makes it happen, `look` finds it by clicks. */
function incident(name, { settings, prepareDisk, cause, look }) {
  test(name, async () => {
    const world = await World.start(settings, { prepareDisk });
    const { page, wrong, close } = await openPage(browser, world.base);
    try {
      await world.app('healthy', 'hook');
      await world.install('healthy', 'healthy', SITE);
      await world.trigger('healthy', 'all', 'hook', UPDATED);
      await cause(world);
      const visit = new Visit(page, world.base);
      await look(visit);
      assert.ok(visit.clicks <= CLICKS_MAX, `${visit.clicks} clicks`);
      assert.deepEqual(wrong, []);
    } finally {
      await close();
      await world.stop();
    }
  });
}

async function culprit(world, name, filter) {
  await world.app(name, 'hook');
  await world.install(name, name, SITE);
  await world.trigger(name, 'urgent', 'hook', UPDATED, filter);
}

async function publish(world, count) {
  for (let number = 0; number < count; number++) await world.event(SITE, `OPS-${number}`);
}

incident('a handler hangs', {
  settings: { DELIVERY__TIMEOUT_MS: 300 },
  async cause(world) {
    await culprit(world, 'hanging');
    world.handlers.answer('/hanging/hook', { never: true });
    await publish(world, 12);
  },
  async look(visit) {
    await visit.begin(/no attempts at .*\/hanging\/hook .*installation hanging.* last cause timeout/i);
    await visit.clickLinkTo('/endpoints/');
    await visit.sees(/stopped after failures.*timeout/i);
  },
});

incident('a filter reads a misspelt field', {
  async cause(world) {
    await culprit(world, 'misspelt', "event.issue.fields.priorty.name == 'High'");
    await publish(world, 5);
  },
  async look(visit) {
    await visit.begin(/misspelt\/urgent: its filter fails/i);
    await visit.clickLinkTo('/subscriptions/misspelt%2Furgent');
    await visit.sees(/Type null does not have any properties.*event\.issue\.fields\.priorty\.name/i);
  },
});

incident('a handler rejects everything', {
  async cause(world) {
    await culprit(world, 'rejecting');
    world.handlers.answer('/rejecting/hook', { status: 404, text: 'no such board' });
    await publish(world, 3);
  },
  async look(visit) {
    await visit.begin(/3 dead letters are stored.*rejecting\/urgent/i);
    await visit.click('link', 'Dead letters');
    await visit.sees(/rejecting\/urgent.*rejected_404/i);
  },
});

incident('a tenant floods its handler', {
  settings: { DELIVERY__CONCURRENCY: 16, DELIVERY__ENDPOINT_CONCURRENCY: 1 },
  async cause(world) {
    await culprit(world, 'flooding');
    world.handlers.answer('/flooding/hook', { afterMs: 5_000 });
    await publish(world, 400);
  },
  async look(visit) {
    await visit.begin(/flooding\/urgent has more deliveries than its share of the attempts takes/i);
    await visit.clickLinkTo('/subscriptions/flooding%2Furgent');
    await visit.sees(/Parked \d/i);
  },
});

for (const [name, stop] of [['SIGSTOP', (world) => world.broker.signal('SIGSTOP')], ['SIGKILL', (world) => world.broker.stop()]]) {
  incident(`the broker stopped by ${name}`, {
    cause: stop,
    async look(visit) {
      await visit.begin(/the broker at .* does not answer/i);
      await visit.click('link', 'Doctor');
      await visit.sees(/the broker at .* does not answer/i);
    },
  });
}

incident('the disk of the broker is full', {
  prepareDisk: (folder) => SmallDisk.mount(folder, '24m'),
  async cause(world) {
    await world.nats.request('$JS.API.STREAM.CREATE.FILLER', JSON.stringify({ name: 'FILLER', subjects: ['filler'], storage: 'file', num_replicas: 1, retention: 'limits' }));
    const text = 'x'.repeat(1 << 20);
    for (let number = 0; number < 64; number++) {
      // A server whose disk is full may not answer at all.
      const silence = new Promise((resolve) => { setTimeout(resolve, 2_000, { error: 'no answer' }).unref(); });
      const answer = await Promise.race([world.nats.request('filler', text), silence]);
      if (answer.error) break;
    }
    assert.throws(() => writeFileSync(path.join(world.brokerFolder, 'rest'), Buffer.alloc(24 << 20)), 'the disk is full');
  },
  async look(visit) {
    await visit.begin(/not confirmed, although the broker answers: the disk of the server .* is full/i);
    await visit.click('link', 'Doctor');
    await visit.sees(/the disk of the server solo is full/i);
  },
});
