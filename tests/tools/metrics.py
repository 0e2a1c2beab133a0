#!/usr/bin/env python3
"""metrics.py - a real Prometheus scrapes a real router through incidents.

    metrics.py --binary PATH --prometheus PATH --promtool PATH [--subscriptions N] [--names N]

Holds what operators see to the code: each family of src/telemetry/names/families.rs is in the scrape with its
help text, its type and its labels, counters of closed label sets begin at 0, `promtool check metrics` has no
complaint, the rules of deploy/prometheus are evaluated without error, and each panel of the dashboards has data.

Incidents: a filter fails, a handler hangs, one rejects everything, a tenant floods, a site floods, the broker
stops, its disk is full (a tmpfs, where this user may mount one). For each, the alert that names it fires (with `for` shortened to a second and windows as they are), and the
log has a line that names the culprit and not thousands. At last, a flood of invented names: the number of series
stays below 2,000. Needs a nats-server (`NATS_SERVER`, or the one of `make tools`). Exit status 0 if all holds.
"""
import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from harness import ADMIN_TOKEN, Nats, Router, Sink, nats_server_path, quote, until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "deploy"))
from metric_table import families, series_of  # noqa: E402

EVENT_TYPE = "avi:jira:updated:issue"
SITE, COUNTED_SITE, FLOOD_SITE = "site-metrics", "site-counted", "site-flood"
SERIES_MAX = 2_000
# Families without a series in this run, with the reason.
NOT_HERE = {
    "switchyard_registry_missing_key_documents": "no key is missing",
    "switchyard_share_exceeded_total": "no owner uses up its shares",
}
# Panels without data in this run, with the reason.
NO_DATA = {}
ALERT_S = 90
SETTINGS = {
    "LOG__FILTER": "info",
    "LOG__FORMAT": "json",
    "EVENTS__ALLOW_UNKNOWN": "true",
    "DELIVERY__TIMEOUT_MS": 1000,
    "DELIVERY__ENDPOINT_CONCURRENCY": 2,
    "DELIVERY__PARK_AFTER_MS": 500,
    "DELIVERY__ACCOUNT_INTERVAL_S": 5,
    "LIMITS__REGISTRATION_RATE": 10000,
    "LIMITS__REGISTRATION_BURST": 10000,
}


class Broker:
    """A nats-server that can be stopped, and started again with the same data at the same port."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.port = "-1"
        config = f'max_payload: 2MB\njetstream {{ store_dir: "{self.folder / "js"}", max_mem: 1G, max_file: 16G }}\n'
        (self.folder / "nats.conf").write_text("server_name: solo\n" + config)
        self.start()

    def start(self):
        command = [nats_server_path(), "-c", str(self.folder / "nats.conf"), "-a", "127.0.0.1", "-p", str(self.port),
                   "--ports_file_dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports = self.folder / f"nats-server_{self.process.pid}.ports"

        def port():
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
                return int(json.loads(ports.read_text())["nats"][0].rsplit(":", 1)[1])

        self.port = until(port, "nats-server writes its ports file")
        until(self.answers, "JetStream answers")

    def answers(self):
        with contextlib.suppress(Exception), Nats(self.port) as nats:
            return "memory" in nats.api("INFO")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@contextlib.contextmanager
def small_disk(folder, size):
    """Mounts a small file system, by `sudo` if this user may not; yields whether it is there."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(folder)]

    def is_done(command):
        with contextlib.suppress(OSError):
            return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    root = next((root for root in ([], ["sudo", "-n"]) if is_done([*root, "mount", *options])), None)
    try:
        yield root is not None
    finally:
        if root is not None:
            is_done([*root, "umount", "-l", str(folder)])


class Handlers(Sink):
    """Handlers by path; `/slow` takes a while."""

    def __init__(self):
        super().__init__()
        # Timeouts break connections.
        self.server.handle_error = lambda *_: None


