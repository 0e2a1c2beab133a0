// jira.js as an OAuth app: registers, lists, refreshes and removes dynamic webhooks. The client
// checks every answer against the vendor's OpenAPI types.
import assert from "node:assert/strict";
import * as cloud from "jira.js/cloud";
import { createClient } from "jira.js/core";
import { admin, server } from "./server.mjs";

await admin("PUT", "/apps/com.example.jirajs", { kind: "connect", baseUrl: "http://127.0.0.1:9", scopes: ["READ"] });
await admin("PUT", "/installations/jirajs", { app: "com.example.jirajs", cloudId: "site-jirajs",
  product: "jira", clientKey: "jirajs-tenant", sharedSecret: "secret-of-a-jira-tenant-0123456789" });
await admin("PUT", "/oauth-clients/jirajs", { token: "jirajs-token", user: "u", installation: "jirajs" });

const client = createClient({ host: server, auth: { type: "bearer", token: "jirajs-token" } });
const url = "http://127.0.0.1:9/hooks";
const webhooks = [
  { events: ["jira:issue_created"], jqlFilter: "project = OPS", fieldIdsFilter: ["summary"] },
  { events: ["jira:issue_created"], jqlFilter: "watchCount = 1" },
];
const { webhookRegistrationResult: results } = await cloud.registerDynamicWebhooks(client, { url, webhooks });
assert.equal(results.length, 2);
assert.deepEqual(results[1].errors, ["The clause watchCount is unsupported"]);
const id = results[0].createdWebhookId;
const page = await cloud.getDynamicWebhooksForApp(client, { maxResults: 10 });
assert.deepEqual(page.values.map((webhook) => webhook.id), [id]);
const { expirationDate } = await cloud.refreshWebhooks(client, { webhookIds: [id] });
assert.ok(Number(new Date(expirationDate)) > Date.now());
await cloud.deleteWebhookById(client, { webhookIds: [id] });
assert.equal((await cloud.getDynamicWebhooksForApp(client, {})).total, 0);
console.log("jira.js: ok");
