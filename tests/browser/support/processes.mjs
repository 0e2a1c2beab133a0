// Real processes: a nats-server and a router, with free ports and folders of their own. Ended by their process id.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const ADMIN_TOKEN = 'browser-admin-token-0123456789abcdef';
const ROUTER = path.resolve(ROOT, process.env.SWITCHYARD_BINARY ?? 'target/debug/switchyard');
const NATS_SERVER = process.env.NATS_SERVER ?? path.join(ROOT, '.tools/nats/bin/nats-server');
const WAIT_MS = 60_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition()` has a value, and returns it. What it throws counts as no value, and is the cause of the error at the end. */
export async function until(condition, what, waitMs = WAIT_MS) {
  const deadline = Date.now() + waitMs;
  for (;;) {
    let last;
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${waitMs} ms: ${what}`, { cause: last });
    await sleep(50);
  }
}

// What is started ends with this program, also when the program is ended.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function start(program, parameters, options) {
  const child = spawn(program, parameters, options);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

async function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exit;
}

export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'switchyard-browser-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A nats-server with its data in `folder`. */
export class Broker {
  static async start(folder) {
    if (!existsSync(NATS_SERVER)) throw new Error(`${NATS_SERVER} is missing; run: make tools`);
    const broker = new Broker();
    const config = path.join(folder, 'nats.conf');
    const store = path.join(folder, 'js');
    writeFileSync(config, `server_name: solo\nmax_payload: 2MB\njetstream { store_dir: "${store}", max_mem: 1G, max_file: 16G }\n`);
    broker.child = start(NATS_SERVER, ['-c', config, '-a', '127.0.0.1', '-p', '-1', '--ports_file_dir', folder], { stdio: 'ignore' });
    const ports = path.join(folder, `nats-server_${broker.child.pid}.ports`);
    const url = await until(() => JSON.parse(readFileSync(ports, 'utf8')).nats?.[0], 'the broker writes its port');
    broker.port = Number(url.split(':').pop());
    return broker;
  }

  signal(name) {
    process.kill(this.child.pid, name);
  }

  async stop() {
    await ended(this.child);
  }
}

/** A router: `switchyard serve` with an admin token. */
export class Router {
  static async start(broker, folder, settings = {}) {
    if (!existsSync(ROUTER)) throw new Error(`${ROUTER} is missing; run: cargo build`);
    const router = new Router();
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SWITCHYARD_'));
    const given = Object.entries(settings).map(([name, value]) => [`SWITCHYARD_${name}`, String(value)]);
    router.child = start(
      ROUTER,
      ['serve', '--listen', '127.0.0.1:0', '--nats-url', `nats://127.0.0.1:${broker.port}`, '--data-dir', folder],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: {
          ...Object.fromEntries(inherited),
          SWITCHYARD_ADMIN_TOKEN: ADMIN_TOKEN,
          SWITCHYARD_DELIVERY__ALLOW_HTTP: 'true',
          SWITCHYARD_DELIVERY__ALLOW_CIDRS: '127.0.0.0/8',
          SWITCHYARD_DELIVERY__ALLOW_PORTS: 'any',
          SWITCHYARD_LOG__FILTER: 'off',
          ...Object.fromEntries(given),
        },
      },
    );
    const lines = readline.createInterface({ input: router.child.stdout });
    const first = await new Promise((resolve) => {
      lines.once('line', resolve);
      router.child.once('exit', (code) => resolve(`the router ended with ${code}`));
    });
    if (!first.startsWith('listening on http://')) throw new Error(`the router does not start: ${first}`);
    router.base = first.slice('listening on '.length).trim();
    await until(async () => (await fetch(`${router.base}/healthz/ready`)).ok, 'the router is ready');
    return router;
  }

  /** Sends a request; returns its status and its text. */
  async exchange(method, target, body, headers = {}) {
    const answer = await fetch(this.base + target, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: answer.status, text: await answer.text() };
  }

  /** Returns the JSON of a successful answer of the operator API. */
  async admin(method, target, body) {
    const { status, text } = await this.exchange(method, `/admin/v1${target}`, body, { authorization: `Bearer ${ADMIN_TOKEN}` });
    if (status >= 300) throw new Error(`${method} ${target}: ${status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  async stop() {
    await ended(this.child);
  }
}

/** A small file system for a broker that is to have a full disk. */
export class SmallDisk {
  /** Mounts one; fails if neither this user nor `sudo` may. */
  static mount(folder, size) {
    mkdirSync(folder);
    const options = ['mount', '-t', 'tmpfs', '-o', `size=${size},mode=1777`, 'tmpfs', folder];
    const prefix = [[], ['sudo', '-n']].find((root) => isDone([...root, ...options]));
    if (!prefix) throw new Error('neither `mount` nor `sudo -n mount` may mount a tmpfs');
    return { unmount: () => isDone([...prefix, 'umount', '-l', folder]) };
  }
}

function isDone([program, ...args]) {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
