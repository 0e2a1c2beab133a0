#!/usr/bin/env python3
"""Single sign-on against a real provider (npm oidc-provider): the code flow as a browser goes it, and attacks on it.

    oidc.py --binary target/debug/switchyard --provider tests/oidc
"""
import argparse
import html
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import urllib.parse

import harness

SECRET = "secret-of-the-client-0123456789abcdef"


class Browser:
    """Keeps cookies by host and port, as a browser does by host, and follows redirects."""

    def __init__(self):
        self.cookies = {}

    def send(self, url, form=None):
        """Sends one request; returns status, address of a redirect and text."""
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=harness.START_S)
        jar = self.cookies.setdefault(parts.netloc, {})
        headers = {"Accept": "text/html", "Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET" if form is None else "POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("set-cookie") or []:
            name, value = line.split(";")[0].split("=", 1)
            jar[name] = value
            if "max-age=0" in line.lower() or "01 jan 1970" in line.lower():
                jar.pop(name)
        to = answer.getheader("location")
        return answer.status, to and urllib.parse.urljoin(url, to), text

    def walk(self, url, person, stop):
        """Follows redirects and the forms of the provider; returns the first answer for which `stop` holds."""
        form = None
        for _ in range(20):
            if stop(url):
                return url
            status, to, text = self.send(url, form)
            form = None
            if to:
                url = to
                continue
            assert status == 200, (status, url, text)
            action = html.unescape(re.search(r'<form[^>]* action="([^"]+)"', text).group(1))
            prompt = re.search(r'name="prompt" value="(\w+)"', text).group(1)
            form = {"prompt": prompt, "login": person, "password": "any"}
            url = urllib.parse.urljoin(url, action)
        raise AssertionError("no end of redirects")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def provider(folder, redirect, alg):
    """Starts the provider; returns its process and its address."""
    command = ["node", f"{folder}/provider.mjs", redirect, SECRET]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "ALG": alg})
    line = process.stdout.readline()
    assert line, "the provider does not start: node 20 or newer, and `npm ci` in tests/oidc"
    return process, json.loads(line)["issuer"]


class World:
    def __init__(self, base, router):
        self.base, self.router = base, router
        self.callback = f"{base}/login/oidc/callback"

    def to_callback(self, browser, person, path="/login/oidc"):
        return browser.walk(self.base + path, person, lambda url: url.startswith(self.callback))

    def log_in(self, person, path="/login/oidc"):
        """Goes the whole way; returns the browser and the answer to the callback."""
        browser = Browser()
        return browser, browser.send(self.to_callback(browser, person, path))

    def log(self):
        return self.router.admin("GET", "/audit-log")["items"]


def is_logged_in(world, browser):
    return browser.send(world.base + "/")[0] == 200


def checks(world, issuer):
    browser, (status, to, text) = world.log_in("ada.admins", "/login/oidc?next=/subscriptions%3Fq%3Dx")
    assert (status, to) == (303, world.base + "/subscriptions?q=x"), (status, to, text)
    assert is_logged_in(world, browser)
    newest = world.log()[0]
    assert (newest["operation"], newest["caller"], newest["scope"]) == ("logIn", "ada.admins", "admin"), newest

    for person, scope in [("bob.readers", "read"), ("eve.x.operators", "operate"), ("joe.readers.admins", "admin")]:
        browser, (status, _, text) = world.log_in(person)
        assert status == 303, text
        assert world.log()[0]["scope"] == scope, (person, world.log()[0])

    # Who has no group is refused, and the page says why.
    browser, (status, _, text) = world.log_in("mallory.nobodies")
    assert status == 403 and "mallory.nobodies has no group" in text and 'role="alert"' in text, text
    assert not is_logged_in(world, browser)
    newest = world.log()[0]
    assert (newest["operation"], newest["outcome"]) == ("logInFailed", "refused"), newest

    # The address of the callback is worth nothing in another browser: login CSRF, stolen codes.
    browser = Browser()
    address = world.to_callback(browser, "ada.admins")
    thief = Browser()
    assert thief.send(address)[0] == 403 and not is_logged_in(world, thief)
    thief.send(world.base + "/login/oidc")
    assert thief.send(address)[0] == 403 and not is_logged_in(world, thief), "the state of another login"
    # Another state, a changed page, no code, an error, another issuer.
    changed = lambda **parts: world.callback + "?" + urllib.parse.urlencode(
        {**dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query)), **parts})
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))["state"]
    for parts in [{"state": "x" + state}, {"state": state.split(".")[0] + ".L2V2aWw"}, {"code": ""}, {"code": "made-up"},
                  {"error": "access_denied"}, {"iss": "http://evil.example"}]:
        attacked = Browser()
        attacked.cookies = {host: dict(jar) for host, jar in browser.cookies.items()}
        status, to, text = attacked.send(changed(**parts))
        assert status == 403 and not is_logged_in(world, attacked), (parts, status, text)
    status, to, text = browser.send(address)
    assert status in (303, 403), text
    # A code is taken once.
    assert browser.send(address)[0] == 403

    # A link to the login leads to no other host.
    browser, (status, to, _) = world.log_in("ada.admins", "/login/oidc?next=//evil.example/")
    assert (status, to) == (303, world.base + "/"), to
    # The page of the login has the button, and logout ends the session.
    page = Browser().send(world.base + "/login")[2]
    assert 'href="/login/oidc"' in page and "Corp login" in page, page
    csrf = re.search(r'name="csrf" value="([^"]+)"', browser.send(world.base + "/")[2]).group(1)
    assert browser.send(world.base + "/logout", {"csrf": csrf})[0] == 303
    assert not is_logged_in(world, browser)


def run(binary, folder, alg):
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    process, issuer = provider(folder, f"{base}/login/oidc/callback", alg)
    try:
        with tempfile.TemporaryDirectory() as data, harness.broker(data) as nats:
            settings = {
                "SERVER__PUBLIC_URL": base,
                "OIDC__ISSUER": issuer, "OIDC__CLIENT_ID": "switchyard",
                "OIDC__CLIENT_SECRET": SECRET, "OIDC__NAME": "Corp login",
                "OIDC__REQUEST_SCOPES": "profile,groups", "OIDC__READ": "readers",
                "OIDC__OPERATE": "operators", "OIDC__ADMIN": "admins",
                "SERVER__AUTH_FAILURES_PER_MINUTE": "1000",
            }
            with harness.Router(binary, nats, data, settings, port=port) as router:
                harness.until(router.is_ready, "the router is ready")
                checks(World(base, router), issuer)
                # Without the provider the login fails, and the page says so within its deadline.
                process.kill()
                process.wait()
                browser = Browser()
                status, to, text = browser.send(f"{base}/login/oidc")
                if to:
                    code = urllib.parse.parse_qs(urllib.parse.urlsplit(to).query)["state"][0]
                    status, _, text = browser.send(f"{base}/login/oidc/callback?code=x&state={code}")
                assert status == 502 and "does not answer" in text, (status, text)
    finally:
        process.kill()
        process.wait()
    print(f"single sign-on with {alg}: ok")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=str(harness.ROOT / "target/debug/switchyard"))
    parser.add_argument("--provider", default=str(harness.ROOT / "tests/oidc"))
    args = parser.parse_args()
    for alg in ["RS256", "ES256"]:
        run(args.binary, args.provider, alg)


if __name__ == "__main__":
    main()
