// Handlers of apps: an HTTP server that answers each path as a test says, and counts what it received.
import http from 'node:http';

export class Handlers {
  static async start() {
    const handlers = new Handlers();
    handlers.answers = new Map();
    handlers.counts = new Map();
    handlers.server = http.createServer((request, response) => handlers.#receive(request, response));
    await new Promise((resolve) => handlers.server.listen(0, '127.0.0.1', resolve));
    handlers.url = `http://127.0.0.1:${handlers.server.address().port}`;
    return handlers;
  }

  /** What a path answers from now on: `{status, text, afterMs}`; `never` accepts requests and answers none. */
  answer(path, answer) {
    this.answers.set(path, answer);
  }

  received(path) {
    return this.counts.get(path) ?? 0;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  #receive(request, response) {
    const path = request.url.split('?')[0];
    request.resume().on('end', () => {
      this.counts.set(path, this.received(path) + 1);
      const { status = 204, text = '', afterMs = 0, never = false } = this.answers.get(path) ?? {};
      if (never) return;
      setTimeout(() => response.writeHead(status, { 'content-type': 'text/plain' }).end(text), afterMs);
    });
  }
}
