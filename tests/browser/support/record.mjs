// Records of the delivery log as a router writes them, published to its stream directly: a million in a minute.
import { sleep } from './processes.mjs';

const BUCKETS = 64n;
const CHUNK = 50_000;
// One in so many is a failure.
const FAILED_EVERY = 50;
const ENTITIES = 5_000;

/** Where record `number` is: sites, subscriptions and entities in no order, the same in each run. */
function place(number, sites) {
  const mixed = Math.imul(number, 0x9e3779b1) >>> 4;
  return { site: `site-${mixed % sites}`, key: `key-${mixed % 7}`, entity: `OPS-${(mixed >>> 10) % ENTITIES}` };
}

/** The bucket of an entity, which is a part of the subject: FNV-1a as in `delivery::bucket`. */
function bucket(entity) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(entity)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return String((hash ^ (hash >> 32n)) % BUCKETS).padStart(2, '0');
}

/** Stores `count` records of the last hours, and waits until the stream has them. */
export async function storeRecords(nats, count, sites) {
  const buckets = new Map();
  const state = async () => (await nats.request('$JS.API.STREAM.INFO.SW_ATTEMPTS')).state.messages;
  const present = await state();
  const start = Date.now() - 3_600_000;
  for (let number = 0; number < count; number++) {
    const { site, key, entity } = place(number, sites);
    if (!buckets.has(entity)) buckets.set(entity, bucket(entity));
    const isFailed = number % FAILED_EVERY === 0;
    const time = start + Math.floor((number / count) * 3_500_000);
    const outcome = isFailed
      ? '"outcome":"dead","why":"rejected_4xx","attempt":1,"class":"4xx","status":404,"blame":"receiver","took_ms":12.3'
      : '"outcome":"delivered","attempt":1,"class":"2xx","status":204,"took_ms":12.3,"phases_ms":{"queue":0.1,"first_byte":11.9}';
    const record = `{"v":1,"event":{"id":"record-${number}","site":"${site}","type":"avi:jira:updated:issue","entity":"${entity}",` +
      `"sequence":${number + 1},"stored_ms":${time}},"router":"0123456789ab","started_ms":${time},"source":"event","deliveries":[` +
      `{"installation":"inst-${site.slice(5)}","key":"${key}","revision":7,"from":"new",${outcome}}]}`;
    await nats.publish(`sw.att.${isFailed ? 'failed' : 'ok'}.${site}.${buckets.get(entity)}`, record);
    if ((number + 1) % CHUNK === 0 || number + 1 === count) {
      while ((await state()) < present + number + 1) await sleep(20);
    }
  }
}
