// Measures the pages of the console of a large router: 10,000 subscriptions, 1,000 sites, a million records in the delivery
// log. `scale.mjs [--record FILE] [--subscriptions N] [--sites N] [--records N]` prints p50 and p95 of each page.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { headers } from './support/browser.mjs';
import { PAGES, pathOf } from './support/pages.mjs';
import { storeRecords } from './support/record.mjs';
import { CREATED, UPDATED, World } from './support/world.mjs';

const SAMPLES = 40;
const GOAL_MS = 200;
const EVENTS = 2_000;
const AT_A_TIME = 16;

const { values } = parseArgs({
  options: {
    record: { type: 'string' }, subscriptions: { type: 'string', default: '10000' }, sites: { type: 'string', default: '1000' },
    records: { type: 'string', default: '1000000' },
  },
});
const [subscriptions, sites, records] = ['subscriptions', 'sites', 'records'].map((name) => Number(values[name]));

/** Runs `work` for each number below `count`, some at a time. */
async function forEach(count, work) {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

async function fill(world) {
  await world.app('app', 'hook');
  await world.app('rejecting', 'hook');
  world.handlers.answer('/rejecting/hook', { status: 404 });
  await forEach(sites, (site) => world.install(`inst-${site}`, 'app', `site-${site}`));
  const each = Math.ceil(subscriptions / sites);
  await forEach(sites * each, (number) => {
    const filter = `event.issue.fields.project.key == 'P${number % 500}' && event.issue.fields.priority.name == 'High'`;
    return world.trigger(`inst-${Math.floor(number / each)}`, `key-${number % each}`, 'hook', [CREATED, UPDATED], filter);
  });
  await world.install('inst-rejecting', 'rejecting', 'site-0');
  await world.trigger('inst-rejecting', 'all', 'hook', UPDATED);
  await forEach(EVENTS, (number) => world.event(`site-${(number * 7) % sites}`, `OPS-${number}`));
  await world.event('site-0', 'OPS-1', { id: 'measured' });
  await world.routed();
  await storeRecords(world.nats, records, sites);
}

async function ids(world) {
  const first = async (target) => (await world.router.admin('GET', target)).items[0];
  const subscription = 'inst-0/key-0';
  const revisions = await first(`/subscriptions/${encodeURIComponent(subscription)}/revisions`);
  return {
    subscription, failing: 'inst-rejecting/all', shadowed: 'inst-0/key-1', revision: revisions.id, event: 'site-0/measured',
    delivery: (await first('/deliveries?subscription=inst-rejecting%2Fall')).id, endpoint: (await first('/endpoints?installation=inst-0')).id,
    letter: (await first('/dlq')).id, site: 'site-0', installation: 'inst-0', code: 'SY-3002',
  };
}

async function measure(world, target) {
  const times = [];
  let status = 0;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = performance.now();
    const answer = await fetch(world.base + target, { headers: world.headers });
    await answer.text();
    times.push(performance.now() - start);
    status = answer.status;
  }
  times.sort((one, other) => one - other);
  return { status, p50: times[Math.floor(SAMPLES * 0.5)], p95: times[Math.floor(SAMPLES * 0.95)] };
}

const world = await World.start({ LIMITS__REGISTRATION_RATE: 100_000, LIMITS__REGISTRATION_BURST: 100_000 });
try {
  const began = performance.now();
  await fill(world);
  console.log(`filled in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  world.ids = await ids(world);
  world.headers = await headers(world.base);
  const extra = ['/subscriptions?q=key-3', '/subscriptions?site=site-7', '/deliveries?site=site-7', '/deliveries?entity=OPS-7&site=site-7',
    '/deliveries?outcome=failed', '/sites?q=site-99', '/installations?q=inst-99'];
  const targets = [...PAGES.map((page) => [page.path, pathOf(page, world.ids)]), ...extra.map((target) => [target, target])];
  const lines = ['| page | p50 ms | p95 ms | |', '|---|---:|---:|---|'];
  for (const [name, target] of targets) {
    const { status, p50, p95 } = await measure(world, target);
    const note = [status === 200 ? '' : `status ${status}`, p95 > GOAL_MS ? `over ${GOAL_MS}` : ''].filter(Boolean).join(', ');
    lines.push(`| \`${name}\` | ${p50.toFixed(1)} | ${p95.toFixed(1)} | ${note} |`);
    console.log(lines.at(-1));
  }
  if (values.record) {
    const day = new Date().toISOString().slice(0, 10);
    const about = `${subscriptions} subscriptions, ${sites} sites, ${records} records in the delivery log, ${EVENTS} events; each page ${SAMPLES} times.`;
    mkdirSync(path.dirname(values.record), { recursive: true });
    writeFileSync(values.record, `# Pages of the console, ${day}\n\n${about}\n\n${lines.join('\n')}\n`);
  }
} finally {
  await world.stop();
}
