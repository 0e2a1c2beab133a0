#!/usr/bin/env python3
"""Drives a running router with third-party clients.

    run.py --router BIN --python PYTHON [CLIENT...]

Starts BIN with its own broker in an empty folder, then runs each client (all by default); the
packages of package.json must be installed next to it. Exit status 1 if one fails.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "clients-admin-token-0123456789abcdef"
# Signs the webhooks of the site `site-dc`.
DC_SECRET = "clients-data-center-secret-0123456789"
CLIENTS = ["confluence_js.mjs", "connect_express.mjs", "data_center.py", "forge_api.mjs", "forge_manifest.mjs",
           "forge_remote.mjs", "jira_js.mjs", "oauth_receiver.mjs", "python_clients.py"]
CLIENT_TIMEOUT_S = 60
READY_TIMEOUT_S = 30


def start(router, folder):
    """The router and the address it listens on."""
    environment = {**os.environ, "SWITCHYARD_ADMIN_TOKEN": TOKEN, "SWITCHYARD_DELIVERY__ALLOW_HTTP": "true",
                   "SWITCHYARD_DELIVERY__ALLOW_CIDRS": "127.0.0.0/8", "SWITCHYARD_DELIVERY__ALLOW_PORTS": "any",
                   "SWITCHYARD_INGEST__JIRA__SITE-DC__SECRET": DC_SECRET, "SWITCHYARD_LOG__FILTER": "warn"}
    process = subprocess.Popen([router, "serve", "--listen", "127.0.0.1:0", "--data-dir", folder],
                               env=environment, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().removeprefix("listening on ").strip()
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address + "/healthz/ready", timeout=5)
            return process, address
        except (OSError, ValueError):
            time.sleep(0.1)
    process.terminate()
    sys.exit(f"the router at {address!r} is not ready after {READY_TIMEOUT_S} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("clients", nargs="*", default=CLIENTS, metavar="CLIENT")
    options = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        process, address = start(options.router, folder)
        try:
            for client in options.clients:
                program = options.python if client.endswith(".py") else "node"
                environment = {**os.environ, "SWITCHYARD_SERVER": address, "SWITCHYARD_TOKEN": TOKEN,
                               "SWITCHYARD_DC_SECRET": DC_SECRET}
                try:
                    ended = subprocess.run([program, HERE / client], env=environment, timeout=CLIENT_TIMEOUT_S)
                    code = ended.returncode
                except subprocess.TimeoutExpired:
                    code = "no end"
                if code:
                    failed.append(client)
                    print(f"FAIL {client}: {code}", flush=True)
        finally:
            process.terminate()
            process.wait(60)
    print(f"{len(options.clients) - len(failed)} clients passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
