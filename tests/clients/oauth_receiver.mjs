// A receiver of the webhooks of an OAuth 2.0 app: registers them by the path that such apps call and
// verifies the bearer token of each with jose, before and while the client secret is replaced.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { jwtVerify } from "jose";
import { admin, server, until } from "./server.mjs";

const SITE = "site-oauth";
const [FIRST, SECOND] = ["client-secret-one-0123456789abcdef", "client-secret-two-0123456789abcdef"];
const rules = { algorithms: ["HS256"], requiredClaims: ["iat", "exp"], maxTokenAge: "5 minutes" };

let secret = FIRST;
const accepted = [];
const refused = [];
const listener = http.createServer(async (request, answer) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  try {
    assert.equal(scheme, "Bearer");
    await jwtVerify(token, new TextEncoder().encode(secret), rules);
  } catch (error) {
    refused.push(error);
    return answer.writeHead(401).end();
  }
  accepted.push(JSON.parse(Buffer.concat(chunks)));
  answer.writeHead(200).end();
});
await once(listener.listen(0, "127.0.0.1"), "listening");
const baseUrl = `http://127.0.0.1:${listener.address().port}`;

await admin("PUT", "/apps/com.example.oauth", { kind: "connect", baseUrl, scopes: ["READ"] });
await admin("PUT", "/installations/oauth", { app: "com.example.oauth", cloudId: SITE, product: "jira",
  clientKey: "oauth-tenant", sharedSecret: "secret-of-a-jira-tenant-0123456789" });
const client = { token: "oauth-token-0123456789abcdef01234567", user: "u", installation: "oauth" };
await admin("PUT", "/oauth-clients/oauth", { ...client, clientSecret: FIRST });

const register = await fetch(`${server}/ex/jira/${SITE}/rest/api/3/webhook`, {
  method: "POST",
  headers: { authorization: `Bearer ${client.token}`, "content-type": "application/json" },
  body: JSON.stringify({ url: `${baseUrl}/hooks`,
    webhooks: [{ events: ["jira:issue_created"], jqlFilter: "project = OPS" }] }),
});
assert.equal(register.status, 200, await register.clone().text());
const [{ createdWebhookId: id }] = (await register.json()).webhookRegistrationResult;

async function create(key) {
  const issue = { id: key.slice(4), key, fields: { project: { key: "OPS" } } };
  await admin("POST", `/events?cloudId=${SITE}&type=avi:jira:created:issue`, { issue });
  await until(`${key} is accepted`, () => accepted.some((body) => body.issue.key === key));
}

await create("OPS-1");
assert.deepEqual(accepted[0].matchedWebhookIds, [id]);
assert.equal(refused.length, 0);
// The receiver still has the old secret: it refuses the new token once and then accepts the old one.
await admin("PUT", "/oauth-clients/oauth", { ...client, clientSecret: SECOND });
await create("OPS-2");
assert.equal(refused.length, 1);
secret = SECOND;
await create("OPS-3");
assert.equal(refused.length, 1);
assert.equal(accepted.length, 3);
listener.close();
console.log("OAuth receiver with jose: ok");
