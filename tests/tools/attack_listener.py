#!/usr/bin/env python3
"""Attacks the listener of a router as a stranger would, and prints what the router held and answered.

    python3 tests/tools/attack_listener.py --binary target/release/switchyard [--nats .tools/nats/bin/nats-server]

The full size of what tests/it/listener.rs does in small; `make attack` runs it.
"""
import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

TOKEN = "0123456789abcdef0123456789abcdef"
MIB = 1 << 20
BODIES, HEADS, GUESSES = 300, 2_000, 200
# Most that the bodies may add to the memory: the buffers of their connections.
HELD_MIB_MAX = 64


class Attacked:
    """A router with its own broker, in a folder of its own."""

    def __init__(self, binary, nats, folder):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHYARD")}
        environment |= {"SWITCHYARD_ADMIN_TOKEN": TOKEN, "NATS_SERVER": nats, "SWITCHYARD_LOG__FILTER": "error"}
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().strip().rsplit(":", 1)[1])
        while self.probe()[0] != "200":
            time.sleep(0.2)

    def connect(self, source="127.0.0.1"):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10, source_address=(source, 0))

    def ask(self, head, source="127.0.0.1"):
        with self.connect(source) as connection:
            connection.sendall(f"{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(200).decode().split(" ")[1]

    def probe(self):
        """Status of a probe of this machine, and its time in milliseconds."""
        start = time.monotonic()
        try:
            status = self.ask("GET /healthz/live HTTP/1.1")
        except OSError as error:
            status = type(error).__name__
        return status, round((time.monotonic() - start) * 1000, 1)

    def resident_mib(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return answer.read().decode()


def send(connection, data):
    try:
        connection.sendall(data)
    except OSError:
        pass  # The router has answered and closed it.


def is_open(connection):
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def bodies(router, path):
    """Sends bodies that lack their last byte, without credentials; returns the memory that they take."""
    before = router.resident_mib()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {MIB + 1}\r\n\r\n".encode()
    held = []
    for _ in range(BODIES):
        held.append(router.connect())
        send(held[-1], head + b" " * MIB)
    time.sleep(3)
    grown, probe = router.resident_mib() - before, router.probe()
    for connection in held:
        connection.close()
    return grown, probe


def heads(router):
    """Opens connections that send a part of a request; returns how many are open after a while."""
    held = []
    for _ in range(HEADS):
        held.append(router.connect("127.0.0.2"))
        send(held[-1], b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
    time.sleep(1)
    early, probe = sum(map(is_open, held)), router.probe()
    time.sleep(14)
    late = sum(map(is_open, held))
    for connection in held:
        connection.close()
    return early, late, probe


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--nats", default=".tools/nats/bin/nats-server")
    options = parser.parse_args()
    failed = []

    def check(what, holds, figure):
        print(f"{'holds' if holds else 'FAILS'}  {what}: {figure}")
        if not holds:
            failed.append(what)

    with tempfile.TemporaryDirectory() as folder:
        paths = (os.path.abspath(options.binary), os.path.abspath(options.nats))
        router = Attacked(*paths, folder)
        try:
            for path in ("/forge/installation/v2/dynamic/module", "/ingest/jira/site-1"):
                grown, probe = bodies(router, path)
                what = f"{BODIES} bodies of 1 MiB to {path} without credentials"
                check(what, grown < HELD_MIB_MAX and probe[0] == "200", f"{grown:+.0f} MiB, probe {probe}")
            early, late, probe = heads(router)
            figure = f"{early} open after 1 s, {late} after 15 s, probe {probe}"
            check(f"{HEADS} unfinished requests", late == 0 and probe[0] == "200", figure)
            statuses = [router.ask(f"GET /admin/v1/apps HTTP/1.1\r\nAuthorization: Bearer guess-{number}")
                        for number in range(GUESSES)]
            counts = {status: statuses.count(status) for status in sorted(set(statuses))}
            series = f'switchyard_auth_failures_total{{api="operator",reason="unknown_token"}} {GUESSES}\n'
            is_counted = series in router.metrics()
            figure = f"{counts}, counted: {is_counted}"
            check(f"{GUESSES} wrong admin tokens", is_counted and counts.get("429", 0) > 0, figure)
            right = router.ask(f"GET /admin/v1/apps HTTP/1.1\r\nAuthorization: Bearer {TOKEN}")
            check("the right token after them", right == "200", right)
            for host in ("evil.example", "localhost.evil.example"):
                request = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                with router.connect() as connection:
                    connection.sendall(request.encode())
                    status = connection.recv(200).decode().split(" ")[1]
                check(f"metrics under the name {host}", status == "421", status)
        finally:
            router.process.terminate()
            router.process.wait(60)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
