#!/usr/bin/env python3
"""soak_ingest.py - webhooks of 40 forms, repeated late, to routers that are killed.

    soak_ingest.py --binary PATH [--webhooks N] [--kills N] [--minutes20 S] [--window S] [--seed N]

Two routers share a broker. A tenth of the webhooks is repeated under the same identifier after a random part
of 20 minutes, what fails is repeated after 5 to 15 minutes like Jira does, and routers are killed (SIGKILL) in
between. Time is shortened: 20 minutes take `--minutes20` seconds, and the broker forgets ids after `--window`
seconds. 1 webhook in 50 must be refused. At the end each accepted event must be stored exactly once, and the
routers must have counted exactly the refused webhooks. Needs a nats-server (`NATS_SERVER`, or the one of
`make tools`). Exit status 0 if nothing is lost, stored twice or miscounted.
"""
import argparse
import collections
import contextlib
import hashlib
import hmac
import heapq
import http.client
import json
import pathlib
import random
import re
import sys
import tempfile
import threading
import time

from harness import Nats, Router, broker, until

SECRET = "0123456789abcdef0123456789abcdef"
SITES = [f"soak-{number}" for number in range(4)]
SAMPLES = pathlib.Path(__file__).resolve().parent.parent / "data/events"
WORKERS = 16
# Sends of one webhook that fail, after which it counts as lost.
FAILURES_MAX = 40
REFUSED_EVERY = 50
REPEATED_EVERY = 10
EVENT_STREAM_BYTES = 8 << 30
# Events that are read back with one request.
BATCH = 1_000


def sample(name):
    return json.loads((SAMPLES / f"webhook-{name}.json").read_text())


def numbered(body, number):
    """`body` as the webhook of another change: ids and times are those of `number`."""
    body = json.loads(json.dumps(body))
    body["timestamp"] = 1_772_000_000_000 + number
    for name in ("issue", "comment", "worklog", "version", "project", "issueLink", "sprint", "board", "attachment"):
        if isinstance(body.get(name), dict):
            body[name]["id"] = str(number)
    if "changelog" in body:
        body["changelog"]["id"] = str(number)
    return body


def changed(name, **members):
    """A form: a sample with other members."""
    return lambda: sample(name) | members


def entity(event, name, **members):
    """A form without a sample: one entity."""
    value = {"self": f"https://site.example/rest/api/2/{name}/1", "name": f"A {name}"} | members
    return lambda: {"webhookEvent": event, name: value}


def with_text(name, text):
    """A form with a long or strange text in the summary of its issue."""
    def form():
        body = sample(name)
        body["issue"]["fields"]["summary"] = text
        return body
    return form


def with_items(*fields):
    """An update of some fields."""
    def form():
        body = sample("issue-updated")
        body["changelog"]["items"] = [
            {"field": field, "fieldId": field, "fieldtype": "jira", "from": None, "fromString": None, "to": "712020:x",
             "toString": text} for field, text in fields]
        return body
    return form


def all_forms():
    forms = {
        "issue created": changed("issue-created"),
        "issue updated": changed("issue-updated"),
        "issue deleted": changed("issue-created", webhookEvent="jira:issue_deleted"),
        "issue assigned": with_items(("assignee", "Bea")),
        "issue assigned and moved": with_items(("assignee", "Bea"), ("status", "Done")),
        "issue with a long changelog": with_items(("description", "long text " * 2_500)),
        "issue with a long summary": with_text("issue-created", "a" * 60_000),
        "issue in many scripts": with_text("issue-created", "Ünïcode 漢字 \U0001f525 \u202e end"),
        "issue with escapes": with_text("issue-updated", 'quote " backslash \\ line\n tab\t nul\u0001'),
        "comment created": changed("comment-created"),
        "comment updated": changed("comment-created", webhookEvent="comment_updated"),
        "comment deleted": changed("comment-created", webhookEvent="comment_deleted"),
        "worklog created": changed("worklog-created"),
        "worklog updated": changed("worklog-created", webhookEvent="worklog_updated"),
        "worklog deleted": changed("worklog-created", webhookEvent="worklog_deleted"),
        "link created": changed("issuelink-created"),
        "link deleted": changed("issuelink-created", webhookEvent="issuelink_deleted"),
        "version merged": changed("version-merged"),
        "lamp lit": lambda: {"webhookEvent": "lamp_lit", "lamp": {"watts": 7}},
    }
    for verb in ("created", "updated", "deleted", "released", "unreleased", "moved"):
        forms[f"version {verb}"] = entity(f"jira:version_{verb}", "version", released=False)
    for verb in ("created", "updated", "deleted"):
        forms[f"project {verb}"] = entity(f"project_{verb}", "project", key="OPS")
        forms[f"board {verb}"] = entity(f"board_{verb}", "board", type="scrum")
        forms[f"attachment {verb}"] = entity(f"attachment_{verb}", "attachment", filename="a.txt", size=7)
    for verb in ("created", "updated", "started", "closed", "deleted"):
        forms[f"sprint {verb}"] = entity(f"sprint_{verb}", "sprint", state="active")
    forms["user created"] = entity("user_created", "user", accountId="712020:y")
    return forms


