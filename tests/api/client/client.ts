// Calls a router with types that openapi-typescript generates from its document, from an app to a delivery.
// It compiles only if the document has these operations, parameters and members.

import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./generated.js";

type Subscription = components["schemas"]["Subscription"];

const WAIT_MS = 30_000;

const token = process.env["SWITCHYARD_TOKEN"];
const handler = process.env["SWITCHYARD_HANDLER"];
assert(token && handler);
const api = createClient<paths>({
  baseUrl: process.env["SWITCHYARD_SERVER"] ?? "",
  headers: { authorization: `Bearer ${token}` },
});

/** The body of a successful answer. */
function ok<T>(answer: { data?: T; error?: components["schemas"]["Error"] }): T {
  assert(answer.data !== undefined, answer.error?.message);
  return answer.data;
}

/** The first value that `ask` returns, asked again until there is one. */
async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const value = await ask();
    if (value !== undefined) return value;
    assert(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const app = ok(
  await api.PUT("/admin/v1/apps/{id}", {
    params: { path: { id: "typed/app" } },
    body: { kind: "forge", endpoints: [{ key: "hook", url: handler }] },
  }),
);
assert(app.endpoints[0]?.secret?.startsWith("whsec_"));

const installation = ok(
  await api.PUT("/admin/v1/installations/{id}", {
    params: { path: { id: "inst-typed" } },
    body: { app: app.id, cloudId: "site-typed", product: "jira" },
  }),
);
assert.equal(installation.id, "inst-typed");

const expression = "event.issue.fields.project.key == 'TYPED'";
const check = ok(await api.POST("/admin/v1/filters:check", { body: { expression } }));
assert.deepEqual([check.valid, check.diagnostics.length], [true, 0]);

const events = ["avi:jira:created:issue"];
const module = { type: "trigger", data: { events, endpoint: "hook", filter: { expression } } };
ok(
  await api.PUT("/admin/v1/installations/{id}/modules/{key}", {
    params: { path: { id: "inst-typed", key: "typed" } },
    body: module,
  }),
);

const page = ok(
  await api.GET("/admin/v1/subscriptions", { params: { query: { installation: "inst-typed", state: "active" } } }),
);
const subscription: Subscription | undefined = page.items[0];
assert.equal(subscription?.id, "inst-typed/typed");
assert.equal(subscription?.events[0]?.expression, expression);

const report = ok(
  await api.POST("/admin/v1/events", {
    params: {
      query: { cloudId: "site-typed", type: "avi:jira:created:issue" },
      header: { "ce-id": "typed-1" },
    },
    body: { eventType: "avi:jira:created:issue", issue: { key: "TYPED-1", fields: { project: { key: "TYPED" } } } },
  }),
);
assert.equal(report.accepted, 1);

const delivery = await until("the event is delivered", async () => {
  const found = ok(
    await api.GET("/admin/v1/deliveries", {
      params: { query: { subscription: "inst-typed/typed", outcome: "delivered" } },
    }),
  );
  return found.items[0];
});
assert.deepEqual([delivery.event.id, delivery.status], ["typed-1", 204]);

const { error, response } = await api.GET("/admin/v1/apps/{id}", { params: { path: { id: "no such app" } } });
assert.deepEqual([response.status, error?.errors?.[0]?.code], [404, "SY-1103"]);

const removed = await api.DELETE("/admin/v1/installations/{id}", { params: { path: { id: "inst-typed" } } });
assert.equal(removed.response.status, 204);
console.log("a generated client works");