class Prometheus:
    """A Prometheus server that scrapes one router every second, with the rules that are shipped."""

    def __init__(self, binary, folder):
        self.folder = pathlib.Path(folder)
        rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
        shortened, count = re.subn(r"(?m)^(\s+for: ).*$", r"\g<1>1s", rules)
        assert count > 30, "rules with a duration"
        (self.folder / "rules.yml").write_text(shortened)
        (self.folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n"
            "  - job_name: switchyard\n    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]\n")
        self.scrape(None)
        command = [binary, f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'data'}",
                   "--web.listen-address=127.0.0.1:0"]
        self.log = open(self.folder / "prometheus.log", "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.address = until(self.listening, "Prometheus listens")
        until(lambda: self.is_ready(), "Prometheus is ready")

    def listening(self):
        assert self.process.poll() is None, (self.folder / "prometheus.log").read_text()
        found = re.search(r"(?:msg=\"Listening on\"|component=web).*address=(127\.0\.0\.1:[1-9]\d*)",
                          (self.folder / "prometheus.log").read_text())
        return found and found[1]

    def is_ready(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).status == 200

    def scrape(self, address):
        target = [{"targets": [address]}] if address else []
        file = self.folder / "targets.json.new"
        file.write_text(json.dumps(target))
        file.rename(self.folder / "targets.json")

    def get(self, path, **query):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from None

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def value(self, expression):
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def firing(self, alert, **labels):
        """The firing alert with these labels."""
        for one in self.get("alerts")["alerts"]:
            of = one["labels"]
            if of["alertname"] == alert and one["state"] == "firing" and labels.items() <= of.items():
                return one

    def until_firing(self, alert, **labels):
        started = time.monotonic()
        found = until(lambda: time.sleep(0.2) or self.firing(alert, **labels), f"{alert} {labels} fires", ALERT_S)
        print(f"{alert} after {time.monotonic() - started:.0f} s: {found['annotations']['summary']}", flush=True)
        return found

    def until_ended(self, alert):
        until(lambda: time.sleep(0.2) or not self.firing(alert), f"{alert} ends", ALERT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class World:
    def __init__(self, options, folder, broker, prometheus, handlers):
        self.options, self.folder, self.broker = options, folder, broker
        self.prometheus, self.handlers = prometheus, handlers
        self.table = families()
        self.problems, self.sent, self.logs, self.keys = [], 0, [], {}

    def check(self, holds, problem):
        if not holds:
            print(f"FAILED: {problem}", flush=True)
            self.problems.append(problem)

    def start_router(self):
        log = open(self.folder / f"router-{len(self.logs)}.log", "w")
        self.logs.append(pathlib.Path(log.name))
        self.router = Router(self.options.binary, self.broker.port, self.folder / "router", SETTINGS, log)
        self.prometheus.scrape(self.router.address)

    def log_lines(self, message=None):
        lines = []
        for path in self.logs:
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
        return [line for line in lines if message in (None, line.get("message"))]

    def subscribe(self, name, expression, site=SITE):
        endpoint = {"key": "hook", "url": f"{self.handlers.url}/{name}?token=hidden",
                    "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
        self.router.admin("PUT", f"/apps/app-{name}", {"kind": "forge", "functions": ["main"], "endpoints": [endpoint]})
        token = self.install(f"inst-{name}", f"app-{name}", site)
        trigger = {"endpoint": "hook", "events": [EVENT_TYPE], "filter": {"expression": expression}}
        registered = self.router.call("POST", "/forge/installation/v2/dynamic/module",
                                      {"type": "trigger", "data": trigger}, f"Bearer {token}")
        self.keys[name] = registered["key"]

    def owner(self, name):
        """Labels of a subscription."""
        return {"app": f"app-{name}", "installation": f"inst-{name}", "key": self.keys[name]}

    def install(self, installation, app, site):
        body = {"app": app, "cloudId": site, "product": "jira", "licensed": True, "environment": "PRODUCTION",
                "state": "enabled"}
        return self.router.admin("PUT", f"/installations/{installation}", body)["token"]

    def send(self, project, count, site=SITE):
        """Publishes events about a project, as a producer on the bus."""
        with Nats(self.broker.port) as nats:
            for _ in range(count):
                self.sent += 1
                key = f"{project}-{self.sent}"
                body = {"eventType": EVENT_TYPE, "issue": {"id": str(self.sent), "key": key, "fields": {
                    "summary": f"Issue {self.sent}", "project": {"key": project}}}}
                headers = [("Nats-Msg-Id", f"{site}/e{self.sent}"), ("ce-specversion", "1.0"), ("ce-id", f"e{self.sent}"),
                           ("ce-type", EVENT_TYPE), ("ce-cloudid", site), ("ce-subject", key),
                           ("ce-source", f"ari:cloud:jira::site/{site}")]
                nats.publish(f"sw.in.{site}.{EVENT_TYPE}.-", json.dumps(body).encode(), headers)
            nats.flush()

    @contextlib.contextmanager
    def sending(self, project, each_s=0.1, count=5):
        """Publishes events all the time."""
        stop = threading.Event()

        def run():
            while not stop.wait(each_s):
                self.send(project, count)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def scrape(self):
        status, text = self.router.exchange("GET", "/metrics")
        assert status == 200, text
        return text

    # What holds at any time.

    def check_scrape(self, text, is_complete):
        """Names, help texts, types, labels and values are those of the table."""
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
        types = dict(re.findall(r"^# TYPE (\S+) (.*)$", text, re.M))
        known = series_of(self.table)
        for name, family in self.table.items():
            if name not in types:
                # Gauges exist once they are known.
                is_known = is_complete or (family.kind != "gauge" and None not in family.labels.values())
                self.check(name in NOT_HERE or not is_known, f"no series of {name}")
                continue
            self.check(name not in NOT_HERE, f"{name} has series: remove it from NOT_HERE")
            self.check(helps.get(name) == family.help, f"help of {name}: {helps.get(name)!r} is not {family.help!r}")
            self.check(types[name] == family.kind, f"type of {name}: {types[name]}")
        for name in types.keys() - self.table.keys():
            self.check(False, f"{name} is not in the table")
        count = 0
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            count += 1
            name, labels = re.match(r"(\w+)(?:\{(.*)\})?", line).groups()
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            labels.pop("le", None)
            family = known.get(name)
            if family is None:
                continue
            self.check(labels.keys() == family.keys(), f"labels of {name}: {sorted(labels)}")
            for label, value in labels.items():
                values = family.get(label)
                self.check(values is None or value in values, f"{label}={value} of {name} is not in the table")
        return count

    def check_zeros(self, text):
        """Counters of which all labels have closed sets begin at 0, with all values."""
        for name, family in self.table.items():
            values = list(family.labels.values())
            if family.kind != "counter" or None in values or name in ("switchyard_delivery_attempts_total",
                                                                       "switchyard_auth_failures_total"):
                continue
            expected = 1
            for one in values:
                expected *= len(one)
            found = len(re.findall(rf"^{name}(?:\{{.*\}})? \d", text, re.M))
            self.check(found == expected, f"{name} has {found} series at the start, not {expected}")

    def check_promtool(self, text):
        checked = subprocess.run([self.options.promtool, "check", "metrics"], input=text, text=True, capture_output=True)
        self.check(checked.returncode == 0, f"promtool check metrics: {checked.stdout}{checked.stderr}")

    def check_rules(self):
        for group in self.prometheus.get("rules")["groups"]:
            for rule in group["rules"]:
                problem = f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}"
                self.check(rule["health"] == "ok", problem)

    def check_metadata(self):
        """Prometheus itself understood type and help of what it scraped."""
        found = self.prometheus.get("metadata")
        for name, family in self.table.items():
            if name in NOT_HERE:
                continue
            self.check(name in found, f"Prometheus has no metadata of {name}")
            for one in found.get(name, []):
                self.check((one["type"], one["help"]) == (family.kind, family.help), f"metadata of {name}: {one}")

    def check_dashboards(self):
        for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel.get("targets", []):
                    expression = re.sub(r"\$__(rate_interval|interval)", "1m", target["expr"])
                    expression = expression.replace("$__range", "1h").replace("$app", ".*").replace("$installation", ".*")
                    # In one of the last minutes: what failed may work again.
                    now = time.time()
                    found = self.prometheus.get("query_range", query=expression, start=now - 900, end=now, step=5)
                    name = f"panel {panel['title']!r} of {path.name}, {target['refId']}"
                    is_empty = not found["result"]
                    if (panel["title"], target["refId"]) in NO_DATA:
                        continue
                    self.check(not is_empty, f"{name} has no data: {expression}")

    # Incidents.

    def begin(self):
        self.start_router()
        text = self.scrape()
        self.check_zeros(text)
        self.check_scrape(text, False)
        version = subprocess.run([self.options.binary, "--version"], text=True, capture_output=True).stdout.split()[1]
        until(lambda: self.prometheus.query("switchyard_build_info"), "the first scrape")
        build = self.prometheus.query("switchyard_build_info")[0]
        self.check((build["metric"]["version"], build["value"][1]) == (version, "1"), f"build info: {build}")
        self.subscribe("counted", "event.issue.fields.summary.toLowerCase().includes('0')", COUNTED_SITE)
        self.subscribe("sound", "event.issue.fields.project.key == 'SOUND'")
        self.subscribe("hangs", "event.issue.fields.project.key == 'HANG'")
        self.subscribe("rejects", "event.issue.fields.project.key == 'REJECT'")
        self.subscribe("slow", "event.issue.fields.project.key == 'SLOW'")
        self.subscribe("misspelt", "event.issue.fields.project.key == 'MISSPELT' && event.issue.fields.customfield_10050.value == 'x'")
        self.subscribe("flooded", "event.issue.fields.project.key == 'FLOOD'", FLOOD_SITE)

    def evaluations(self):
        """Evaluations and their steps are counted one by one."""
        def counts():
            text = self.scrape()
            series = r'^switchyard_filter_evaluations_total\{{result="{}"\}} (\d+)'
            values = [int(re.search(series.format(result), text, re.M)[1]) for result in ("true", "false", "error")]
            return values + [int(re.search(r"^switchyard_filter_steps_count (\d+)", text, re.M)[1])]
        before = counts()
        self.send("SOUND", 50, COUNTED_SITE)
        expected = [5, 45, 0, 50]
        found = lambda: [now - then for now, then in zip(counts(), before)]
        with contextlib.suppress(TimeoutError):
            until(lambda: found() == expected, "all are evaluated", 20)
        self.check(found() == expected, f"evaluations true, false, error and steps: {found()}, not {expected}")

    def filter_fails(self):
        with self.sending("MISSPELT", 0.02, 20):
            self.prometheus.until_firing("FilterFailing", **self.owner("misspelt"))
            time.sleep(3)
        lines = [line for line in self.log_lines() if line.get("installation") == "inst-misspelt"]
        mostly = [line for line in lines if line["message"] == "filter fails for half of its events or more"]
        self.check(1 <= len(lines) <= 3, f"{len(lines)} lines about one filter: {lines[:3]}")
        self.check(bool(mostly), f"no line says that it mostly fails: {lines}")

    def handler_hangs(self):
        self.handlers.hold("/hangs")
        self.send("HANG", 40)
        self.prometheus.until_firing("HandlerFailing", **self.owner("hangs"))
        found = self.prometheus.until_firing("EndpointBreakerOpen", cause="timeout", scope="endpoint", app="app-hangs",
                                             installation="inst-hangs")
        self.check(found["labels"]["endpoint"] == f"{self.handlers.url}/hangs", f"endpoint: {found['labels']}")
        lines = [line for line in self.log_lines() if line.get("installation") == "inst-hangs"]
        by_message = [line["message"] for line in lines]
        self.check(1 <= by_message.count("attempt failed") <= 3, f"lines of a hanging handler: {by_message}")
        opened = [line for line in lines if line["message"].startswith("circuit breaker opened")]
        self.check(len(opened) == 1 and opened[0]["cause"] == "timeout", f"no line about the breaker: {by_message}")
        self.check(all("hidden" not in json.dumps(line) for line in lines), "a log line has the query of the endpoint")
        self.handlers.release("/hangs")

    def handler_recovers(self):
        """The breaker of the handler that hung closes, and says so."""
        until(lambda: [line for line in self.log_lines() if line["message"].startswith("circuit breaker closed")],
              "the breaker closes", 180)
        self.prometheus.until_ended("EndpointBreakerOpen")

    def dead_letters(self):
        self.handlers.answer("/rejects", 404)
        with self.sending("REJECT"):
            self.prometheus.until_firing("SubscriptionDeadLetters", **self.owner("rejects"))
            self.prometheus.until_firing("DLQGrowing", reason="rejected_4xx")
        lines = [line for line in self.log_lines("delivery dead-lettered") if line["installation"] == "inst-rejects"]
        self.check(1 <= len(lines) <= 3, f"{len(lines)} lines about dead letters")
        # Its module is removed from matching; what it left behind stays to be seen.
        self.router.admin("POST", f"/subscriptions/{quote('inst-rejects/' + self.keys['rejects'])}/disable", {})
        series = 'switchyard_subscription_dead_total{installation="inst-rejects"} > 0'
        time.sleep(3)
        self.check(bool(self.prometheus.query(series)), "the series of a disabled subscription with dead letters ended")

    def tenant_floods(self):
        self.handlers.hold("/slow")
        owner = self.owner("slow")
        # Answers come, and slowly: no attempt times out.
        stop = threading.Event()

        def answer_slowly():
            while not stop.wait(0.4):
                self.handlers.release("/slow")
                self.handlers.hold("/slow")

        thread = threading.Thread(target=answer_slowly)
        thread.start()
        try:
            with self.sending("SLOW", 0.05, 50):
                self.prometheus.until_firing("TenantFloods", **owner)
                self.prometheus.until_firing("ParkedGrowing", **owner)
        finally:
            stop.set()
            thread.join()
            self.handlers.release("/slow")

    def site_floods(self):
        """A router starts with a backlog of one site."""
        self.router.kill()
        self.prometheus.until_firing("RouterDown")
        self.send("FLOOD", self.options.flood, FLOOD_SITE)
        time.sleep(11)
        self.start_router()
        self.prometheus.until_firing("SiteFloods", site=FLOOD_SITE)

    def broker_stops(self):
        self.send("SOUND", 5)
        until(lambda: self.prometheus.value("switchyard_input_lag_seconds") == 0, "no event waits", 120)
        self.broker.stop()
        lags = []
        self.prometheus.until_firing("BrokerDown")
        for _ in range(4):
            time.sleep(6)
            lags.append(self.prometheus.value("max(switchyard_input_lag_seconds)"))
        self.check(lags == sorted(set(lags)) and lags[0] > 0, f"the lag does not grow while the broker is away: {lags}")
        self.prometheus.until_firing("InputLagHigh")
        self.broker.start()
        for alert in ("BrokerDown", "InputLagHigh"):
            self.prometheus.until_ended(alert)

    def disk_full(self):
        """A router of its own, whose broker has a small disk."""
        disk = self.folder / "small-disk"
        with small_disk(disk, "24m") as is_mounted:
            if not is_mounted:
                self.check(not os.environ.get("CI"), "this user may not mount a tmpfs, which CI needs")
                print("SKIPPED: this user may not mount a tmpfs", flush=True)
                return
            with Broker(disk) as broker, open(self.folder / "router-full.log", "w") as log:
                router = Router(self.options.binary, broker.port, self.folder / "router-full", SETTINGS, log)
                try:
                    self.prometheus.scrape(router.address)
                    failing = 'switchyard_broker_check_failing{check="write"}'
                    until(lambda: self.prometheus.value(failing) == 0, "its writes are confirmed")
                    with contextlib.suppress(OSError), open(disk / "rest", "wb", buffering=0) as rest:
                        while rest.write(bytes(4096)):
                            pass
                    self.prometheus.until_firing("BrokerNotWriting", check="write")
                    said = subprocess.run([self.options.binary, "doctor", "-s", f"http://{router.address}"], text=True,
                                          capture_output=True, env={**os.environ, "SWITCHYARD_TOKEN": ADMIN_TOKEN}).stdout
                    self.check("the disk of the server solo is full" in said, f"the doctor says: {said}")
                finally:
                    router.kill()
        self.prometheus.scrape(self.router.address)
        self.prometheus.until_ended("BrokerNotWriting")

    def invented_names(self):
        """10,000 subscriptions, and as many invented event types, sites and webhooks."""
        options = self.options
        triggers = [{"key": f"t{number}", "function": "main", "events": [EVENT_TYPE]} for number in range(100)]
        self.router.admin("PUT", "/apps/app-many", {"kind": "forge", "functions": ["main"],
                                                    "staticModules": {"trigger": triggers}})
        for number in range(options.subscriptions // 100):
            self.install(f"inst-many-{number}", "app-many", f"site-many-{number}")
        lines = []
        for number in range(options.names):
            kind, site = f"invented:type:{number}", f"invented-{number}"
            lines.append(json.dumps({"headers": {"ce-id": f"i{number}", "ce-type": kind, "ce-cloudid": site},
                                     "data": {"eventType": kind}}))
        status, answer = self.router.exchange("POST", "/admin/v1/events", "\n".join(lines).encode(), {
            "authorization": "Bearer test-admin-token-0123456789abcdef", "content-type": "application/x-ndjson"})
        accepted = json.loads(answer).get("accepted")
        self.check(status == 202 and accepted == options.names, f"invented events: {status} {answer[:300]}")
        connection = http.client.HTTPConnection(self.router.address, timeout=60)
        for number in range(options.names):
            connection.request("POST", f"/ingest/jira/invented-{number}", b"{}", {"content-type": "application/json"})
            connection.getresponse().read()
        # Matches, and breakers that open, on some of their sites.
        for number in range(0, options.subscriptions // 100, 10):
            self.send("X", 1, f"site-many-{number}")
        received = "sum(switchyard_events_received_total)"
        until(lambda: (self.prometheus.value(received) or 0) >= options.names, "all events are pulled", 300)
        until(lambda: self.prometheus.value("switchyard_subscriptions{state=\"active\"}") >= options.subscriptions,
              "all subscriptions are registered")
        until(lambda: self.prometheus.value("count(switchyard_subscription_matched_total)") == options.named,
              f"{options.named} subscriptions have series")

    def end(self):
        # Prometheus has the metadata of the last scrape.
        time.sleep(3)
        text = self.scrape()
        count = self.check_scrape(text, True)
        by_family = collections.Counter(re.match(r"\w+", line)[0] for line in text.splitlines() if re.match(r"\w", line))
        print(f"{count} series; {by_family.most_common(12)}", flush=True)
        self.check(count <= SERIES_MAX, f"{count} series, more than {SERIES_MAX}")
        self.check_promtool(text)
        self.check_rules()
        self.check_metadata()
        self.check_dashboards()
        loud = {}
        for line in self.log_lines():
            loud[line.get("message")] = loud.get(line.get("message"), 0) + 1
        for message, times in sorted(loud.items(), key=lambda one: -one[1])[:8]:
            print(f"log: {times} x {message}")
        self.check(max(loud.values()) < 500, "one line fills the log")

    def run(self):
        steps = [self.begin, self.evaluations, self.filter_fails, self.handler_hangs, self.dead_letters,
                 self.tenant_floods, self.handler_recovers, self.site_floods, self.broker_stops, self.disk_full,
                 self.invented_names,
                 self.end]
        for step in steps:
            started = time.monotonic()
            try:
                step()
            except (TimeoutError, AssertionError) as error:
                self.check(False, f"{step.__name__}: {error}")
                if step == self.begin:
                    break
            print(f"{step.__name__}: {time.monotonic() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--promtool", required=True)
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--named", type=int, default=60, help="subscriptions with series, by default")
    parser.add_argument("--flood", type=int, default=15_000)
    options = parser.parse_args()
    for tool in (options.prometheus, options.promtool):
        if not pathlib.Path(tool).exists():
            print(f"{tool} is missing; run: make .tools/prometheus", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "broker").mkdir()
        (folder / "prometheus").mkdir()
        with Broker(folder / "broker") as broker, Handlers() as handlers, \
                Prometheus(options.prometheus, folder / "prometheus") as prometheus:
            world = World(options, folder, broker, prometheus, handlers)
            try:
                world.run()
            finally:
                world.router.kill()
    for problem in world.problems:
        print(f"FAILED: {problem}")
    print("metrics, alerts, dashboards and runbook agree with the router" if not world.problems else
          f"{len(world.problems)} problems")
    return 1 if world.problems else 0


if __name__ == "__main__":
    sys.exit(main())
