// confluence.js manages the dynamic modules of a Connect app in Confluence, with tokens of the
// vendor's atlassian-jwt; a page created afterwards arrives as the registered webhook.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import * as jwt from "atlassian-jwt";
import { isApiError, isAuthError } from "confluence.js";
import { createClient } from "confluence.js/core";
import { getModules, registerModules, removeModules } from "confluence.js/v1";
import { admin, server, until } from "./server.mjs";

const MODULES = "/wiki/rest/atlassian-connect/1/app/module/dynamic";
const APP = "com.example.confluencejs";
const TENANT = "confluencejs-tenant";
const SECRET = "secret-confluencejs-0123456789abcdef";

const received = [];
const app = http.createServer(async (request, answer) => {
  const body = JSON.parse(Buffer.concat(await request.toArray()));
  received.push({ url: request.url, authorization: request.headers.authorization, body });
  answer.writeHead(204).end();
});
await once(app.listen(0, "127.0.0.1"), "listening");
await admin("PUT", `/apps/${APP}`,
  { kind: "connect", baseUrl: `http://127.0.0.1:${app.address().port}/base`, scopes: ["READ"] });
await admin("PUT", "/installations/confluencejs", { app: APP, cloudId: "site-confluencejs",
  product: "confluence", clientKey: TENANT, sharedSecret: SECRET });

// The client has no Connect tokens of its own: one is made for each call. The hash leaves out /wiki.
function signed(method, query = {}, secret = SECRET) {
  const pathname = MODULES.replace("/wiki", "");
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: APP, iat: now, exp: now + 180,
    qsh: jwt.createQueryStringHash({ method, pathname, query }) };
  return createClient({ host: server, headers: { Authorization: `JWT ${jwt.encodeSymmetric(claims, secret)}` } });
}

const webhooks = [{ key: "pages", event: "page_created", url: "/hook" }];
const webItems = [{ key: "item", location: "system.content.action", url: "/item", name: { value: "Item" } }];
assert.deepEqual(await getModules(signed("GET")), {});
await registerModules(signed("POST"), { body: { webhooks, webItems } });
assert.deepEqual(await getModules(signed("GET")), { webhooks, webItems });

const refused = (expected) => (error) => isApiError(error) && error.status === expected;
await assert.rejects(registerModules(signed("POST"), { body: { webhooks } }),
  (error) => refused(400)(error) && /duplicate module keys: \[pages\]/.test(error.message));
// `modules` is what the vendor's API description asks for; this client then sends no body at all.
await assert.rejects(registerModules(signed("POST"), { modules: [{ webhooks }] }), refused(400));
await assert.rejects(getModules(signed("GET", {}, "another-secret-0123456789abcdef")), isAuthError);

await admin("POST", "/events?cloudId=site-confluencejs&type=avi:confluence:created:page",
  { content: { id: "1", type: "page", title: "Made" } });
await until("the webhook arrives", () => received.length === 1);
assert.equal(received[0].url, "/base/hook");
assert.equal(received[0].body.page.title, "Made");
const claims = jwt.decodeSymmetric(received[0].authorization.replace("JWT ", ""), SECRET, "HS256");
assert.equal(claims.iss, TENANT);
assert.equal(claims.qsh, jwt.createQueryStringHash({ method: "POST", pathname: "/hook", query: {} }));

await removeModules(signed("DELETE", { moduleKey: ["pages", "none"] }), { moduleKey: ["pages", "none"] });
assert.deepEqual(await getModules(signed("GET")), { webItems });
await removeModules(signed("DELETE"), {});
assert.deepEqual(await getModules(signed("GET")), {});
app.close();
console.log("confluence.js: ok");
