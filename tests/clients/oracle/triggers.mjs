// Trigger bodies from a seed: some valid, most with an error.
const MEMBERS = ["key", "events", "function", "endpoint", "filter", "payload", "eventType", "ignoreSelf",
  "appIsLicensed", "expression", "onError", "include", "propertyPaths", "fields"];
const STRANGE = [null, true, 0, -1.5, "", "x", [], {}, ["x"], [1], [null], { a: 1 }, "avi:jira:created:issue"];
const EXPRESSIONS = [
  "event.issue.fields.project.key == 'OPS'",
  "event.changelog?.items.some(i => i.field == 'status')",
  "!event.selfGenerated && event.issue.fields.labels.includes('a')",
  "true",
];
const UNKNOWN_EVENTS = ["avi:jira:created:comment", "avi:jira:issue:created", "jira:issue_created", "AVI:jira:created:issue"];
const BROKEN = ["event.issue.key = 'OPS-1'", "((", "nothing", "'a' + ", `'${"x".repeat(10_000)}'`];
const PATHS = ["issue.properties['k'].a", "project.properties['k']", "user.properties['k'].b"];

export function* bodies(seed, count, events) {
  const random = seeded(seed);
  const chance = (share) => random() < share;
  const below = (bound) => Math.floor(random() * bound);
  const pick = (list) => list[below(list.length)];
  const some = (list, most) => Array.from({ length: 1 + below(most) }, () => pick(list));

  const filter = () => {
    const made = {};
    if (chance(0.6)) made.expression = pick(EXPRESSIONS);
    if (chance(0.4)) made.ignoreSelf = chance(0.5);
    if (chance(0.3)) made.appIsLicensed = chance(0.5);
    if (Object.keys(made).length === 0) made.expression = pick(EXPRESSIONS);
    if (chance(0.4)) made.onError = pick(["IGNORE", "IGNORE_AND_LOG", "RECEIVE", "RECEIVE_AND_LOG"]);
    return made;
  };
  const payload = () => {
    const include = {};
    if (chance(0.6)) include.propertyPaths = some(PATHS, 3);
    if (chance(0.5)) include.fields = some(["summary", "status", "labels"], 3);
    if (Object.keys(include).length === 0) include.fields = ["summary"];
    return { include };
  };
  const event = () => ({ eventType: pick(events), filter: filter(), ...(chance(0.3) && { payload: payload() }) });
  const meant = () => {
    const each = chance(0.3);
    const data = { events: each ? [event()] : [...new Set(some(events, 4))] };
    data[chance(0.5) ? "function" : "endpoint"] = "main";
    if (chance(0.5)) data.key = `key-${below(1000)}`;
    if (!each && chance(0.7)) data.filter = filter();
    if (chance(0.3)) data.payload = payload();
    return data;
  };

  // What can be wrong: each takes the body and one of its containers.
  const slips = [
    (_, at) => { delete at[pick(Object.keys(at))]; },
    (_, at) => { at[pick(Object.keys(at))] = structuredClone(pick(STRANGE)); },
    (_, at) => { at[Array.isArray(at) ? at.length : pick(MEMBERS)] = structuredClone(pick(STRANGE)); },
    (_, at) => { if (!Array.isArray(at)) at[pick(["unlicensedAccess", "extra", "Filter", "expresion"])] = true; },
    (_, at) => { if (Array.isArray(at)) at.push(structuredClone(pick(at))); },
    (_, at) => { if (Array.isArray(at)) at.length = 0; },
    (data) => { data.key = pick(["a b", "ä", "", "k".repeat(128), "k".repeat(129), "a.b", 7]); },
    (data) => { data[pick(["function", "endpoint"])] = pick(["main", "nowhere", "ma in", "m".repeat(256)]); },
    (data) => { data.filter = { expression: pick(BROKEN) }; },
    (data) => { data.filter = pick([{}, { onError: "IGNORE" }, { onError: "ignore", ignoreSelf: true }]); },
    (data) => { data.events = [pick(events), pick(UNKNOWN_EVENTS)]; },
    (data) => { data.events = [event(), { ...event(), eventType: data.events?.[0]?.eventType ?? pick(events) }]; },
    (data) => { data.events = [event(), pick(events)]; },
    (data) => { data.payload = { include: { propertyPaths: [`event.runtime.${pick(PATHS)}`] } }; },
    (data) => { data.payload = pick([{}, { include: {} }, { include: { fields: [""] } }, { include: { fields: ["a"], all: true } }]); },
  ];
  for (let made = 0; made < count; made += 1) {
    const data = meant();
    const wrong = made % 3 === 0 ? 0 : 1 + below(2);
    for (let slip = 0; slip < wrong; slip += 1) {
      const at = pick(containers(data).filter((found) => Object.keys(found).length > 0));
      if (at) pick(slips)(data, at);
    }
    yield data;
  }
}

function containers(value) {
  if (value === null || typeof value !== "object") return [];
  return [value, ...Object.values(value).flatMap(containers)];
}

// mulberry32: the same numbers for the same seed, everywhere.
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
