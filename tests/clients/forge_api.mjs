// @forge/api registers, lists and removes a trigger. Its runtime sends requests to a proxy; here
// the proxy is a function that adds the installation's token, as the vendor's does.
import assert from "node:assert/strict";
import forge from "@forge/api";
import { admin, server } from "./server.mjs";

const { asApp, route } = forge;
await admin("PUT", "/apps/forge-api", { kind: "forge", functions: ["main"] });
const { token } = await admin("PUT", "/installations/forge-api",
  { app: "forge-api", cloudId: "site-forge-api", product: "jira" });
global.__forge_fetch__ = (_target, path, options = {}) =>
  fetch(new URL(path, server), { ...options, headers: { ...options.headers, authorization: `Bearer ${token}` } });

const call = asApp().requestJira;
const headers = { "content-type": "application/json" };
const data = { function: "main", events: ["avi:jira:created:issue"],
  filter: { expression: "event.issue.fields.project.key == 'OPS'" } };
const created = await call(route`/forge/installation/v2/dynamic/module/`,
  { method: "POST", headers, body: JSON.stringify({ type: "trigger", data }) });
assert.equal(created.status, 201, await created.clone().text?.());
const { key } = await created.json();
const list = await (await call(route`/forge/installation/v2/dynamic/module/?limit=${10}`)).json();
assert.deepEqual(list.result.map((module) => module.key), [key]);
const removed = await call(route`/forge/installation/v2/dynamic/module/${key}`, { method: "DELETE" });
assert.equal(removed.status, 204);
console.log("@forge/api: ok");
