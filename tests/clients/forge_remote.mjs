// A Forge remote that verifies requests with jose, then calls back with the app token of the request.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { admin, server, until } from "./server.mjs";

const APP = "ari:cloud:ecosystem::app/22222222-bbbb-4bbb-8bbb-000000000002";
const MODULES = `${server}/forge/installation/v2/dynamic/module`;

const received = [];
const remote = http.createServer(async (request, answer) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  received.push({ headers: request.headers, body: JSON.parse(Buffer.concat(chunks)) });
  answer.writeHead(204).end();
});
await once(remote.listen(0, "127.0.0.1"), "listening");
const url = `http://127.0.0.1:${remote.address().port}/events`;

await admin("PUT", `/apps/${encodeURIComponent(APP)}`, {
  kind: "forge", version: "3.0.0", delivery: { style: "forge_remote" },
  endpoints: [{ key: "backend", url, auth: { appSystemToken: true } }],
});
const { token } = await admin("PUT", "/installations/forge-remote",
  { app: APP, cloudId: "site-remote", product: "jira" });
const call = (token, method, body) => fetch(MODULES, {
  method, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
  body: body && JSON.stringify(body),
});
const trigger = { type: "trigger", data: { endpoint: "backend", events: ["avi:jira:created:issue"] } };
const registered = await call(token, "POST", trigger);
assert.equal(registered.status, 201, await registered.clone().text());
const { key } = await registered.json();

await admin("POST", "/events?cloudId=site-remote&type=avi:jira:created:issue",
  { issue: { id: "1", key: "OPS-1", fields: { project: { key: "OPS" } } } });
await until("the remote is called", () => received.length === 1);
const [{ headers, body }] = received;
assert.equal(body.issue.key, "OPS-1");

const keys = createRemoteJWKSet(new URL(`${server}/.well-known/jwks.json`));
const fit = headers.authorization.replace(/^Bearer /, "");
const expected = { issuer: "forge/invocation-token", audience: APP, algorithms: ["RS256"] };
const { payload, protectedHeader } = await jwtVerify(fit, keys, expected);
assert.ok(protectedHeader.kid);
assert.equal(payload.app.installationId, "forge-remote");
assert.equal(payload.context.moduleKey, key);
assert.equal(payload.jti, headers["x-forge-invocation-id"]);
await assert.rejects(jwtVerify(fit, keys, { ...expected, audience: "another app" }));
await assert.rejects(jwtVerify(fit.slice(0, -8) + "AAAAAAAA", keys, expected));
assert.match(headers["x-b3-traceid"], /^[0-9a-f]{32}$/);
assert.match(headers["x-b3-spanid"], /^[0-9a-f]{16}$/);

const listed = await call(headers["x-forge-oauth-system"], "GET");
assert.equal(listed.status, 200);
assert.deepEqual((await listed.json()).result.map((module) => module.key), [key]);
assert.equal((await call(fit, "GET")).status, 401);
console.log("jose: ok");
process.exit(0);
