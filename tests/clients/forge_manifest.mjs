// The vendor's own validation of triggers, @forge/manifest's schema and scope map, against ours: a
// few hundred generated bodies go to both, and every disagreement has a reason in
// oracle/disagreements.json. A reason without a disagreement fails the test, too.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import { bodies } from "./oracle/triggers.mjs";
import { admin, server } from "./server.mjs";

const SEED = 20261121;
const BODIES_EACH = 200;
const SHOWN = 10;
const MODULES = "/forge/installation/v2/dynamic/module:validate";

const require = createRequire(import.meta.url);
const reasons = require("./oracle/disagreements.json");
const { validateEventScopes } = require("@forge/manifest");
// The package exports code only; its data files are read by path.
const readVendor = createRequire(require.resolve("@forge/manifest"));
const schema = readVendor("./schema/manifest-schema.json");
const { mapping } = readVendor("./mapping/product-event-to-scope-mapping.json");

// Configured as the vendor's SchemaValidator, for the trigger only instead of a whole manifest.
const ajv = new Ajv({ allErrors: true, strict: false });
addFormats(ajv);
ajv.addVocabulary(["defaultValue", "fieldDescription", "fieldTitle", "shortClassName"]);
ajv.addSchema(schema, "manifest");
const fits = ajv.getSchema("manifest#/definitions/ModuleSchema/properties/trigger/items");
assert.ok(fits, "the manifest schema has triggers");

const known = mapping.map(({ productEvent }) => productEvent);
const scopesOf = (event) => mapping.find(({ productEvent }) => productEvent === event).oAuthScopes;

// Disagreements are grouped by code and path, without indexes and without generated names.
const UNKNOWN_MEMBER = "SY-2002";
function kind({ code, path = "" }) {
  const member = path.replace(/\[\d+\]/g, "[]");
  return `${code} ${code === UNKNOWN_MEMBER ? member.replace(/[^.]*$/, "*") : member}`;
}

async function vendor(data, scopes) {
  // The server gives a key to a module without one before it is a module.
  if (!fits({ key: "assigned", ...data })) {
    return fits.errors.map(({ instancePath, keyword }) => `${instancePath.replace(/\d+/g, "*")} ${keyword}`);
  }
  if (scopes.length === 0) return [];
  const checks = await Promise.all(data.events.map((event) => validateEventScopes(event, scopes, { mapping })));
  return checks.flatMap(({ missingScopes }) => missingScopes.map((scope) => `scope ${scope}`));
}

async function ours(data, token) {
  const answer = await fetch(server + MODULES, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ type: "trigger", data, ...("key" in data && { key: data.key }) }),
  });
  const body = await answer.json();
  assert.ok([200, 422].includes(answer.status), `${answer.status} ${JSON.stringify(body)}`);
  return answer.status === 200 ? [] : body.errors.map(kind);
}

const NONE = { switchyard: {}, vendor: {} };
const unexplained = [];
const used = new Set();
const tally = { both: 0, neither: 0, vendor: 0, switchyard: 0 };

async function install(app, scopes) {
  await admin("PUT", `/apps/${app}`, { kind: "forge", scopes, functions: ["main"],
    endpoints: [{ key: "main", url: "http://127.0.0.1:9/hook" }] });
  return (await admin("PUT", `/installations/${app}`, { app, cloudId: "site-oracle", product: "jira" })).token;
}

async function compare(app, scopes, all, excuses) {
  const token = await install(app, scopes);
  for (const data of all) {
    const [theirs, own] = [await vendor(data, scopes), await ours(data, token)];
    if ((theirs.length === 0) === (own.length === 0)) {
      tally[own.length ? "neither" : "both"] += 1;
      continue;
    }
    const [refusedBy, found] = own.length ? ["switchyard", own] : ["vendor", theirs];
    tally[refusedBy] += 1;
    const unjustified = [...new Set(found)].filter((what) => !(what in excuses[refusedBy]));
    found.forEach((what) => used.add(`${refusedBy} ${what}`));
    if (unjustified.length) unexplained.push({ app, refusedBy, unjustified, data });
  }
}

// Bodies of every shape, for apps with no, some and many scopes.
const { current, beta } = scopesOf("avi:jira:created:issue");
const many = [...new Set(mapping.flatMap(({ oAuthScopes }) => oAuthScopes.current))];
for (const [index, scopes] of [[], current, beta, many].entries()) {
  await compare(`oracle-${index}`, scopes, bodies(SEED + index, BODIES_EACH, known), reasons);
}
// Every event that is ours to know, for apps with just the scopes it needs and with one less: no
// disagreement is allowed here.
const ourOwn = known.filter((event) => !/^avi:(bitbucket|compass):/.test(event));
let sets = 0;
for (const needed of new Set(ourOwn.map((event) => JSON.stringify(scopesOf(event))))) {
  const { current, beta } = JSON.parse(needed);
  const events = ourOwn.filter((event) => JSON.stringify(scopesOf(event)) === needed);
  const all = events.map((event) => ({ events: [event], function: "main" }));
  const lists = [current, beta, current.slice(1), beta.slice(1)].filter((scopes) => scopes.length);
  for (const scopes of lists) await compare(`oracle-scopes-${sets++}`, scopes, all, NONE);
}

for (const { app, refusedBy, unjustified, data } of unexplained.slice(0, SHOWN)) {
  console.error(`${app}: only ${refusedBy} refuses ${JSON.stringify(data)}: ${unjustified.join("; ")}`);
}
assert.equal(unexplained.length, 0, "bodies about which only one side has a complaint that nothing justifies");
const idle = Object.entries(reasons).flatMap(([by, found]) => Object.keys(found).map((what) => `${by} ${what}`));
assert.deepEqual(idle.filter((reason) => !used.has(reason)), [], "reasons that explain nothing");
// Agreement about nothing would prove nothing.
assert.ok(tally.both >= 150 && tally.neither >= 150, JSON.stringify(tally));
console.log(`@forge/manifest: ok, ${tally.both} accepted and ${tally.neither} refused by both, ` +
  `${tally.switchyard} refused by us alone, ${tally.vendor} by the vendor alone`);
