"""Parts of the tools that run a real router: nats-server, NATS client, recording handler, API client.

Standard library only. Every process and server is a context manager that stops what it started.
"""
import base64
import collections
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

ADMIN_TOKEN = "test-admin-token-0123456789abcdef"
START_S = 60
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def nats_server_path():
    """The server of `NATS_SERVER`, or the pinned one that `make tools` installs."""
    return os.environ.get("NATS_SERVER") or str(ROOT / ".tools/nats/bin/nats-server")


def until(condition, what, seconds=START_S):
    """Waits until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def broker(folder):
    """A nats-server with its data in `folder`; yields its port."""
    folder = pathlib.Path(folder)
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: solo\nmax_payload: 2MB\njetstream {{ store_dir: "{folder / "js"}", max_mem: 1G, max_file: 16G }}\n'
    )
    command = [nats_server_path(), "-c", str(config), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ports = folder / f"nats-server_{process.pid}.ports"

        def port():
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
                return int(json.loads(ports.read_text())["nats"][0].rsplit(":", 1)[1])

        def jetstream_answers(number):
            with contextlib.suppress(OSError, KeyError, NatsError), Nats(number) as nats:
                return "memory" in nats.api("INFO")

        try:
            number = until(port, "nats-server writes its ports file")
            until(lambda: jetstream_answers(number), "JetStream answers")
            yield number
        finally:
            process.kill()


class NatsError(Exception):
    """The server closed the connection, or JetStream returned an error."""


Message = collections.namedtuple("Message", "subject reply headers data")


class Nats:
    """A client of the NATS text protocol, for one thread; it reads only while it waits."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=START_S)
        self.reader = self.socket.makefile("rb")
        self.reader.readline()  # INFO
        self.inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.messages = collections.defaultdict(collections.deque)
        self.subscriptions = 0
        options = {"verbose": False, "headers": True, "no_responders": True}
        self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.inbox_id = self.subscribe(self.inbox)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def subscribe(self, subject):
        self.subscriptions += 1
        self.send(f"SUB {subject} {self.subscriptions}\r\n".encode())
        return self.subscriptions

    def publish(self, subject, data, headers=(), reply=""):
        """Publishes bytes with (name, value) headers."""
        if headers:
            head = "NATS/1.0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
            sizes = f"{len(head.encode())} {len(head.encode()) + len(data)}"
            self.send(f"HPUB {subject} {reply} {sizes}\r\n{head}".encode() + data + b"\r\n")
        else:
            self.send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def flush(self):
        self.send(b"PING\r\n")
        while self.read_one() != b"PONG":
            pass

    def receive(self, subscription):
        """The next message of a subscription; waits for it."""
        while not self.messages[subscription]:
            self.read_one()
        return self.messages[subscription].popleft()

    def read_one(self):
        line = self.reader.readline()
        if not line:
            raise NatsError("the connection is closed")
        word, *parts = line.split()
        if word == b"PING":
            self.send(b"PONG\r\n")
        elif word in (b"MSG", b"HMSG"):
            sizes = 2 if word == b"HMSG" else 1
            numbers, names = [int(p) for p in parts[-sizes:]], [p.decode() for p in parts[:-sizes]]
            payload = self.reader.read(numbers[-1] + 2)[:-2]
            head = payload[: numbers[0]] if sizes == 2 else b""
            reply = names[2] if len(names) > 2 else ""
            message = Message(names[0], reply, read_headers(head), payload[len(head):])
            self.messages[int(names[1])].append(message)
        elif word == b"-ERR":
            raise NatsError(line.decode().strip())
        return word

    def request(self, subject, data=b"", headers=()):
        self.publish(subject, data, headers, self.inbox)
        return self.receive(self.inbox_id)

    def api(self, subject, body=None):
        """A request to the JetStream API; returns its JSON, raises on an error."""
        answer = self.request(f"$JS.API.{subject}", json.dumps(body).encode() if body else b"").data
        if not answer:
            raise NatsError(f"{subject}: no responders")
        answer = json.loads(answer)
        if "error" in answer:
            raise NatsError(f"{subject}: {answer['error']['description']}")
        return answer

    def publish_stored(self, subject, data, headers=()):
        """Publishes into a stream and waits until it is stored."""
        answer = json.loads(self.request(subject, data, headers).data)
        if "error" in answer:
            raise NatsError(f"{subject}: {answer['error']['description']}")

    def stored(self, stream, first=1):
        """Messages of a stream in order, from a sequence."""
        sequence = first
        while True:
            try:
                found = self.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": ">"})["message"]
            except NatsError as error:
                if "no message found" in str(error):
                    return
                raise
            head, body = (base64.b64decode(found.get(part, "")) for part in ("hdrs", "data"))
            yield found["seq"], Message(found["subject"], "", read_headers(head), body)
            sequence = found["seq"] + 1

    def count(self, stream):
        return self.api(f"STREAM.INFO.{stream}")["state"]["messages"]


