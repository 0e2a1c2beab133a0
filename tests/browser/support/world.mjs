// A broker, handlers and a router, and what tests put into them: apps, installations, triggers, events.
import path from 'node:path';

import { Handlers } from './handlers.mjs';
import { Nats } from './nats.mjs';
import { Broker, Router, temporaryFolder, until } from './processes.mjs';

export const CREATED = 'avi:jira:created:issue';
export const UPDATED = 'avi:jira:updated:issue';
const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=';

export class World {
  /** Starts it; `brokerFolder` is where the broker writes, by default a folder of its own. */
  static async start(settings = {}, { prepareDisk } = {}) {
    const world = new World();
    world.temporary = temporaryFolder();
    world.number = 0;
    world.tokens = new Map();
    world.ends = [() => world.temporary.remove()];
    try {
      const disk = prepareDisk?.(path.join(world.temporary.folder, 'disk'));
      if (disk) world.ends.push(() => disk.unmount());
      world.brokerFolder = disk ? path.join(world.temporary.folder, 'disk') : world.temporary.folder;
      world.handlers = await Handlers.start();
      world.ends.push(() => world.handlers.stop());
      world.broker = await Broker.start(world.brokerFolder);
      world.ends.push(() => world.broker.stop());
      world.router = await Router.start(world.broker, path.join(world.temporary.folder, 'router'), settings);
      world.ends.push(() => world.router.stop());
      world.nats = await Nats.connect(world.broker.port);
      world.ends.push(() => world.nats.close());
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async stop() {
    for (const end of this.ends.reverse()) await end();
    this.ends = [];
  }

  get base() {
    return this.router.base;
  }

  /** Puts an app with an endpoint for each of the names; `/<app>/<name>` is its path at the handlers. */
  async app(id, ...endpoints) {
    const endpoint = (key) => ({ key, url: `${this.handlers.url}/${id}/${key}`, secret: SECRET });
    await this.router.admin('PUT', `/apps/${id}`, { kind: 'forge', functions: ['main'], endpoints: endpoints.map(endpoint) });
  }

  async install(id, app, site, more = {}) {
    const body = { app, cloudId: site, product: 'jira', licensed: true, environment: 'PRODUCTION', ...more };
    const { token } = await this.router.admin('PUT', `/installations/${id}`, body);
    this.tokens.set(id, token);
  }

  /** Puts a trigger; `filter` is an expression, an object, or nothing. */
  async trigger(installation, key, endpoint, events, filter) {
    const data = { endpoint, events: [events].flat() };
    if (filter !== undefined) data.filter = typeof filter === 'string' ? { expression: filter } : filter;
    await this.router.admin('PUT', `/installations/${installation}/modules/${key}`, { type: 'trigger', data });
  }

  act(subscription, action, body) {
    return this.router.admin('POST', `/subscriptions/${encodeURIComponent(subscription)}/${action}`, body);
  }

  /** Publishes an event of an issue as a producer on the bus, and waits until it is stored. Returns its id. */
  async event(site, issue, { type = UPDATED, fields = {}, origin = 'another', id = `event-${++this.number}` } = {}) {
    const [project, number] = issue.split('-');
    const body = {
      eventType: type,
      issue: {
        id: String(10_000 + Number(number)), key: issue,
        fields: { summary: `Issue ${issue}`, project: { key: project }, priority: { name: 'High' }, status: { name: 'To Do' }, ...fields },
      },
    };
    await this.nats.store(`sw.in.${site}.${type}.-`, JSON.stringify(body), {
      'Nats-Msg-Id': `${site}/${id}`, 'ce-specversion': '1.0', 'ce-id': id, 'ce-type': type, 'ce-cloudid': site,
      'ce-subject': issue, 'ce-source': `ari:cloud:jira::site/${site}`, 'ce-time': new Date().toISOString(), 'ce-originapp': origin,
    });
    return id;
  }

  /** Waits until every stored event was routed. */
  async routed() {
    await until(async () => {
      const info = await this.nats.request('$JS.API.CONSUMER.INFO.SW_EVENTS.router');
      return info.num_pending + info.num_ack_pending === 0;
    }, 'every event is routed');
  }
}
