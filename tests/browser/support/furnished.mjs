// A world with something of every kind, as two sites have it on a day when some things fail.
import { until } from './processes.mjs';
import { CREATED, UPDATED, World } from './world.mjs';

const SETTINGS = {
  DELIVERY__TIMEOUT_MS: 500,
  DELIVERY__PARK_AFTER_MS: 500,
  // What fails stays parked while the tests look at it.
  DELIVERY__RETRY_SCHEDULE_S: 3600,
  DELIVERY__RETRY_JITTER: 0,
  INGEST__JIRA__ACME__SECRET: 'of the webhooks of acme: 0123456789',
};
const EVENTS = 30;
// So many failures in a row stop an endpoint.
const FAILURES_TO_STOP = 10;

/** Starts the world; `world.ids` names one of each kind, as the paths of pages need it. */
export async function furnishedWorld() {
  const world = await World.start(SETTINGS);
  try {
    await register(world);
    await happen(world);
    world.ids = await ids(world);
  } catch (error) {
    await world.stop();
    throw error;
  }
  return world;
}

async function register(world) {
  await world.app('assigner', 'hook');
  await world.app('notifier', 'hook');
  await world.app('reporter', 'hook');
  await world.app('mirror', 'hook');
  await world.app('calendar', 'hook');
  world.handlers.answer('/reporter/hook', { status: 404, text: 'no such board' });
  world.handlers.answer('/mirror/hook', { status: 500, text: 'database is locked' });
  world.handlers.answer('/calendar/hook', { never: true });
  world.handlers.answer('/notifier/hook', { afterMs: 120 });
  await world.install('acme-assigner', 'assigner', 'acme');
  await world.install('acme-notifier', 'notifier', 'acme');
  await world.install('acme-reporter', 'reporter', 'acme');
  await world.install('globex-mirror', 'mirror', 'globex');
  await world.install('globex-calendar', 'calendar', 'globex', { environment: 'STAGING' });
  await world.install('globex-assigner', 'assigner', 'globex', { state: 'disabled' });

  const urgent = "event.issue.fields.priority.name == 'High' && event.issue.fields.project.key == 'OPS'";
  await world.trigger('acme-assigner', 'urgent', 'hook', [CREATED, UPDATED], urgent);
  await world.trigger('acme-assigner', 'created', 'hook', CREATED);
  await world.trigger('acme-assigner', 'not-own', 'hook', UPDATED, { ignoreSelf: true, expression: "event.issue.fields.project.key == 'OPS'" });
  await world.trigger('acme-assigner', 'paused', 'hook', UPDATED, "event.issue.fields.project.key == 'WEB'");
  await world.trigger('acme-notifier', 'all', 'hook', [CREATED, UPDATED]);
  await world.trigger('acme-notifier', 'misspelt', 'hook', UPDATED, "event.issue.fields.priorty.name == 'High'");
  await world.trigger('acme-notifier', 'assigned', 'hook', UPDATED, "event.issue.fields.assignee.displayName == 'Ana'");
  await world.trigger('acme-reporter', 'weekly', 'hook', UPDATED, "event.issue.fields.project.key == 'OPS'");
  await world.trigger('globex-mirror', 'all', 'hook', [CREATED, UPDATED]);
  await world.trigger('globex-calendar', 'due', 'hook', UPDATED, "event.issue.fields.status.name != 'Done'");
  await world.act('acme-assigner/paused', 'pause');
  const wider = { filter: { expression: "event.issue.fields.priority.name == 'High'" } };
  await world.router.admin('PUT', `/subscriptions/${encodeURIComponent('acme-assigner/urgent')}/shadow`, wider);
  // A second revision, for the comparison of revisions.
  await world.trigger('acme-notifier', 'all', 'hook', [CREATED, UPDATED], "event.issue.fields.project.key != 'TEST'");
}

async function happen(world) {
  for (let number = 1; number <= EVENTS; number++) {
    const project = ['OPS', 'WEB', 'OPS'][number % 3];
    const fields = number % 5 ? { assignee: { displayName: 'Ana' } } : { assignee: null };
    const type = number % 4 ? UPDATED : CREATED;
    await world.event('acme', `${project}-${number}`, { type, fields, origin: number % 6 ? 'another' : 'assigner' });
    if (number <= FAILURES_TO_STOP + 5) await world.event('globex', `${project}-${number}`);
  }
  for (let number = 0; number < 3; number++) {
    await world.router.exchange('POST', '/ingest/jira/acme', { webhookEvent: 'jira:issue_updated' });
  }
  await world.routed();
  const failing = async (installation) => (await items(world, `/endpoints?installation=${installation}&state=open`)).length;
  await until(async () => (await failing('globex-mirror')) && (await failing('globex-calendar')), 'two endpoints are stopped');
  await until(async () => (await items(world, '/dlq')).length >= 10, 'there are dead letters');
  const [letter] = await items(world, '/dlq');
  await world.router.admin('POST', '/dlq/redrive', { ids: [letter.id] });
  await until(async () => (await items(world, '/dlq/redrives')).every((job) => job.state === 'done'), 'the redrive is done');
}

async function items(world, path) {
  return (await world.router.admin('GET', path)).items;
}

async function ids(world) {
  const deliveries = await items(world, '/deliveries?subscription=acme-reporter%2Fweekly');
  const [endpoint] = await items(world, '/endpoints?installation=globex-mirror');
  // Not the one that was redriven, the newest.
  const letter = (await items(world, '/dlq?subscription=acme-reporter%2Fweekly')).at(-1);
  const revisions = await items(world, `/subscriptions/${encodeURIComponent('acme-notifier/all')}/revisions`);
  return {
    subscription: 'acme-notifier/all', shadowed: 'acme-assigner/urgent', failing: 'acme-notifier/misspelt',
    revision: revisions[0].id, event: 'acme/event-1', delivery: deliveries[0].id, endpoint: endpoint.id,
    letter: letter.id, site: 'acme', installation: 'acme-assigner', code: 'SY-3002',
  };
}
