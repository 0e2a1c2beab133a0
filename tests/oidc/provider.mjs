// An OpenID Connect provider on loopback, for tests of single sign-on: everybody logs in with any password, and the groups
// are in the name, such as "ada.admins". Prints its address as one line of JSON.
//
//   node provider.mjs REDIRECT_URI CLIENT_SECRET [keyed by environment: ALG=ES256]
import http from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const [redirectUri, clientSecret] = process.argv.slice(2);
const alg = process.env.ALG ?? "RS256";
const key = (kind, options, kid, of) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
  kid,
  alg: of,
  use: "sig",
});

const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = (id, more) => ({
    client_id: id,
    client_secret: clientSecret,
    redirect_uris: [redirectUri],
    response_types: ["code"],
    grant_types: ["authorization_code"],
    id_token_signed_response_alg: alg,
    ...more,
  });
  const provider = new Provider(issuer, {
    clients: [
      client("switchyard", { token_endpoint_auth_method: "client_secret_basic" }),
      client("other", { token_endpoint_auth_method: "client_secret_basic" }),
    ],
    jwks: {
      keys: [key("rsa", { modulusLength: 2048 }, "r", "RS256"), key("ec", { namedCurve: "P-256" }, "e", "ES256")],
    },
    claims: { openid: ["sub"], profile: ["name", "preferred_username"], groups: ["groups"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ["only for a test"] },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    findAccount: (_, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, preferred_username: id, groups: id.split(".").slice(1) }),
    }),
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
