#!/usr/bin/env python3
"""check_api.py - holds a real router to its OpenAPI document.

    check_api.py --router BIN [--only crawl|client|schemathesis]

Starts a broker, handlers and a router, and stores a record of every kind. Then
- asks for everything that can be read, with the ids of these records,
- generates types for TypeScript, and runs a client that is compiled with them, and
- lets schemathesis send requests, valid and invalid ones, to every operation, deletions and erasures among them.
No answer may have a status, a media type or a member that the document does not have, and none may be a 5xx but a
documented 502: the broker is healthy. Exit status 1 if one does.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jsonschema_rs

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))
from harness import ADMIN_TOKEN, Sink, broker, quote, until  # noqa: E402
from stored_world import FAILING, FORGE, SETTINGS, SITE, World  # noqa: E402

# So many refused requests of one address are no attack here.
TEST_SETTINGS = SETTINGS | {
    "SERVER__AUTH_FAILURES_PER_MINUTE": 1_000_000, "LIMITS__REGISTRATION_RATE": 1_000_000,
    "LIMITS__REGISTRATION_BURST": 1_000_000, "INGEST__JIRA__SITE-OPEN__UNSIGNED": "true",
}
# Ids of one kind that are used.
IDS_MAX = 4
SCHEMATHESIS_TIMEOUT_S = 300
# Parts of the API. The operator API is the last one: its requests delete installations and replace tokens. Requests
# of Connect apps are signed one by one; the other paths of webhooks are the same as these.
PARTS = ("^/(forge|atlassian)/", "^/rest/api/3/", "^/ingest/", "^/(healthz|metrics|openapi|.well-known)", "^/admin/")
# The client that the world registers.
OAUTH_TOKEN = "oauth-token-1"
CLIENT_TIMEOUT_S = 120
# Operations whose answers have no end.
ENDLESS = ("followLive",)
METHODS = ("get", "put", "post", "delete")


def strict(document):
    """The document, with schemas of answers that allow no further members, so that no answer has an undescribed one."""
    document = json.loads(json.dumps(document))
    of_requests = schemas_of_requests(document)

    def forbid(schema):
        if isinstance(schema, list):
            for part in schema:
                forbid(part)
        elif isinstance(schema, dict):
            if "properties" in schema:
                schema.setdefault("additionalProperties", False)
            for name, part in schema.items():
                for one in part.values() if name == "properties" else [part]:
                    forbid(one)

    for name, schema in document["components"]["schemas"].items():
        if name not in of_requests:
            forbid(schema)
    return document


def schemas_of_requests(document):
    """The names of the schemas that a request body may have."""
    found, names = set(), set()

    def collect(value):
        if isinstance(value, dict):
            found.update([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(part)

    for _, _, operation in operations(document):
        collect(operation.get("requestBody"))
    while found:
        name = found.pop().rsplit("/", 1)[-1]
        if name not in names:
            names.add(name)
            collect(document["components"]["schemas"].get(name))
    return names


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


class Ids:
    """The ids of what is stored, by the part of the path before them."""

    def __init__(self, world):
        admin = world.router.admin
        listed = lambda path, name="id": [one[name] for one in admin("GET", path)["items"]]
        subscriptions = listed("/subscriptions")
        keys = lambda key: [id.split("/", 1)[1] for id in subscriptions if id.startswith(f"{key}/")]
        deliveries = admin("GET", "/deliveries")["items"]
        events = [f"{one['event']['site']}/{one['event']['id']}" for one in deliveries]
        self.known = {
            "apps": [FORGE, *listed("/apps")],
            "installations": ["inst-forge", *listed("/installations")],
            "subscriptions": subscriptions,
            "endpoints": ["ok"],
            "modules": keys("inst-forge"),
            "module": keys("inst-forge"),
            "oauth-clients": listed("/oauth-clients"),
            "revisions": listed(f"/subscriptions/{quote(subscriptions[0])}/revisions"),
            "deliveries": [one["id"] for one in deliveries],
            "events": [str(deliveries[0]["event"]["sequence"]), "0", *events],
            "dlq": listed("/dlq"),
            "redrives": listed("/dlq/redrives"),
            "replays": listed("/replays"),
            "erasures": listed("/erasures"),
            "sites": [SITE],
            "jira": ["site-open", SITE],
            "connect-keys": listed("/signing-keys", "kid"),
        }

    def of(self, path, name):
        """Some ids for a parameter of a path."""
        before = path.split("/{" + name + "}")[0].rsplit("/", 1)[-1]
        return list(dict.fromkeys(self.known.get(before, [])))[:IDS_MAX]


def write_world(world):
    """Stores a record of every kind."""
    for path, status in FAILING.items():
        world.sink.answer(path, status)
    world.sink.hold("/held")
    world.start(world.binary, TEST_SETTINGS)
    world.write_registry()
    world.write_streams()
    admin = world.router.admin
    until(lambda: admin("GET", "/dlq")["items"], "there are dead letters")
    scope = {"installation": "inst-forge"}
    admin("POST", "/dlq/redrive", {"query": scope, "dryRun": True})
    admin("POST", "/replays", scope | {"from": "1h", "mode": "missing", "dryRun": True})
    admin("POST", "/erasures", {"site": SITE, "accountId": "account-none", "dryRun": True})
    triggers = [one for one in admin("GET", "/subscriptions?installation=inst-forge")["items"]
                if one["type"] == "trigger" and not one["static"] and one["state"] == "active"]
    shadow = {"filter": {"expression": "event.issue.key == 'A-1'"}}
    admin("PUT", f"/subscriptions/{quote(triggers[0]['id'])}/shadow", shadow)
    admin("PUT", f"/subscriptions/{quote(triggers[1]['id'])}/shadow", shadow)
    admin("POST", f"/subscriptions/{quote(triggers[1]['id'])}/promote")


class Crawl:
    """Asks for everything that can be read, and checks the answers."""

    def __init__(self, world, document, ids):
        self.world, self.document, self.ids = world, document, ids
        self.asked, self.problems = 0, []

    def run(self):
        for method, path, operation in operations(self.document):
            if method == "get" and operation["operationId"] not in ENDLESS and not path.startswith(("/rest/", "/wiki/", "/ex/")):
                for asked in self.paths(path, operation):
                    self.ask(method, path, asked, operation)
        for path, body in self.questions():
            self.ask("post", path, path, self.document["paths"][path]["post"], body)

    def questions(self):
        """Requests that read with a body."""
        subscription = self.ids.known["subscriptions"][0]
        event = {"eventType": "avi:jira:created:issue", "issue": {"key": "A-1"}}
        filters = ["event.issue.key == 'A-1'", "event.issue.kye.name", "[1, 2].some(n => n == event.n)", "1 +", "event.a.b"]
        for expression in filters:
            yield "/admin/v1/filters:check", {"expression": expression, "events": ["avi:jira:created:issue"]}
            yield "/admin/v1/filters:test", {"expression": expression, "event": event}
            yield "/admin/v1/filters:backtest", {"expression": expression, "site": SITE, "since": "1h"}
        yield "/admin/v1/filters:backtest", {"expression": filters[0], "subscription": self.trigger(), "since": "1h"}
        for scope in ({"site": SITE}, {"installation": "inst-forge"}, {"subscription": subscription}):
            yield "/admin/v1/explain", scope | {"since": "1h", "limit": 20}

    def trigger(self):
        items = self.world.router.admin("GET", "/subscriptions?installation=inst-forge&state=active")["items"]
        return next(one["id"] for one in items if one["type"] == "trigger" and not one["static"])

    def paths(self, path, operation):
        """The path with ids, and with the query parameters that change what is shown."""
        asked = [path]
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                asked = [one.replace("{" + name + "}", quote(id)) for one in asked for id in self.ids.of(path, name)]
        names = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
        if "limit" in names:
            asked += [f"{one}?limit=1" for one in asked]
        if "body" in names:
            asked += [f"{one}?body=true" for one in asked]
        return asked

    def ask(self, method, template, path, operation, body=None):
        token = self.world.tokens["inst-forge"] if template.startswith("/forge/") else ADMIN_TOKEN
        if template.startswith("/atlassian/"):
            token = self.world.tokens["inst-forge"]
        headers = {"authorization": f"Bearer {token}"}
        status, text = self.world.router.exchange(method.upper(), path, body, headers)
        self.asked += 1
        problem = self.problem(operation, status, text)
        if problem:
            self.problems.append(f"{method.upper()} {path}: {status}: {problem}")

    def problem(self, operation, status, text):
        response = operation["responses"].get(str(status))
        if response is None:
            return f"this status is not documented: {text[:300]}"
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            return None
        root = schema | {"components": {"schemas": self.document["components"]["schemas"]}}
        errors = jsonschema_rs.validator_for(root).iter_errors(json.loads(text))
        return "; ".join(f"{'/'.join(map(str, one.instance_path))}: {one.message[:300]}" for one in errors)


def run_client(world, document, folder):
    """Generates the types, compiles the client and runs it; raises if one of these fails."""
    client = HERE / "client"
    path = folder / "typed.json"
    path.write_text(json.dumps(document))
    run = lambda *command, **more: subprocess.run(command, cwd=client, check=True, timeout=CLIENT_TIMEOUT_S, **more)
    run("node_modules/.bin/openapi-typescript", str(path), "-o", "generated.ts", stdout=subprocess.DEVNULL)
    run("node_modules/.bin/tsc", "--project", ".")
    run("node", "build/client.js", env={**os.environ, "SWITCHYARD_SERVER": f"http://{world.router.address}",
                                        "SWITCHYARD_TOKEN": ADMIN_TOKEN, "SWITCHYARD_HANDLER": f"{world.sink.url}/typed"})


def with_examples(document, ids):
    """The document with ids of what is stored, from which schemathesis begins."""
    for _, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            known = ids.of(path, parameter["name"]) if parameter["in"] == "path" else []
            if known:
                parameter["examples"] = {str(at): {"value": value} for at, value in enumerate(known)}
    return document


def run_schemathesis(world, document, folder):
    """Runs it on the document, once for each part of the API; returns whether a run failed."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    environment = {**os.environ, "SWITCHYARD_TOKEN": ADMIN_TOKEN, "PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE),
                   "SWITCHYARD_INSTALLATION_TOKEN": world.tokens["inst-forge"], "SWITCHYARD_OAUTH_TOKEN": OAUTH_TOKEN}
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run", str(path),
               "--url", f"http://{world.router.address}", "--no-color"]
    failed = False
    for part in PARTS:
        print(f"schemathesis: {part}", flush=True)
        run = subprocess.run([*command, "--include-path-regex", part], env=environment, cwd=folder,
                             timeout=SCHEMATHESIS_TIMEOUT_S)
        failed |= run.returncode != 0
    return failed


def check(world, options, folder):
    """Runs the checks; returns whether one failed."""
    write_world(world)
    published = json.loads(world.router.exchange("GET", "/openapi.json")[1])
    document, ids, failed = strict(published), Ids(world), False
    if options.only in (None, "client"):
        run_client(world, published, folder)
    if options.only in (None, "crawl"):
        crawl = Crawl(world, document, ids)
        crawl.run()
        for problem in crawl.problems:
            print(problem)
        print(f"{crawl.asked - len(crawl.problems)} answers as documented, {len(crawl.problems)} not", flush=True)
        failed |= bool(crawl.problems)
    if options.only in (None, "schemathesis"):
        began = time.monotonic()
        failed |= run_schemathesis(world, with_examples(document, ids), folder)
        print(f"schemathesis took {time.monotonic() - began:.0f} s")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", required=True)
    parser.add_argument("--only", choices=["crawl", "client", "schemathesis"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Sink() as sink, broker(folder) as nats_port:
        folder = pathlib.Path(folder)
        world = World(nats_port, sink, folder / "router")
        world.binary = options.router
        try:
            failed = check(world, options, folder)
        finally:
            # Its requests that are held would keep the handlers.
            if world.router:
                world.router.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