class Webhook:
    """One webhook, for as long as it is sent."""

    def __init__(self, number, site, body):
        self.number, self.site, self.body = number, site, body
        self.identifier = f"soak-{number}"
        self.ids, self.failures, self.repeats = None, 0, 0

    def headers(self):
        digest = hmac.new(SECRET.encode(), self.body, hashlib.sha256).hexdigest()
        return {"content-type": "application/json", "x-hub-signature": f"sha256={digest}",
                "x-atlassian-webhook-identifier": self.identifier}


class Refused:
    """A webhook that must be refused."""

    KINDS = {
        "wrong signature": (401, "wrong_signature"),
        "no signature": (401, "no_signature"),
        "other type": (415, "media_type"),
        "cut body": (400, None),
        "no name": (400, None),
        "unknown site": (404, "unknown_site"),
    }

    def __init__(self, kind, webhook):
        self.kind, self.webhook = kind, webhook
        self.status, self.reason = self.KINDS[kind]
        self.site = "nowhere" if kind == "unknown site" else webhook.site
        # Sites that are not provisioned share a series.
        self.label = "other" if kind == "unknown site" else webhook.site

    def request(self):
        webhook = self.webhook
        if self.kind == "cut body":
            webhook.body = webhook.body[:-1]
        if self.kind == "no name":
            webhook.body = b'{"timestamp":1,"lamp":{"id":7}}'
        headers = webhook.headers()
        if self.kind == "wrong signature":
            headers["x-hub-signature"] = "sha256=" + "0" * 64
        if self.kind == "no signature":
            del headers["x-hub-signature"]
        if self.kind == "other type":
            headers["content-type"] = "text/plain"
        return headers, webhook.body


