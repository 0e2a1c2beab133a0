// An app built on atlassian-connect-express: takes part in the install handshake, registers a module
// with the framework's own client and verifies the received webhook with its own middleware.
import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import ace from "atlassian-connect-express";
import express from "express";
import { admin, server, until } from "./server.mjs";

const MODULES = "/rest/atlassian-connect/1/app/module/dynamic";
const APP = "com.example.express";
const TENANT = "express-tenant";

// The framework keeps its tenants in a store; one in memory will do.
ace.store.register("memory", () => {
  const held = new Map();
  const at = (name, key) => `${key}/${name}`;
  return {
    schema: {},
    get: async (name, key) => held.get(at(name, key)) ?? null,
    set: async (name, value, key) => (held.set(at(name, key), value), value),
    saveInstallation: async (value, key) => (held.set(at("clientInfo", key), value), value),
    del: async (name, key) => void held.delete(at(name, key)),
    getAllClientInfos: async () => [...held.values()],
  };
});

// The framework fetches the keys of installs from where the product publishes them.
process.env.CONNECT_KEYS_CDN_URL = `${server}/.well-known/connect-keys`;
const app = express();
app.use(express.json());
const listener = http.createServer(app);
await once(listener.listen(0, "127.0.0.1"), "listening");
const localBaseUrl = `http://127.0.0.1:${listener.address().port}/base`;

process.env.NODE_ENV = "production";
process.chdir(fs.mkdtempSync(path.join(os.tmpdir(), "connect-express-")));
fs.writeFileSync("atlassian-connect.json", JSON.stringify({
  key: APP, name: "Express", baseUrl: localBaseUrl, authentication: { type: "jwt" },
  lifecycle: { installed: "/installed" }, scopes: ["READ"], modules: {},
}));
const config = { port: String(listener.address().port), localBaseUrl, product: "jira",
  store: { adapter: "memory" }, environment: "production", whitelist: ["127.0.0.1"] };
fs.writeFileSync("config.json", JSON.stringify({ production: config, development: config }));
const addon = ace(app, { config: {} });

const received = [];
const routes = express.Router();
routes.post("/hook", addon.authenticate(), (request, answer) => {
  received.push(request);
  answer.status(204).end();
});
app.use("/base", routes);

const record = { kind: "connect", baseUrl: localBaseUrl, scopes: ["READ"] };
const installation = { app: APP, cloudId: "site-express", product: "jira", clientKey: TENANT };
await admin("PUT", `/apps/${APP}`, { ...record, lifecycle: { installed: "/nowhere" } });
await assert.rejects(admin("PUT", "/installations/express", installation), /502.*404/);
await admin("PUT", `/apps/${APP}`, { ...record, lifecycle: { installed: "/installed" } });
await admin("PUT", "/installations/express", installation);
const saved = await addon.settings.get("clientInfo", TENANT);
assert.equal(saved.baseUrl, server);
assert.ok(saved.sharedSecret.length >= 32);

const client = addon.httpClient({ clientKey: TENANT });
const call = (method, url, json) => new Promise((resolve, reject) => {
  client[method]({ url, json: json ?? true }, (error, answer, body) =>
    error ? reject(error) : resolve({ status: answer.statusCode, body }));
});
const module = { key: "hook", event: "jira:issue_created", url: "/hook?key={issue.key}", filter: "project = OPS" };
const registered = await call("post", MODULES, { webhooks: [module] });
assert.equal(registered.status, 200, JSON.stringify(registered.body));
assert.deepEqual((await call("get", MODULES)).body, { webhooks: [module] });

await admin("POST", "/events?cloudId=site-express&type=avi:jira:created:issue",
  { issue: { id: "1", key: "OPS-1", fields: { project: { key: "OPS" } } } });
await until("the framework lets the webhook pass", () => received.length === 1);
assert.equal(received[0].query.key, "OPS-1");
assert.equal(received[0].body.webhookEvent, "jira:issue_created");
assert.equal(received[0].context.clientKey, TENANT);

assert.equal((await call("del", `${MODULES}?moduleKey=hook&moduleKey=none`)).status, 204);
assert.deepEqual((await call("get", MODULES)).body, {});
console.log("atlassian-connect-express: ok");
process.exit(0);
