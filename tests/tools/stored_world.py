"""A registry and streams with a record of every kind, written through a router's public interfaces.

`World` makes the same requests of any version of the program, reads what it stored, and checks what
another version makes of it. stored_formats.py and cross_version.py are the commands over it.
"""
import base64
import hmac
import json
import os
import re
import socket
import threading
import time

import registration_cases
from harness import ADMIN_TOKEN, ROOT, Nats, NatsError, Router, quote, until

STREAMS = ("KV_SW_REG", "SW_PARKED", "SW_DLQ", "SW_EVENTS")
# In files the address of the handlers is this one.
PLACEHOLDER = "http://127.0.0.1:9"
SITE, WIKI_SITE = "site-1", "site-2"
CREATED, UPDATED = "avi:jira:created:issue", "avi:jira:updated:issue"
ASSIGNED, COMMENTED = "avi:jira:assigned:issue", "avi:jira:commented:issue"
FUNCTION = "sw.fn.inst-forge.audit"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
FORGE = "ari:cloud:ecosystem::app/11111111-aaaa-4aaa-8aaa-000000000001"
REMOTE, DISCOVERY, SILENT = "app-remote", "app-discovery", "app-silent"
CONNECT, SHARED = "com.example.app", "secret-0123456789abcdef0123456789abcdef"
MODULES = "/rest/atlassian-connect/1/app/module/dynamic"
WEBHOOKS = "/rest/api/3/webhook"
V1, V2 = "/forge/installation/v1/dynamic/module", "/forge/installation/v2/dynamic/module"
WEBHOOK_SAMPLE = ROOT / "tests/data/events/webhook-issue-updated.json"
# Requests that a handler accepts and never answers end after this, so that its lane stays busy.
HELD_S = 15
# Failures in a row that open a breaker.
FAILURES_TO_OPEN = 10
DEAD_LETTERS = 15
WEBHOOK_SECRET = "of the webhooks: 0123456789abcdef"
SETTINGS = {
    "INGEST__JIRA__SITE-1__SECRET": WEBHOOK_SECRET,
    "DELIVERY__RETRY_SCHEDULE_S": 3600,
    "DELIVERY__RETRY_JITTER": 0,
    "DELIVERY__ENDPOINT_CONCURRENCY": 1,
    "DELIVERY__ENDPOINT_QUEUE_MAX": 1,
    "DELIVERY__PARK_AFTER_MS": 500,
    "DELIVERY__TIMEOUT_MS": HELD_S * 1000,
    "DELIVERY__PAYLOAD_MAX": 20_000,
    # Nothing expires before these files are read.
    "LIMITS__WEBHOOK_LIFE_H": 1_000_000,
    "REGISTRY__DISCOVERY_LIFE_S": 3_000_000_000,
    "REGISTRY__SIGNING_KEY_LIFE_H": 1_000_000,
}
# A router that reads has the usual concurrency, so that it parks nothing again.
READING = SETTINGS | {"DELIVERY__ENDPOINT_CONCURRENCY": 8, "DELIVERY__ENDPOINT_QUEUE_MAX": 4096,
                      "DELIVERY__PARK_AFTER_MS": 5_000}
# Answers of the handlers while records are written.
FAILING = {"/reject": 422, "/gone": 410, "/moved": 307, "/down": 503, "/breaks": 500, "/remote": 500,
           "/base/rejected": 400, "/base/dynamic": 400, "/silent-modules": 500}
RETRY_REQUEST = b'{"_retry":true,"retryOptions":{"retryAfter":900,"retryReason":"BUSY","retryData":{"n":1}}}'


class Difference(Exception):
    """A version reads or writes something else than another one."""


