/*
 * HTTP/1.1 by hand: Node.js refuses to send many of the bytes that a flipped bit makes. One request after another on a
 * connection that is kept alive, as senders do.
 */
import { connect } from 'node:net';

const PATIENCE_MS = 30_000;

export class Wire {
    #to;
    #socket = null;
    #got = Buffer.alloc(0);
    #wake = () => {};

    constructor(url) {
        this.#to = new URL(url);
    }

    /* The status of the answer; 0: none came. Targets and header values are bytes. */
    async post({ target, headers, body }) {
        const head = [Buffer.from('POST '), target, Buffer.from(` HTTP/1.1\r\nHost: ${this.#to.host}\r\n`)];
        let answer;

        for (const [name, value] of Object.entries(headers))
            head.push(Buffer.from(`${name}: `), value, Buffer.from('\r\n'));
        head.push(Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body);
        if (!this.#socket) await this.#open();
        this.#socket.write(Buffer.concat(head));
        answer = await this.#answer();
        if (!answer || /^connection: *close/im.test(answer)) this.close();
        return answer ? Number(answer.slice(9, 12)) : 0;
    }

    close() {
        this.#socket?.destroy();
        this.#socket = null;
    }

    async #open() {
        const socket = connect({ host: this.#to.hostname, port: Number(this.#to.port), noDelay: true });

        this.#socket = socket;
        this.#got = Buffer.alloc(0);
        socket.setTimeout(PATIENCE_MS, () => socket.destroy());
        socket.on('error', () => {}); /* "close" follows */
        socket.on('data', (bytes) => {
            this.#got = Buffer.concat([this.#got, bytes]);
            this.#wake();
        });
        socket.on('close', () => this.#wake());
        await new Promise((done) => {
            socket.once('connect', done);
            socket.once('close', done);
        });
    }

    /* The head of the next answer, whose body is dropped; null: the connection ended before it was whole. */
    async #answer() {
        for (;;) {
            const end = this.#got.indexOf('\r\n\r\n');
            const head = end < 0 ? '' : this.#got.toString('latin1', 0, end);
            const length = end + 4 + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);

            if (end >= 0 && this.#got.length >= length) {
                this.#got = this.#got.subarray(length);
                return head;
            }
            if (this.#socket.destroyed) return null;
            await new Promise((wake) => (this.#wake = wake));
        }
    }
}
