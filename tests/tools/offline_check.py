"""offline_check.py - compares the verdict of `switchyard check` with the answer of a registration API.

Used by registration_cases.py with --check BINARY: after each request to an API that registers modules or webhooks,
the same body goes through `switchyard check --app APP --api API -o json`, and both must find the same errors. What
depends on the state of an installation (taken keys, used-up quotas, addresses, tokens) is judged by the API alone.

An app (`PUT /admin/v1/apps/{id}`) is checked as a record (`--api app`), and its modules once more in the form in which
their author writes them: as a descriptor (`--api connect-app`) or as a manifest. Codes and paths must be the same.
"""
import json
import pathlib
import re
import subprocess
import tempfile
import urllib.parse

APP_MEMBERS = ("kind", "version", "scopes", "functions", "endpoints", "baseUrl", "staticModules")
# Codes of errors that depend on what is registered already.
STATE_CODES = {"SY-2008", "SY-2017", "SY-2018", "SY-2019", "SY-2025"}
# Texts of such errors in the formats without codes.
STATE_TEXTS = re.compile(r"duplicate module keys|modules can be registered dynamically|Maximum number of webhooks")
PATHS = [
    (re.compile(r"^/forge/installation/v2/dynamic/module(/[^/:]+)?/?$"), "forge-v2"),
    (re.compile(r"^(/atlassian)?/forge/installation/v1/dynamic/module(/[^/:]+)?/?$"), "forge-v1"),
    (re.compile(r"^/rest/atlassian-connect/1/app/module/dynamic/?$"), "connect-jira"),
    (re.compile(r"^/wiki/rest/atlassian-connect/1/app/module/dynamic/?$"), "connect-confluence"),
    (re.compile(r"^/rest/api/(2|3|latest)/webhook/?$"), "webhooks"),
]
TIMEOUT_S = 30
APP_PATH = re.compile(r"^/admin/v1/apps/[^/]+/?$")
# An address may be closed to deliveries of this router.
ADDRESS = "SY-2016"
# Codes of a record that cannot be read.
FORM_CODES = {"SY-2001", "SY-2002", "SY-2003"}


class Drift(Exception):
    """The API and `check` judge a request differently."""


