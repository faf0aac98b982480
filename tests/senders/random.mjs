/* Random bytes that a seed brings back, on every version of Node.js. */
import { createCipheriv, createHash } from 'node:crypto';

export class Random {
    #stream;

    constructor(seed) {
        const key = createHash('sha256').update(seed).digest();
        this.#stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
    }

    bytes(n) {
        return this.#stream.update(Buffer.alloc(n));
    }

    /* From 0 up to n - 1. */
    below(n) {
        return this.bytes(4).readUInt32BE() % n;
    }

    pick(list) {
        return list[this.below(list.length)];
    }

    word() {
        return this.bytes(6).toString('hex');
    }
}