def read_headers(head):
    lines = head.decode().split("\r\n")[1:]
    return [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "") for line in lines if line]


Received = collections.namedtuple("Received", "path headers body")


class Sink:
    """An HTTP server that records every request and answers as configured; 204 otherwise."""

    def __init__(self):
        self.received, self.answers, self.held = [], {}, {}
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                sink.received.append(Received(self.path, dict(self.headers), body))
                held = sink.held.get(path)
                if held:
                    held.wait()
                status, text = sink.answers.get(path, (204, ""))
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text.encode())

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in list(self.held):
            self.release(path)
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path, status, text=""):
        self.answers[path] = (status, text)

    def hold(self, path):
        """`path` accepts requests and answers none."""
        self.held[path] = threading.Event()

    def release(self, path):
        """`path` answers, also the requests that it holds."""
        held = self.held.pop(path, None)
        if held:
            held.set()

    def at(self, path):
        return [one for one in self.received if one.path.partition("?")[0] == path]


class ApiError(Exception):
    """The router answered with an error."""


class Router:
    """A router process. `kill` is SIGKILL; leaving the context ends it with SIGTERM. Its log goes to the
    file `log`, or to standard error."""

    def __init__(self, binary, nats_port, folder, settings=(), log=None, port=0):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SWITCHYARD_")}
        environment |= {
            "SWITCHYARD_ADMIN_TOKEN": ADMIN_TOKEN,
            "SWITCHYARD_DELIVERY__ALLOW_HTTP": "true",
            "SWITCHYARD_DELIVERY__ALLOW_CIDRS": "127.0.0.0/8,::1/128",
            "SWITCHYARD_DELIVERY__ALLOW_PORTS": "any",
            "SWITCHYARD_LOG__FILTER": "warn",
        } | {f"SWITCHYARD_{name}": str(value) for name, value in dict(settings).items()}
        command = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--nats-url", f"nats://127.0.0.1:{nats_port}",
                   "--data-dir", str(folder)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        lines = queue.Queue()

        def read_lines():
            for line in self.process.stdout:
                lines.put(line)
            lines.put("")

        threading.Thread(target=read_lines, daemon=True).start()
        line = lines.get(timeout=START_S)
        if not line.startswith("listening on http://"):
            self.process.kill()
            raise RuntimeError(f"{binary} does not start: {line!r}")
        self.address = line.strip().removeprefix("listening on http://")
        until(self.is_ready, "the router is ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.exchange("GET", "/healthz/ready")[0] == 200

    def exchange(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(self.address, timeout=START_S)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json"} | dict(headers))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def call(self, method, path, body=None, authorization=f"Bearer {ADMIN_TOKEN}"):
        """The JSON of a successful response."""
        status, text = self.exchange(method, path, body, {"authorization": authorization})
        if status >= 300:
            raise ApiError(f"{method} {path}: {status} {text}")
        return json.loads(text) if text else None

    def admin(self, method, path, body=None):
        return self.call(method, f"/admin/v1{path}", body)


def quote(text):
    return urllib.parse.quote(text, safe="")
