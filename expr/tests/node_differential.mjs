// Compares the filter language with Node, where the two languages agree; run by hand.
//
//     node expr/tests/node_differential.mjs --binary target/release/switchyard
//          [--filters 1000] [--events 400] [--per-filter 20] [--seeds 1,2,3]
//
// Generates filters and events, evaluates each filter on a sample of the events in Node, and lets
// `switchyard test --cases` check the results of Node. Exit status 0 when nothing differs.
//
// The languages do not agree everywhere, so that the source is prepared for Node: `==` never
// converts (`===`, save with null), and ordering null is an error. Excluded and counted are filters
// with `typeof` or block bodies, and what Node throws after `?.`, which ends a chain here.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: {
  binary: { type: 'string' },
  filters: { type: 'string', default: '1000' },
  events: { type: 'string', default: '400' },
  'per-filter': { type: 'string', default: '20' },
  seeds: { type: 'string', default: '1,2,3' },
} });
const TOOLS = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'tests', 'tools');
const CASES_A_RUN = 4000;
const SHOWN = 10;

const generate = (script, ...more) => execFileSync('python3', [join(TOOLS, script), ...more],
  { encoding: 'utf8', maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'ignore'] })
  .split('\n').filter(Boolean).map((line) => JSON.parse(line));

class Unordered extends Error {}

// Ordering as this language has it: two Numbers or two Strings, or an error.
function ordered(left, sign, right) {
  const fits = typeof left === typeof right && ['number', 'string'].includes(typeof left);
  if (!fits) throw new Unordered();
  return sign === '<' ? left < right : sign === '>' ? left > right : sign === '<=' ? left <= right : left >= right;
}

const STRING = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g;
const CHAIN = String.raw`[\w$]+(?:\?\.\[?|\.|\[|\]|[\w$]|\(\)|§\d+§)*`;
const OPERAND = String.raw`${CHAIN}(?:\s*[*/%+-]\s*${CHAIN})*`;

// The source as Node must read it to mean the same.
function prepared(source) {
  const texts = [];
  let code = source.replace(STRING, (text) => `§${texts.push(text) - 1}§`);
  code = code.replace(/==(?!\s*null)/g, '===').replace(/!=(?!\s*null)/g, '!==');
  code = code.replace(/null\s*===/g, 'null ==').replace(/null\s*!==/g, 'null !=');
  const comparison = new RegExp(String.raw`(${OPERAND})\s*(<=|>=|<|(?<!=)>)\s*(-?[\w.§]+)`, 'g');
  code = code.replace(comparison, (_, left, sign, right) => `ordered(${left}, '${sign}', ${right})`);
  return code.replace(/§(\d+)§/g, (_, at) => texts[at]);
}

const EXCLUDED = [/\btypeof\b/, /=>\s*\{/];

// What Node makes of a filter on an event, as a case expects it; undefined where it does not know.
function expectation(source, code, event) {
  try {
    // The value of the last statement, as the value of a sequence is here.
    const value = new Function('event', 'ordered', 'code', 'return eval(code)')(event, ordered, code);
    return { value: value ?? null };
  } catch (error) {
    if (error instanceof Unordered) return { error: 'type' };
    if (error instanceof TypeError && /^Cannot read properties of/.test(error.message)) {
      return /\?\./.test(source) ? undefined : { error: 'runtime' };
    }
    if (error instanceof TypeError) return { error: 'type' };
    if (error instanceof SyntaxError) throw new Error(`Node cannot read ${code}: ${error.message}`);
    return { error: 'runtime' };
  }
}

function run(cases, folder) {
  const file = join(folder, 'cases.json');
  let failed = 0;
  for (let at = 0; at < cases.length; at += CASES_A_RUN) {
    writeFileSync(file, JSON.stringify(cases.slice(at, at + CASES_A_RUN)));
    const done = spawnSync(options.binary, ['test', '--cases', file], { encoding: 'utf8', maxBuffer: 1 << 28 });
    if (done.status !== 0 && done.status !== 1) throw new Error(done.stderr);
    for (const line of done.stdout.split('\n').filter((line) => line.startsWith('FAIL'))) {
      if (failed++ < SHOWN) {
        const found = cases.find(({ id }) => line.startsWith(`FAIL ${id}:`));
        console.log(`${line}\n  ${found?.expr}`);
      }
    }
  }
  return failed;
}

let differences = 0;
for (const seed of options.seeds.split(',')) {
  const world = ['--seed', seed, '--tenants', '20'];
  const events = generate('gen_events.py', '--n', options.events, '--profile', 'thin', ...world)
    .map((line) => line.data ?? line);
  const expressions = generate('gen_filters.py', '--n', options.filters, '--sample', '200', ...world)
    .flatMap(({ data }) => [data.filter, ...data.events.map((event) => event.filter)])
    .map((filter) => filter?.expression).filter(Boolean);
  const unique = [...new Set(expressions)];
  const [filters, excluded] = [true, false].map((kept) =>
    unique.filter((source) => EXCLUDED.some((form) => form.test(source)) !== kept));
  const cases = [];
  let unclear = 0;
  const outcomes = { true: 0, false: 0, error: 0, other: 0 };
  filters.forEach((source, nth) => {
    const code = prepared(source);
    for (let k = 0; k < Number(options['per-filter']); k++) {
      const at = (nth * 7 + k * 13) % events.length;
      const expect = expectation(source, code, events[at]);
      if (expect === undefined) { unclear++; continue; }
      const kind = expect.error ? 'error' : typeof expect.value === 'boolean' ? String(expect.value) : 'other';
      outcomes[kind]++;
      cases.push({ id: `${seed}-${nth}-${at}`, expr: source, context: { event: events[at] }, expect });
    }
  });
  const folder = mkdtempSync(join(tmpdir(), 'differential-'));
  const failed = run(cases, folder);
  rmSync(folder, { recursive: true });
  differences += failed;
  console.log(`seed ${seed}: ${filters.length} filters, ${cases.length} evaluations `
    + `(${Object.entries(outcomes).map(([name, count]) => `${count} ${name}`).join(', ')}), `
    + `${failed} differences; excluded ${excluded.length} filters, ${unclear} evaluations`);
}
process.exit(differences ? 1 : 0);
