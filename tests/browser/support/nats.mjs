// A client of the NATS text protocol: publishes, and asks JetStream. Answers come in the order of their inboxes.
import { once } from 'node:events';
import net from 'node:net';

export class Nats {
  static async connect(port) {
    const nats = new Nats();
    nats.socket = net.connect(port, '127.0.0.1');
    nats.buffer = Buffer.alloc(0);
    nats.waiting = new Map();
    nats.number = 0;
    nats.inbox = `_INBOX.${process.pid}${Date.now()}`;
    await once(nats.socket, 'connect');
    nats.socket.on('data', (data) => nats.#read(data));
    nats.socket.on('error', () => {});
    nats.socket.write('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n');
    nats.socket.write(`SUB ${nats.inbox}.* 1\r\n`);
    return nats;
  }

  /** Publishes a text with headers; waits while the socket is full. */
  async publish(subject, text, headers = {}, reply = '') {
    const body = Buffer.from(text);
    const names = Object.entries(headers);
    let command = `PUB ${subject} ${reply} ${body.length}\r\n`;
    let head = '';
    if (names.length) {
      head = `NATS/1.0\r\n${names.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
      const length = Buffer.byteLength(head);
      command = `HPUB ${subject} ${reply} ${length} ${length + body.length}\r\n`;
    }
    const isRoom = this.socket.write(Buffer.concat([Buffer.from(command + head), body, Buffer.from('\r\n')]));
    if (!isRoom) await once(this.socket, 'drain');
  }

  /** Publishes and returns the JSON that is answered. */
  async request(subject, text = '', headers = {}) {
    const reply = `${this.inbox}.${++this.number}`;
    const answer = new Promise((resolve) => this.waiting.set(reply, resolve));
    await this.publish(subject, text, headers, reply);
    return JSON.parse((await answer) || '{"error":{"description":"no responders"}}');
  }

  /** Publishes into a stream and waits until it is stored. */
  async store(subject, text, headers = {}) {
    const answer = await this.request(subject, text, headers);
    if (answer.error) throw new Error(`${subject}: ${answer.error.description}`);
  }

  close() {
    this.socket.destroy();
  }

  #read(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (;;) {
      const end = this.buffer.indexOf('\r\n');
      if (end < 0) return;
      const words = this.buffer.subarray(0, end).toString().split(/\s+/);
      const hasBody = words[0] === 'MSG' || words[0] === 'HMSG';
      const total = hasBody ? Number(words.at(-1)) : 0;
      const next = end + 2 + (hasBody ? total + 2 : 0);
      if (this.buffer.length < next) return;
      const head = words[0] === 'HMSG' ? Number(words.at(-2)) : 0;
      const body = this.buffer.subarray(end + 2 + head, end + 2 + total).toString();
      this.buffer = this.buffer.subarray(next);
      if (words[0] === 'PING') this.socket.write('PONG\r\n');
      if (hasBody) {
        this.waiting.get(words[1])?.(body);
        this.waiting.delete(words[1]);
      }
    }
  }
}