class World:
    """A broker, handlers, and one router process after the other."""

    def __init__(self, nats_port, sink, folder):
        self.nats_port, self.sink, self.folder = nats_port, sink, folder
        self.nats = Nats(nats_port)
        self.other_host = sink.url.replace("127.0.0.1", "localhost")
        self.router = None
        self.tokens, self.number = {}, 0
        # The last parked record by subject, as it was written: the broker replaces one that is due.
        self.parked = {}

    def write(self, binary):
        """Writes every record with a router that is killed in the middle of its work."""
        for path, status in FAILING.items():
            self.sink.answer(path, status)
        self.sink.hold("/held")
        with self.start(binary, SETTINGS):
            self.write_registry()
            self.write_streams()
            expected = {"tokens": self.tokens, "views": self.views(), "failed": self.failed_webhooks()}
            self.router.kill()
        self.write_pending()
        return expected

    def start(self, binary, settings):
        self.router = Router(binary, self.nats_port, self.folder, settings)
        return self.router

    # ---- requests ----

    def put(self, path, body):
        return self.router.admin("PUT", path, body)

    def install(self, installation, app, site=SITE, **more):
        answer = self.put(f"/installations/{installation}", {"app": app, "cloudId": site, "product": "jira"} | more)
        if "token" in answer:
            self.tokens[installation] = answer["token"]

    def forge(self, installation, method, path, body=None):
        return self.router.call(method, path, body, f"Bearer {self.tokens[installation]}")

    def connect(self, method, path, body=None, secret=SHARED):
        spec = {"iss": CONNECT, "secret": secret}
        token = registration_cases.connect_token(spec, method, path, int(time.time()))
        return self.router.call(method, path, body, f"JWT {token}")

    def register(self, installation, **data):
        key = data.pop("key")
        self.forge(installation, "POST", V1, {"key": key, "type": "trigger", "data": data})

    def switch(self, action, installation, key):
        self.router.admin("POST", f"/subscriptions/{quote(f'{installation}/{key}')}/{action}")

    def event(self, project, event_type=UPDATED, raw=None, headers=(), **members):
        """Publishes an event of a project and waits until it is stored."""
        self.number += 1
        number = self.number
        body = {"eventType": event_type, "issue": {"id": str(10_000 + number), "key": f"{project}-{number}",
                "fields": {"summary": f"Issue \u00e9 {number}", "project": {"key": project},
                           "status": {"name": "To Do"}}}} | members
        body = raw if raw is not None else json.dumps(body).encode()
        headers = [("Nats-Msg-Id", f"{SITE}/event-{number}"), ("ce-specversion", "1.0"), ("ce-id", f"event-{number}"),
                   ("ce-type", event_type), ("ce-cloudid", SITE), ("ce-source", f"ari:cloud:jira::site/{SITE}"),
                   *headers]
        self.nats.publish_stored(f"sw.in.{SITE}.{event_type}.-", body, headers)

    def webhook(self, project):
        """Posts a webhook of Jira, which becomes an event of the project."""
        body = json.loads(WEBHOOK_SAMPLE.read_text(encoding="utf-8"))
        body["issue"]["fields"]["project"]["key"] = project
        body = json.dumps(body).encode()
        signature = hmac.new(WEBHOOK_SECRET.encode(), body, "sha256").hexdigest()
        headers = {"x-atlassian-webhook-identifier": f"webhook-{project}", "x-hub-signature": f"sha256={signature}"}
        status, text = self.router.exchange("POST", f"/ingest/jira/{SITE}", body, headers)
        if status != 202:
            raise Difference(f"the webhook is not accepted: {status} {text}")

    def pending(self):
        """Events that are not acknowledged."""
        info = self.nats.api("CONSUMER.INFO.SW_EVENTS.router")
        return info["num_pending"] + info["num_ack_pending"]

    def settled(self):
        until(lambda: self.pending() == 0, "every event is acknowledged")
        self.note_parked()

    # ---- the registry ----

    def write_registry(self):
        self.put_forge_apps()
        self.install("inst-forge", FORGE, licensed=True, environment="STAGING", appAccountId="account-1")
        self.install("inst-off", FORGE, state="disabled")
        self.install("inst-deleted", FORGE)
        self.router.admin("DELETE", "/installations/inst-deleted")
        self.install("inst-remote", REMOTE)
        self.install("inst-discovery", DISCOVERY)
        self.install("inst-silent", SILENT)
        self.register_triggers()
        self.put_connect_apps()
        self.register_webhooks()
        for installation in ("inst-discovery", "inst-silent"):
            until(lambda: self.is_asked(installation), f"{installation} is asked for its modules")

    def is_asked(self, installation):
        status, text = self.router.exchange("GET", f"/admin/v1/installations/{installation}/discovery", None,
                                            {"authorization": f"Bearer {ADMIN_TOKEN}"})
        return status == 200 and {"error", "fetchedAt"} & json.loads(text).keys()

    def put_forge_apps(self):
        # One is at a host of its own, because failures also open the breaker of the app at a host.
        host = lambda key: self.other_host if key == "held" else self.sink.url
        endpoint = lambda key: {"key": key, "url": f"{host(key)}/{key}", "secret": SECRET}
        keys = ("ok", "probe", "reject", "gone", "moved", "down", "breaks", "held", "paused", "wide")
        static = {"key": "static", "events": ["avi:jira:deleted:issue"], "function": "main"}
        self.put(f"/apps/{quote(FORGE)}", {
            "kind": "forge", "name": "Example", "version": "1.2.3", "scopes": ["read:jira-work"],
            "functions": ["main", "audit"], "endpoints": [endpoint(key) for key in keys],
            "staticModules": {"trigger": [static]}, "notices": {"url": f"{self.sink.url}/notices", "secret": SECRET}})
        self.put(f"/apps/{REMOTE}", {
            "kind": "forge", "endpoints": [endpoint("remote") | {"auth": {"appSystemToken": True}}],
            "delivery": {"style": "forge_remote", "body": "wrapped", "profile": "forge_function"}})
        offered = [
            {"key": "found", "type": "trigger", "data": {"key": "found", "endpoint": "ok", "events": [UPDATED],
                                                         "filter": {"expression": "event.issue.key == 'NONE'"}}},
            {"key": "wrong", "type": "trigger", "data": {"key": "wrong", "endpoint": "none", "events": [UPDATED]}},
            {"type": "jira:issuePanel", "data": {}}]
        self.sink.answer("/modules", 200, json.dumps({"modules": offered}))
        for app, path in ((DISCOVERY, "/modules"), (SILENT, "/silent-modules")):
            self.put(f"/apps/{app}", {
                "kind": "forge", "endpoints": [endpoint("ok")],
                "discovery": {"use": ["trigger"], "url": self.sink.url + path, "secret": SECRET}})

    def register_triggers(self):
        """Registers triggers by every API, in every state."""
        project = lambda key: {"expression": f"event.issue.fields.project.key == '{key}'"}
        for key in ("reject", "gone", "moved", "down", "breaks", "held", "paused"):
            self.register("inst-forge", key=key, endpoint=key, events=[UPDATED], filter=project(key.upper()))
        self.register("inst-forge", key="wide", endpoint="wide", events=[UPDATED], filter=project("WIDE"),
                      payload={"include": {"fields": ["summary"], "propertyPaths": ["event.issue.properties.a"]}})
        self.register("inst-forge", key="per-event", endpoint="probe", events=[
            {"eventType": CREATED, "filter": project("OPS") | {"ignoreSelf": True}},
            {"eventType": "avi:jira:deleted:issue", "filter": {"appIsLicensed": True}}])
        self.register("inst-forge", key="one-filter", endpoint="probe", events=[CREATED, ASSIGNED],
                      filter={"expression": "['OPS', 'WEB'].includes(event.issue.fields.project.key)",
                              "ignoreSelf": False, "appIsLicensed": True})
        self.register("inst-forge", key="on-error", endpoint="down", events=[COMMENTED],
                      filter={"expression": "event.issue.fields.none.key == 'X'", "onError": "RECEIVE_AND_LOG"})
        self.register("inst-forge", key="function", function="audit", events=[ASSIGNED])
        for key in ("is-off", "is-paused"):
            self.register("inst-forge", key=key, endpoint="ok", events=[CREATED], filter=project("NONE"))
        assigned = {"type": "trigger", "data": {"endpoint": "probe", "events": [CREATED], "filter": project("WEB")}}
        self.forge("inst-forge", "POST", V2, assigned)
        self.register("inst-remote", key="remote", endpoint="remote", events=[UPDATED], filter=project("REMOTE"))
        self.register("inst-silent", key="own", endpoint="ok", events=[UPDATED], filter=project("NONE"))
        self.switch("disable", "inst-forge", "is-off")
        self.switch("pause", "inst-forge", "is-paused")
        self.switch("pause", "inst-forge", "paused")

    def put_connect_apps(self):
        descriptor = {
            "kind": "connect", "name": "Connect", "version": "1.0", "baseUrl": f"{self.sink.url}/base",
            "scopes": ["READ"], "translations": {"en": {"title": "Title"}},
            "lifecycle": {"enabled": "/enabled", "disabled": "/disabled"},
            "staticModules": {"webhooks": [{"key": "fixed", "event": "jira:issue_deleted", "url": "/fixed",
                                            "excludeBody": True}]}}
        self.put(f"/apps/{CONNECT}", descriptor)
        self.install("inst-jira", CONNECT, clientKey="tenant-1", sharedSecret=SHARED)
        self.install("inst-wiki", CONNECT, WIKI_SITE, product="confluence", clientKey="tenant-2",
                     sharedSecret=SHARED + "2")
        self.put("/apps/com.example.upgraded", descriptor | {"staticModules": {}})
        self.install("inst-upgraded", "com.example.upgraded", "site-3", clientKey="tenant-3", sharedSecret=SHARED)
        self.put("/apps/com.example.asked", {
            "kind": "connect", "baseUrl": f"{self.sink.url}/base", "scopes": ["READ"],
            "lifecycle": {"installed": "/installed", "uninstalled": "/uninstalled"}})
        self.install("inst-asked", "com.example.asked", "site-4", clientKey="tenant-4")
        self.install("inst-asked", "com.example.asked", "site-4", clientKey="tenant-4", state="uninstalled")
        self.put("/apps/com.example.oauth", {"kind": "connect", "baseUrl": f"{self.sink.url}/oauth", "scopes": ["READ"]})
        self.install("inst-oauth", "com.example.oauth", "site-5", clientKey="tenant-5", sharedSecret=SHARED)
        self.put("/oauth-clients/oauth-1", {"token": "oauth-token-1", "user": "user-1", "installation": "inst-oauth"})

    def register_webhooks(self):
        self.connect("POST", MODULES, {
            "webhooks": [
                {"key": "rejected", "event": "jira:issue_updated", "url": "/rejected?key={issue.key}",
                 "filter": "project = HOOK"},
                {"key": "created", "event": "jira:issue_created", "url": "/probe", "filter": "project = OPS"},
                {"key": "condition", "event": "jira:issue_created", "url": "/probe", "excludeBody": True,
                 "conditions": [{"condition": "addon_is_licensed"}]}],
            "jiraIssueFields": [{"key": "field", "type": "number", "name": {"value": "Plain", "i18n": "title"},
                                 "description": {"value": "A number"}}]})
        self.connect("POST", MODULES, {"webhooks": [{"key": "second", "event": "user_created", "url": "/second"}]})
        one = lambda jql, **more: {"events": ["jira:issue_updated"], "jqlFilter": jql} | more
        hooks = lambda path, *items: {"url": self.sink.url + path, "webhooks": list(items)}
        self.connect("POST", WEBHOOKS, hooks(
            "/base/dynamic", one("project = HOOK"), one("project = LATER"), one("status != Done AND project = LATER"),
            one("project = NONE", fieldIdsFilter=["summary"])))
        self.router.call("POST", WEBHOOKS, hooks("/oauth/hooks", one("project = OAUTH", issuePropertyKeysFilter=["p"])),
                         "Bearer oauth-token-1")
        spec = {"iss": "com.example.upgraded", "secret": SHARED}
        token = registration_cases.connect_token(spec, "POST", MODULES, int(time.time()))
        hook = {"key": "mine", "event": "jira:issue_created", "url": "/mine"}
        self.router.call("POST", MODULES, {"webhooks": [hook]}, f"JWT {token}")
        self.put("/apps/com.example.upgraded", {
            "kind": "connect", "version": "2.0", "baseUrl": f"{self.sink.url}/base", "scopes": ["READ"],
            "staticModules": {"webhooks": [hook]}})

    # ---- the streams ----

    def write_streams(self):
        """Publishes events that become dead letters and parked records of every kind."""
        self.write_dead_letters()
        self.sink.answer("/base/dynamic", 503)
        for project in ("DOWN", "LATER"):
            self.event(project, selfGenerated=True, headers=[
                ("ce-time", "2026-11-21T08:00:00.5Z"), ("ce-subject", f"{project}-1"), ("ce-originapp", FORGE),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")])
        self.webhook("LATER")
        self.event("ERROR", COMMENTED)
        with Function(self.nats_port, FUNCTION, RETRY_REQUEST):
            self.event("OPS", ASSIGNED)
            self.settled()
        for _ in range(FAILURES_TO_OPEN + 2):
            self.event("BREAKS")
            self.settled()
        self.event("PAUSED")
        # One delivery holds the lane; of the others one waits too long and the rest find it full.
        missing = {"late", "full"}
        for _ in range(20):
            self.event("HELD")
            if missing <= self.park_reasons():
                break
            time.sleep(0.1)
        until(lambda: missing <= self.park_reasons(), "deliveries are parked as late and full")

    def note_parked(self):
        for _, message in self.nats.stored("SW_PARKED"):
            if message.subject.startswith("sw.retry."):
                self.parked[message.subject] = message

    def park_reasons(self):
        self.note_parked()
        return {dict(message.headers).get("switchyard-park-reason") for _, message in self.nats.stored("SW_PARKED")}

    def write_dead_letters(self):
        for raw in (b'{"a":', b'{"a":"\xff"}', b"[]"):
            self.event("OPS", raw=raw)
        for project in ("REJECT", "MOVED", "HOOK", "REMOTE"):
            self.event(project)
        self.webhook("HOOK")
        for _ in range(3):  # The third 410 in a row disables the module.
            self.event("GONE")
            self.settled()
        self.event("WIDE", padding="x" * 30_000)
        self.nats.publish_stored("sw.due.app-1", b"no record", [("switchyard-attempt", "none")])
        until(lambda: self.nats.count("SW_DLQ") == DEAD_LETTERS, f"{DEAD_LETTERS} dead letters")

    def write_pending(self):
        """Events for the next router; call it while none runs."""
        for project in ("OPS", "WEB"):
            self.event(project, CREATED)

    # ---- what a router makes of it ----

    def views(self):
        """What the operator API and the apps' APIs show of the registry, without counters."""
        get = lambda path: self.router.admin("GET", path)
        paths = ["/apps", "/installations", "/subscriptions"]
        paths += [f"/apps/{quote(item['id'])}" for item in get("/apps")["items"]]
        for item in get("/installations")["items"]:
            path = f"/installations/{item['id']}"
            paths += [path, f"{path}/modules"]
        paths += [f"/installations/{name}/discovery" for name in ("inst-discovery", "inst-silent")]
        views = {path: get(path) for path in paths}
        views["forge"] = self.forge("inst-forge", "GET", V2)
        views["connect"] = self.connect("GET", MODULES)
        views["webhooks"] = self.connect("GET", WEBHOOKS)
        views["oauth"] = self.router.call("GET", WEBHOOKS, None, "Bearer oauth-token-1")
        return json.loads(self.portable(json.dumps(without_counters(views))))

    def failed_webhooks(self):
        rows = self.connect("GET", f"{WEBHOOKS}/failed")["values"]
        return sorted([self.portable(row["url"]), row["id"], row["body"]] for row in rows)

    def portable(self, text):
        return text.replace(self.sink.url, PLACEHOLDER).replace(self.other_host, PLACEHOLDER)

    # ---- records ----

    def dump(self):
        """Records by stream: documents, parked records, dead letters, unacknowledged events."""
        floor = self.nats.api("CONSUMER.INFO.SW_EVENTS.router")["ack_floor"]["stream_seq"]
        first = {"SW_EVENTS": floor + 1}
        return {stream: [self.record(self.as_parked(message))
                         for _, message in self.nats.stored(stream, first.get(stream, 1))]
                for stream in STREAMS}

    def as_parked(self, message):
        """A message; the record that was due, for the one that the broker made of it."""
        return self.parked.get(dict(message.headers).get("Nats-Scheduler"), message)

    def record(self, message):
        headers = [[name, self.portable(value)] for name, value in sorted(message.headers)]
        try:
            body = {"body": self.portable(message.data.decode())}
        except UnicodeDecodeError:
            body = {"bodyBase64": base64.b64encode(message.data).decode()}
        return {"subject": message.subject, "headers": headers} | body

    def load(self, binary, records):
        """Stores records in an empty broker, whose streams a router creates."""
        with self.start(binary, READING):
            pass
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for stream in STREAMS:
            for record in records[stream]:
                subject = re.sub(r"^sw\.ev\.\d+\.(.*)$", r"sw.in.\1.-", record["subject"])
                headers = [(name, self.local(value)) for name, value in record["headers"] if name not in NOT_LOADED]
                # A parked delivery expires a day after it was seen first, whenever this runs.
                headers = [(name, now if name == "switchyard-first-seen" else value) for name, value in headers]
                body = (base64.b64decode(record["bodyBase64"]) if "bodyBase64" in record
                        else self.local(record["body"]).encode())
                self.nats.publish_stored(subject, body, headers)

    def local(self, text):
        return text.replace(PLACEHOLDER, self.sink.url)

    def fire_now(self):
        """Moves the time of every parked record to now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        for sequence, message in list(self.nats.stored("SW_PARKED")):
            if message.subject.startswith("sw.retry."):
                headers = dict(message.headers) | {"Nats-Schedule": f"@at {now}", "Nats-Msg-Id": f"now/{sequence}"}
                self.nats.publish_stored(message.subject, message.data, headers.items())

    # ---- reading ----

    def check(self, binary, expected, is_other_release=False):
        """What a version makes of the records: views, failed webhooks, deliveries.

        `expected` holds what the version that wrote them shows. Views of another release may have other members:
        those that only one of both has, at every place of this kind, are not compared. Returns the deliveries.
        """
        parked = {dict(message.headers)["switchyard-delivery-id"] for _, message in self.nats.stored("SW_PARKED")}
        self.tokens = expected["tokens"]
        self.sink.received.clear()
        self.sink.answers.clear()
        self.sink.release("/held")
        for path in ("/modules", "/silent-modules"):
            self.sink.answer(path, 500)
        with Function(self.nats_port, FUNCTION, b"ok") as calls, self.start(binary, READING):
            views = (expected["views"], self.views())
            if is_other_release:
                views = common_members(*views)
            require_equal("views of the registry", *views)
            require_equal("failed webhooks", read_bodies(expected["failed"]), read_bodies(self.failed_webhooks()))
            self.switch("resume", "inst-forge", "paused")
            self.fire_now()
            until(lambda: self.nats.count("SW_PARKED") == 0 and self.pending() == 0, "nothing is parked or pending", 60)
            require_equal("dead letters", DEAD_LETTERS, self.nats.count("SW_DLQ"))
            deliveries = sorted({delivery_of(one) for one in self.sink.received} - {None})
            arrived = {delivery for _, _, delivery in deliveries} | set(calls.deliveries)
            require_equal("parked deliveries that did not arrive", [], sorted(parked - arrived))
            return [list(delivery) for delivery in deliveries if delivery[0].endswith("/probe")]


class Function:
    """A function of an app: a subscriber that replies to each call with the same bytes."""

    def __init__(self, nats_port, subject, answer):
        self.nats, self.answer, self.deliveries = Nats(nats_port), answer, []
        # The first call may come late.
        self.nats.socket.settimeout(None)
        self.subscription = self.nats.subscribe(subject)
        self.nats.flush()

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.nats.socket.shutdown(socket.SHUT_RDWR)

    def serve(self):
        try:
            while True:
                call = self.nats.receive(self.subscription)
                self.deliveries.append(dict(call.headers)["webhook-id"])
                self.nats.publish(call.reply, self.answer)
        except (OSError, NatsError):
            pass  # The context ended.


def delivery_of(received):
    """Path, module key and delivery id of a request; `None` if it is no delivery."""
    headers = received.headers
    delivery = headers.get("x-atlassian-webhook-identifier") or headers.get("webhook-id")
    path = received.path.partition("?")[0]
    return (path, headers.get("switchyard-module-key", ""), delivery) if delivery else None


def common_members(*values):
    """The values without the members that only one of them has, wherever it has them."""
    common = set.intersection(*(set(members(value)) for value in values))
    return [with_members(value, common) for value in values]


def members(value, path=""):
    """The paths of all members; items of a list have the same path, and so have the views of documents."""
    if isinstance(value, dict):
        for key, member in value.items():
            here = f"{path}.{kind(key)}"
            yield here
            yield from members(member, here)
    elif isinstance(value, list):
        for item in value:
            yield from members(item, f"{path}[]")


def with_members(value, wanted, path=""):
    if isinstance(value, dict):
        kept = {key: member for key, member in value.items() if f"{path}.{kind(key)}" in wanted}
        return {key: with_members(member, wanted, f"{path}.{kind(key)}") for key, member in kept.items()}
    if isinstance(value, list):
        return [with_members(item, wanted, f"{path}[]") for item in value]
    return value


def kind(key):
    """The name of a member; of the path of a document, only of what kind it is."""
    return re.sub(r"^(/[a-z-]+)/[^/]+", r"\1/*", key)


def require_equal(what, expected, found):
    if expected != found:
        raise Difference(f"{what}:\n" + "\n".join(differences(expected, found)))


def differences(expected, found, path=""):
    """The places in which two JSON values differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key not in expected or key not in found:
                yield f"  {path}.{key}: only in the {'expected' if key in expected else 'found'} one"
            else:
                yield from differences(expected[key], found[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found)):
            yield from differences(one, other, f"{path}[{at}]")
    elif expected != found:
        yield f"  {path}: expected {expected!r}, found {found!r}"


def read_bodies(failed):
    """Failed webhooks with their bodies as values: a release that does not keep the white space shows none."""
    return [[url, delivery, json.loads(body)] for url, delivery, body in failed]


def without_counters(value):
    """A view without counters, texts for people, and what the bucket, the clock and the replica decide."""
    if isinstance(value, dict):
        left_out = {"stats", "reason", "warnings", "failing", "replica", "counts", "lastActivity", "expiresAt",
                    "lastProblem"} | ({"revision"} if "environment" in value else set())
        left_out |= {"failures", "dueAt"} if "error" in value else set()
        left_out |= {"total"} if "items" in value else set()
        return {key: without_counters(member) for key, member in value.items() if key not in left_out}
    return [without_counters(item) for item in value] if isinstance(value, list) else value


# ---- the form of a record: its bytes without the values that differ from run to run ----

VOLATILE = [(re.compile(pattern), text) for pattern, text in (
    (r"dlv_[a-z2-7]{26}", "dlv_*"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "<time>"),
    (r"\b\d{10,}\b", "<number>"),
    (r'"(kid|pkcs8|tokenHash|sharedSecret|digest|reason)":"[^"]*"', r'"\1":"<\1>"'),
    (r"\b([A-Z]+)-\d+\b", r"\1-*"),
    (r'"id": "10\d+"', '"id": "*"'),
    (r"Issue \\u00e9 \d+", "Issue *"),
    (r"^sw\.ev\.\d+", "sw.ev.*"),
)]
NUMBERS = re.compile(r"\d+")
# Headers of which only the form is compared: counters, sequences and ids made of them.
NUMBERED = {"Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence", "switchyard-sequence", "switchyard-parks",
            "switchyard-event-id", "switchyard-dlq-revision", "ce-id"}
# Headers with a text for people.
TEXTS = {"switchyard-dlq-last-error"}
# Headers that this version adds, which earlier ones ignore: what a redrive of a dead letter needs, and when the
# event of a delivery was stored.
ADDED = {"switchyard-dlq-subject", "switchyard-dlq-message-id", "switchyard-stored-ms"}
# Headers of a stored record that mean something only where it was written.
NOT_LOADED = {"Nats-Expected-Last-Subject-Sequence"}


# Message ids as earlier versions wrote them: of a parked record, and of the dead letter of an event or a
# record. This one adds the due time or the time stored; only the broker's deduplication reads it.
EARLIER_ID = re.compile(r"dlv_[a-z2-7]{26}/\d+/\d+|dead/(event|record)/\d+")
ADDED_TIME = "/1000000000000"


def as_now(name, value):
    """A header of an earlier version as this one writes it."""
    return value + ADDED_TIME if name == "Nats-Msg-Id" and EARLIER_ID.fullmatch(value) else value


def form(record, is_earlier=False):
    """A record as text, in which everything but times, ids, counters and secrets is as it was written."""
    named = [(name, as_now(name, value) if is_earlier else value) for name, value in record["headers"]]
    if is_earlier and record["subject"].startswith("$KV."):
        # Deletions of earlier versions expire, those of this one stay.
        named = [(name, value) for name, value in named if name != "Nats-TTL"]
    headers = [(name, "" if name in TEXTS else NUMBERS.sub("*", fixed(value)) if name in NUMBERED else fixed(value))
               for name, value in named]
    headers = [(name, value) for name, value in headers if is_earlier or name not in ADDED]
    body = record.get("body")
    if record["subject"].startswith("$KV.") and not is_earlier:
        # New: the client that registered a webhook. Earlier versions keep the member.
        body = body and body.replace('"client":"oauth-1",', "")
    if record["subject"].startswith("$KV."):
        headers = [(name, value) for name, value in headers if name not in NOT_LOADED]
    return json.dumps([fixed(record["subject"]), headers, record.get("bodyBase64") if body is None else fixed(body)])


def fixed(text):
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def form_differences(expected, found):
    """Forms of records that only one of two dumps has, as text around the first difference."""
    for stream in STREAMS:
        one = {form(record, is_earlier=True) for record in expected[stream]}
        other = {form(record) for record in found[stream]}
        missing, extra = sorted(one - other), sorted(other - one)
        for sign, lines, others in (("-", missing, extra), ("+", extra, missing)):
            for line in lines:
                at = max((len(os.path.commonprefix([line, text])) for text in others), default=0)
                yield f"  {stream} {sign} {line[:60]} ... {line[max(0, at - 60):at + 100]}"