class Soak:
    def __init__(self, options, nats_port, folder):
        self.options, self.nats_port, self.folder = options, nats_port, folder
        self.random = random.Random(options.seed)
        self.forms = list(all_forms().values())
        self.routers = [None, None]
        self.lock = threading.Condition()
        self.due = []
        self.produced, self.running, self.order = 0, 0, 0
        self.accepted, self.answers = {}, collections.Counter()
        self.problems = []
        self.refused = collections.Counter()
        self.counted = collections.Counter()
        self.reasons, self.counted_reasons = collections.Counter(), collections.Counter()
        self.refusing, self.may_refuse = 0, True
        self.repeated = collections.Counter()
        self.killing = 0

    # Routers.

    def start(self, index):
        settings = {f"INGEST__JIRA__{site.upper()}__SECRET": SECRET for site in SITES}
        settings |= {"EVENTS__MAX_BYTES": EVENT_STREAM_BYTES, "LOG__FILTER": "error"}
        router = Router(self.options.binary, self.nats_port, self.folder / f"router-{index}", settings)
        with Nats(self.nats_port) as nats:
            config = nats.api("STREAM.INFO.SW_EVENTS")["config"]
            config["duplicate_window"] = int(self.options.window * 1e9)
            nats.api("STREAM.UPDATE.SW_EVENTS", config)
        self.routers[index] = router

    def provision(self):
        router = self.routers[0]
        router.admin("PUT", "/apps/soak", {"kind": "forge", "functions": ["main"], "endpoints": []})
        for site in SITES:
            body = {"app": "soak", "cloudId": site, "product": "jira", "licensed": True,
                    "environment": "PRODUCTION", "state": "enabled"}
            router.admin("PUT", f"/installations/at-{site}", body)

    def scrape(self, router):
        """Adds what a router counted, before it is killed and at the end."""
        _, text = router.exchange("GET", "/metrics")
        series = r'switchyard_ingest_refused_total\{site="([^"]*)",reason="([^"]*)"\} (\d+)'
        for site, reason, count in re.findall(series, text):
            self.counted[site] += int(count)
            self.counted_reasons[reason] += int(count)
        for found, count in re.findall(r'switchyard_events_repeated_total\{found="(\w+)"\} (\d+)', text):
            self.repeated[found] += int(count)

    def kill(self, index):
        """Kills a router while it stores webhooks, but not between a refusal and its count."""
        with self.lock:
            self.may_refuse = False
            self.lock.wait_for(lambda: self.refusing == 0)
        router = self.routers[index]
        self.scrape(router)
        router.kill()
        self.start(index)
        with self.lock:
            self.may_refuse = True
            self.lock.notify_all()

    # What is sent.

    def later(self, seconds, item):
        with self.lock:
            self.order += 1
            heapq.heappush(self.due, (time.monotonic() + seconds, self.order, item))
            self.lock.notify_all()

    def virtual(self, minutes):
        return minutes / 20 * self.options.minutes20

    def next_item(self):
        """What is sent next: what is due, else a new webhook; None at the end."""
        with self.lock:
            while True:
                now = time.monotonic()
                if self.due and self.due[0][0] <= now:
                    self.running += 1
                    return heapq.heappop(self.due)[2]
                if self.produced < self.options.webhooks and not self.is_paused():
                    self.produced += 1
                    self.running += 1
                    return self.new_webhook(self.produced)
                if not self.due and not self.running and self.produced >= self.options.webhooks:
                    self.lock.notify_all()
                    return None
                self.lock.wait(min(self.due[0][0] - now, 0.5) if self.due else 0.5)

    def is_paused(self):
        """New webhooks wait for the kills that are due, so that all of these happen among them."""
        done = self.produced * (self.options.kills + 1) // max(self.options.webhooks, 1)
        return done > self.killing + 1

    def new_webhook(self, number):
        body = numbered(self.forms[number % len(self.forms)](), number)
        webhook = Webhook(number, self.random.choice(SITES), json.dumps(body, ensure_ascii=number % 2 == 0).encode())
        if number % REFUSED_EVERY == 7:
            kinds = list(Refused.KINDS)
            return Refused(kinds[number // REFUSED_EVERY % len(kinds)], webhook)
        return webhook

    # Sending.

    def work(self, worker):
        connections = {}
        chosen = random.Random(self.options.seed + worker)
        while (item := self.next_item()) is not None:
            try:
                if isinstance(item, Refused):
                    self.send_refused(item, connections, chosen)
                else:
                    self.send(item, connections, chosen)
            except Exception as error:  # noqa: BLE001: a worker that ends would leave its items behind
                self.problems.append(f"worker: {error!r}")
            with self.lock:
                self.running -= 1
                self.lock.notify_all()

    def exchange(self, path, headers, body, connections, chosen):
        router = chosen.choice(self.routers)
        if router.address not in connections:
            connections[router.address] = http.client.HTTPConnection(router.address, timeout=60)
        connection = connections[router.address]
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            del connections[router.address]
            return 0, b""

    def send(self, webhook, connections, chosen):
        path = f"/ingest/jira/{webhook.site}"
        status, text = self.exchange(path, webhook.headers(), webhook.body, connections, chosen)
        with self.lock:
            self.answers[status] += 1
        if status != 202:
            webhook.failures += 1
            if status not in (0, 503) or webhook.failures > FAILURES_MAX:
                self.problems.append(f"{webhook.identifier}: {status} {text[:200]}")
                return
            self.later(self.virtual(chosen.uniform(5, 15)), webhook)
            return
        ids = json.loads(text)["ids"]
        if webhook.ids is None:
            webhook.ids = ids
            with self.lock:
                self.accepted[webhook.number] = (webhook.site, ids)
        elif webhook.ids != ids:
            self.problems.append(f"{webhook.identifier}: ids {ids} after {webhook.ids}")
        if webhook.number % REPEATED_EVERY == 3 and webhook.repeats == 0:
            webhook.repeats += 1
            self.later(self.virtual(chosen.uniform(0, 20)), webhook)

    def send_refused(self, refused, connections, chosen):
        with self.lock:
            self.lock.wait_for(lambda: self.may_refuse)
            self.refusing += 1
        try:
            headers, body = refused.request()
            status, text = self.exchange(f"/ingest/jira/{refused.site}", headers, body, connections, chosen)
            if status == 0:
                # Not answered, since a kill closed the connection earlier.
                self.later(0.1, refused)
                return
            with self.lock:
                self.refused[refused.label] += 1
                self.reasons[refused.reason] += 1
            if status != refused.status:
                self.problems.append(f"{refused.kind}: {status} {text[:200]}")
        finally:
            with self.lock:
                self.refusing -= 1
                self.lock.notify_all()

    # The run.

    def run(self):
        for index in range(2):
            self.start(index)
        self.provision()
        for router in self.routers:
            until(lambda: all(self.is_known(router, site) for site in SITES), "sites are known")
        started = time.monotonic()
        workers = [threading.Thread(target=self.work, args=(worker,)) for worker in range(WORKERS)]
        for worker in workers:
            worker.start()
        for kill in range(self.options.kills):
            share = (kill + 1) / (self.options.kills + 1)
            with self.lock:
                self.lock.wait_for(lambda: self.produced >= self.options.webhooks * share)
            self.kill(kill % 2)
            with self.lock:
                self.killing = kill + 1
                self.lock.notify_all()
            print(f"kill {kill + 1} of {self.options.kills} after {self.produced} webhooks", flush=True)
        for worker in workers:
            worker.join()
        self.seconds = time.monotonic() - started
        for router in self.routers:
            self.scrape(router)
            router.kill()

    @staticmethod
    def is_known(router, site):
        installations = router.admin("GET", "/installations")["items"]
        return any(one.get("cloudId") == site for one in installations)

    def stored(self):
        """Message id -> how often it is stored."""
        counts = collections.Counter()
        with Nats(self.nats_port) as nats:
            total = nats.count("SW_EVENTS")
            inbox = f"{nats.inbox}.stored"
            subscription = nats.subscribe(inbox)
            created = nats.api("CONSUMER.CREATE.SW_EVENTS", {"stream_name": "SW_EVENTS", "config": {
                "ack_policy": "none", "deliver_policy": "all", "headers_only": True, "replay_policy": "instant"}})
            # In batches: the broker closes a connection that does not keep up with what it pushes.
            for read in range(total):
                if read % BATCH == 0:
                    request = json.dumps({"batch": min(BATCH, total - read)}).encode()
                    nats.publish(f"$JS.API.CONSUMER.MSG.NEXT.SW_EVENTS.{created['name']}", request, reply=inbox)
                headers = dict(nats.receive(subscription).headers)
                counts[headers["Nats-Msg-Id"]] += 1
        return counts

    def check(self):
        stored = self.stored()
        expected = {f"{site}/{one}" for site, ids in self.accepted.values() for one in ids}
        lost = expected - set(stored)
        twice = {one: count for one, count in stored.items() if count > 1}
        unasked = set(stored) - expected
        refusals = sum(self.refused.values())
        sent = self.options.webhooks - refusals
        problems = list(self.problems)
        if len(self.accepted) != sent:
            problems.append(f"{sent - len(self.accepted)} webhooks were never accepted")
        for what, found in (("lost", lost), ("stored twice", twice), ("stored and not accepted", unasked)):
            if found:
                problems.append(f"{len(found)} events {what}, such as {sorted(found)[:3]}")
        if self.refused != self.counted:
            problems.append(f"refused {dict(self.refused)}, counted {dict(self.counted)}")
        for reason, count in self.reasons.items():
            if reason is not None and self.counted_reasons[reason] != count:
                problems.append(f"refused as {reason} {count} times, counted {self.counted_reasons[reason]}")
        repeats = sum(self.answers.values()) - len(self.accepted)
        if not (self.repeated["memory"] and self.repeated["broker"]):
            problems.append(f"the repetitions missed the memory or the broker: {dict(self.repeated)}")
        print(f"{len(self.accepted)} webhooks accepted, {len(stored)} events stored, {repeats} sends repeated, "
              f"{refusals} refused, {len(self.forms)} forms, {self.options.kills} kills, {self.seconds:.0f} s")
        print(f"answers {dict(self.answers)}; events recognised {dict(self.repeated)} (without those of killed routers)")
        print(f"{len(lost)} lost, {len(twice)} stored twice, {sum(self.counted.values())} refusals counted")
        return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--webhooks", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--minutes20", type=float, default=90, help="seconds used as 20 minutes")
    parser.add_argument("--window", type=float, default=20, help="seconds after which the broker forgets an id")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    assert len(all_forms()) == 40, len(all_forms())
    with tempfile.TemporaryDirectory() as folder, broker(folder) as nats_port:
        soak = Soak(options, nats_port, pathlib.Path(folder))
        try:
            soak.run()
            problems = soak.check()
        finally:
            for router in soak.routers:
                with contextlib.suppress(Exception):
                    router.kill()
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