class OfflineCheck:
    """Runs `switchyard check` on the requests of cases."""

    def __init__(self, binary, server, fixtures):
        self.binary, self.server, self.fixtures, self.compared = binary, server, fixtures, 0

    def compare(self, step, body, answer):
        """Raises Drift unless `check` judges the body of a step as its answer does."""
        if step["method"] == "PUT" and APP_PATH.match(step["path"].split("?")[0]):
            self.compare_app(body, answer)
            return
        api, text = self.api_of(step), self.request_of(step, body)
        app = self.app_of(step["auth"]) if api and text else None
        if app is None or answer.status in (401, 403, 404, 409, 412, 413, 415, 429) or answer.status >= 500:
            return
        errors = self.check(api, app, text)
        if errors is None:
            return
        self.compared += 1
        judge = self.webhooks if api == "webhooks" else self.connect if api.startswith("connect") else self.forge
        difference = judge(answer, errors)
        if difference:
            raise Drift(f"`check` judges otherwise: {difference}\n  answer {answer.status} {answer.excerpt()}\n"
                        f"  check  {json.dumps(errors)[:600]}")

    def compare_app(self, body, answer):
        """Raises Drift unless `check` finds the errors of an answer to `PUT /admin/v1/apps/{id}`, at the same paths."""
        try:
            document = json.loads(body or b"")
        except ValueError:
            return
        if not isinstance(document, dict) or answer.status not in (200, 201, 422):
            return
        said = set() if answer.status != 422 else located((answer.json() or {}).get("errors", []))
        self.compared += 1
        self.expect_same("app", answer, said, self.app_errors(document, ["--api", "app"]))
        # A record whose form is wrong is refused for its first wrong member.
        if any(not path.startswith("staticModules") and code in FORM_CODES for code, path in said):
            return
        modules = document.get("staticModules")
        if not isinstance(modules, dict):
            return
        if document.get("kind") == "connect":
            descriptor = {"baseUrl": "https://app.example.com", "modules": modules}
            found = self.app_errors(descriptor, ["--api", "connect-app"])
            self.expect_same("descriptor", answer, of_modules(said), in_record(found))
        elif list(modules) in ([], ["trigger"]):
            found = self.app_errors(manifest_of(document), [], "manifest.yml")
            self.expect_same("manifest", answer, of_modules(said), in_record(found))

    def app_errors(self, document, options, name="app.json"):
        """Codes and paths of the errors that `check` finds in a document."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / name
            file.write_text(json.dumps(document), encoding="utf-8")
            return located(self.run([str(file), *options]))

    @staticmethod
    def expect_same(form, answer, said, found):
        said = {(code, path) for code, path in said if code != ADDRESS or (code, path) in found}
        if said != found:
            raise Drift(f"`check` judges the {form} otherwise: it misses {sorted(said - found)} and adds "
                        f"{sorted(found - said)}\n  answer {answer.status} {answer.excerpt()}")

    @staticmethod
    def api_of(step):
        path = step["path"].split("?")[0]
        found = [api for pattern, api in PATHS if pattern.match(path)]
        if not found or step["method"] not in ("POST", "PUT") or (step["method"] == "PUT" and found[0][:5] != "forge"):
            return None
        return "forge-v2" if step["method"] == "PUT" else found[0]

    @staticmethod
    def request_of(step, body):
        """The text of a JSON object; of an update without the key, which its path gives."""
        try:
            document = json.loads(body or b"")
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        if step["method"] == "PUT":
            for holder in (document, document.get("data")):
                if isinstance(holder, dict):
                    holder.pop("key", None)
        return json.dumps(document)

    def app_of(self, auth):
        """The app of a caller as the server has it."""
        (kind, value), = auth.items()
        if kind == "forge":
            name = self.fixtures.installations[value]["app"]
        elif kind == "oauth":
            name = self.fixtures.installations[self.fixtures.oauth_clients[value]["installation"]]["app"]
        elif kind == "connect" and value.get("iss") in self.fixtures.apps:
            name = value["iss"]
        else:
            return None
        answer = self.server.admin("GET", "/apps/" + urllib.parse.quote(name, safe=""), allowed=(200, 404))
        if answer.status == 404:
            return None
        return {name: value for name, value in json.loads(answer.body).items() if name in APP_MEMBERS}

    def check(self, api, app, text):
        """The errors that `check` prints for a request to an API."""
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder) / name for name in ("app.json", "request.json")]
            files[0].write_text(json.dumps(app), encoding="utf-8")
            files[1].write_text(text, encoding="utf-8")
            return self.run([str(files[1]), "--app", str(files[0]), "--api", api])

    def run(self, arguments):
        """The errors that `check` prints."""
        command = [self.binary, "check", *arguments, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode not in (0, 1):
            raise Drift(f"`check` ended with {done.returncode}: {done.stderr.strip()[:400]}")
        found = json.loads(done.stdout)["diagnostics"]
        return [one for one in found if one.get("severity", "error") == "error"]

    @staticmethod
    def forge(answer, errors):
        codes = {one["code"] for one in errors}
        if answer.status in (200, 201):
            return f"it finds {sorted(codes)}" if codes else None
        found = {one["code"] for one in (answer.json() or {}).get("errors", [])}
        if not found or not found - STATE_CODES:
            return f"it finds {sorted(codes)}" if codes - found else None
        missing, more = found - STATE_CODES - codes, codes - found
        return f"it misses {sorted(missing)} and adds {sorted(more)}" if missing or more else None

    @staticmethod
    def connect(answer, errors):
        sentences = [sentence(one) for one in errors if one["code"] not in STATE_CODES]
        if answer.status == 200:
            return f"it finds {sentences}" if sentences else None
        message = (answer.json() or {}).get("message", "")
        if STATE_TEXTS.search(message):
            return f"it finds {sentences}" if sentences else None
        return None if message == "; ".join(sentences) else f"it finds {sentences}"

    @staticmethod
    def webhooks(answer, errors):
        if answer.status != 200:
            return None
        for at, result in enumerate(answer.json()["webhookRegistrationResult"]):
            path = f"webhooks[{at}]"
            found = [one["message"] for one in errors if (one.get("path", "") + ".").startswith(path + ".")]
            said = [text for text in result.get("errors", []) if not STATE_TEXTS.search(text)]
            if sorted(found) != sorted(said):
                return f"at {path} it finds {found}"
        return None


def located(problems):
    """Code and path of each problem; a problem of a filter has its path in its origin."""
    return {(one["code"], one.get("path") or one.get("origin", "").partition("#")[2]) for one in problems}


def in_record(found):
    """Problems of a descriptor or manifest with the paths of an app record."""
    return {(code, re.sub(r"^modules\b", "staticModules", path)) for code, path in found}


def of_modules(said):
    """The problems of modules among those of an app record."""
    return {(code, path) for code, path in said if path.startswith("staticModules")}


def manifest_of(app):
    """A Forge manifest, as JSON, which is YAML, with the triggers of an app record."""
    keyed = {"function": [{"key": key, "handler": "index.run"} for key in app.get("functions", [])],
             "endpoint": [{"key": one.get("key"), "remote": "r"} for one in app.get("endpoints", [])]}
    return {"modules": {**keyed, **app["staticModules"]}, "permissions": {"scopes": app.get("scopes", [])}}


def sentence(problem):
    """A problem as the formats without codes show it."""
    path = f"{problem['path']}: " if problem.get("path") else ""
    return path + problem["message"] + (f"; {problem['help']}" if problem.get("help") else "")
