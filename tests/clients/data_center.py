"""A Data Center site: posts signed webhooks in the forms of Jira Data Center with the library requests.

Its bodies name users by `name` and `key`, comments come without their issue, and a webhook that is not answered with
success is sent again under the same identifier.
"""
import collections
import hashlib
import hmac
import http.server
import json
import os
import threading
import time

import requests

SERVER = os.environ["SWITCHYARD_SERVER"]
SITE, SECRET = "site-dc", os.environ["SWITCHYARD_DC_SECRET"]
APP = "ari:cloud:ecosystem::app/data-center"
WAIT_S = 20


class Handler(http.server.BaseHTTPRequestHandler):
    """The app: keeps what it gets, by event type."""
    received = collections.defaultdict(list)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received[body["eventType"]].append(body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def admin(method, path, body):
    answer = requests.request(method, f"{SERVER}/admin/v1{path}", json=body, timeout=20,
                              headers={"Authorization": f"Bearer {os.environ['SWITCHYARD_TOKEN']}"})
    answer.raise_for_status()
    return answer.json()


def post(body, identifier=None, secret=SECRET, **query):
    """Posts a webhook as the site does: JSON in UTF-8, users in the query, a signature over the bytes."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=UTF-8", "User-Agent": "Atlassian HttpClient unknown / JIRA-10.3.0",
               "X-Hub-Signature": "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()}
    if identifier:
        headers["X-Atlassian-Webhook-Identifier"] = identifier
    answer = requests.post(f"{SERVER}/ingest/jira/{SITE}", data=raw, headers=headers, params=query, timeout=20)
    return answer.status_code


def until(what, holds):
    stop = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < stop, f"not within {WAIT_S} s: {what}"
        time.sleep(0.05)


listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=listener.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{listener.server_address[1]}/events"
admin("PUT", f"/apps/{requests.utils.quote(APP, safe='')}", {"kind": "forge", "endpoints": [{"key": "all", "url": url}]})
token = admin("PUT", "/installations/data-center", {"app": APP, "cloudId": SITE, "product": "jira"})["token"]
trigger = {"type": "trigger", "data": {"endpoint": "all", "events": [
    "avi:jira:created:issue", "avi:jira:updated:issue", "avi:jira:commented:issue"]}}
requests.post(f"{SERVER}/forge/installation/v2/dynamic/module", json=trigger, timeout=20,
              headers={"Authorization": f"Bearer {token}"}).raise_for_status()

user = {"self": "https://jira.example/rest/api/2/user?username=ärni", "name": "ärni", "key": "JIRAUSER10100",
        "emailAddress": "a@example.org", "displayName": "Ärni", "active": True, "timeZone": "Europe/Zurich"}
issue = {"id": "10100", "self": "https://jira.example/rest/api/2/10100", "key": "DC-1", "fields": {
    "summary": "Größe", "project": {"id": "1", "key": "DC", "name": "Data Center"}, "issuetype": {"id": "3", "name": "Task"},
    "status": {"id": "1", "name": "Open"}, "assignee": user, "customfield_10001": None}}
created = {"timestamp": 1767000000000, "webhookEvent": "jira:issue_created", "issue_event_type_name": "issue_created",
           "user": user, "issue": issue}
updated = {**created, "timestamp": 1767000001000, "webhookEvent": "jira:issue_updated", "issue_event_type_name": "issue_generic",
           "changelog": {"id": "1", "items": [{"field": "status", "fieldtype": "jira", "from": "1", "fromString": "Open",
                                               "to": "3", "toString": "In Progress"}]}}
comment = {"timestamp": 1767000002000, "webhookEvent": "comment_created", "comment": {
    "self": "https://jira.example/rest/api/2/issue/10100/comment/10200", "id": "10200", "author": user, "body": "Schön",
    "updateAuthor": user, "created": "2026-01-01T10:00:00.000+0100", "updated": "2026-01-01T10:00:00.000+0100"}}

assert post(created, secret="another secret than that of the site") == 401
assert post(created, user_id="ärni", user_key="JIRAUSER10100") == 202
for _ in range(3):
    assert post(updated, identifier="dc-identifier-1") == 202
assert post(comment) == 202
got = Handler.received
until("three events", lambda: sum(map(len, got.values())) >= 3)
time.sleep(0.5)
assert {name: len(bodies) for name, bodies in got.items()} == {
    "avi:jira:created:issue": 1, "avi:jira:updated:issue": 1, "avi:jira:commented:issue": 1}, got
assert got["avi:jira:created:issue"][0]["issue"] == issue
assert got["avi:jira:updated:issue"][0]["changelog"]["items"][0]["toString"] == "In Progress"
assert got["avi:jira:commented:issue"][0]["comment"]["body"] == "Schön"
print("Data Center: ok")
