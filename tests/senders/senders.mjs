/*
 * senders: official libraries sign random bodies and send them to a running gateway: it must take each, and refuse the
 * same with one bit of body, id, time, signature or query flipped. tests/flow/test_senders.c runs it.
 * Environment: SENDERS_URL, SENDERS_PUBLIC_URL, SENDERS_SEED, SENDERS_ROUNDS, SENDERS_MAX_BODY, SENDERS_DISCORD_SEED,
 * the secrets as the gateway has them; SETTLE_TEST_LONG: every bit of the first requests, more of the others.
 * Prints {platform: {accepted, too_large, refused, bodies, wrong}}; bodies is the SHA-256 of the sorted SHA-256 of what
 * was accepted, wrong says what was answered otherwise than it should be.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { kinds } from './bodies.mjs';
import { platforms } from './platforms.mjs';
import { Random } from './random.mjs';
import { Wire } from './wire.mjs';

const CONNECTIONS = 4;
const PATIENCE_MS = 60_000;

const { SENDERS_URL: url, SENDERS_SEED: seed } = process.env;
const rounds = Number(process.env.SENDERS_ROUNDS);
const maxBody = Number(process.env.SENDERS_MAX_BODY);
const long = Boolean(process.env.SETTLE_TEST_LONG);
const FLIPS = long ? 32 : 8; /* of each part of a request */
const WHOLE = long ? 2 : 0; /* requests of each platform of which every bit is flipped: small ones come first */
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();

async function main() {
    const report = {};

    for (const platform of Object.keys(platforms)) report[platform] = await tryPlatform(platform);
    console.log(JSON.stringify(report));
}

/* Each kind of body at least once; the rest are small and any. */
async function tryPlatform(platform) {
    const result = { accepted: 0, too_large: 0, refused: 0, digests: [], wrong: [] };
    const work = Object.keys(kinds);
    let next = 0;

    while (work.length < rounds) work.push(['ascii', 'unicode', 'escaped', 'plain', 'binary'][work.length % 5]);
    await Promise.all(
        Array.from({ length: CONNECTIONS }, async () => {
            const wire = new Wire(url);
            while (next < work.length) {
                const nth = next++;
                await tryBody(wire, platform, work[nth], nth, result);
            }
            wire.close();
        }),
    );
    result.bodies = sha256(Buffer.concat(result.digests.sort(Buffer.compare))).toString('hex');
    delete result.digests;
    return result;
}

async function tryBody(wire, platform, kind, nth, result) {
    const random = new Random(`${seed} ${platform} ${nth}`);
    const body = kinds[kind](random, maxBody);
    const signed = await platforms[platform](body, random);
    const request = signed && requestOf(platform, body, signed);
    const attempt = async (sent, right, count, what) => {
        const status = await postAgain(wire, sent);
        if (!right.includes(status)) result.wrong.push(`${kind}, ${what}: ${status}`);
        result[count]++;
    };
    const good = async () => {
        await attempt(request, [200, 202, 204], 'accepted', 'as signed');
        result.digests.push(sha256(request.body));
    };

    if (!signed) return;
    if (kind === 'over') return attempt(request, [413], 'too_large', 'one byte too many');
    /* The good one comes sometimes first and sometimes last: having seen it must make no difference. */
    if (nth % 2 === 0) await good();
    for (const { what, bad, control } of mutations(request, signed, bitsFor(nth, random)))
        await attempt(bad, control ? [400, 401] : [401], 'refused', what);
    if (nth % 2 === 1) await good();
}

/* As platforms do after a 503: a machine that is slow enough has no commit in time. What was stored all the same is a
 * duplicate then, and stored once. */
async function postAgain(wire, request) {
    const end = Date.now() + PATIENCE_MS;
    let status;

    while ((status = await wire.post(request)) === 503 && Date.now() < end) await sleep(50);
    return status;
}

function requestOf(platform, body, signed) {
    const headers = { 'content-type': signed.type ?? 'application/json', ...signed.headers };

    return {
        target: Buffer.from(`/publishing/webhooks/${platform}${signed.query ? `?${signed.query}` : ''}`),
        headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)])),
        body: signed.body ?? body,
    };
}

/* control: the flip has made a byte that HTTP does not allow there, which may be answered 400. */
function* mutations(request, signed, bitsOf) {
    for (const bit of bitsOf(request.body)) {
        const body = flipped(request.body, bit);
        if (signed.type && isSameForm(request.body, bit)) continue;
        yield { what: `body, bit ${bit}`, bad: { ...request, body } };
    }
    for (const [what, name] of Object.entries(signed.flips)) {
        const value = request.headers[name];
        for (const bit of bitsOf(value))
            yield { what: `${what}, bit ${bit} of ${value}`, ...withHeader(request, name, flipped(value, bit), bit) };
    }
    for (const value of sameValues(request.headers[signed.flips.signature].toString()))
        yield {
            what: `signature written ${value}`,
            ...withHeader(request, signed.flips.signature, Buffer.from(value, 'latin1')),
        };
    if (signed.query) {
        const begin = request.target.indexOf('?') + 1;
        for (const bit of bitsOf(request.target.subarray(begin))) {
            const target = flipped(request.target, bit + 8 * begin);
            const control = isControl(target, bit + 8 * begin, ' #') || target[begin + (bit >> 3)] >= 0x80;
            yield { what: `query, now ${target}`, bad: { ...request, target }, control };
        }
    }
}

function withHeader(request, name, value, bit) {
    const bad = { ...request, headers: { ...request.headers, [name]: value } };

    return { bad, control: bit !== undefined && isControl(value, bit) };
}

function bitsFor(nth, random) {
    if (nth < WHOLE) return (bytes) => Array(8 * bytes.length).keys();
    return (bytes) => Array.from({ length: bytes.length > 0 ? FLIPS : 0 }, () => random.below(8 * bytes.length));
}

function flipped(bytes, bit) {
    const copy = Buffer.from(bytes);

    copy[bit >> 3] ^= 1 << (bit & 7);
    return copy;
}

/* Is the byte with that bit one that may not stand there? */
function isControl(bytes, bit, further = '') {
    const byte = bytes[bit >> 3];

    return byte < 0x20 || byte === 0x7f || further.includes(String.fromCharCode(byte));
}

/* The case of a digit behind "%": the fields, which are what Twilio signs, stay as they are. */
function isSameForm(body, bit) {
    const at = bit >> 3;

    return (bit & 7) === 5 && /^%.?[A-Fa-f]$/.test(body.toString('latin1', body.lastIndexOf('%', at), at + 1));
}

/* Other ways to write the same signature, of which the strict profile knows none: capitals among hex digits; base64
 * with the bits set that its last character has too many, without its end, or with signs that some decoders take for
 * "+" and "/". */
function* sameValues(value) {
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
    const hex = /[0-9a-f]{64,128}$/.exec(value);

    if (hex) {
        const letter = hex.index + hex[0].search(/[a-f]/);
        yield value.slice(0, hex.index) + hex[0].toUpperCase();
        yield value.slice(0, letter) + value[letter].toUpperCase() + value.slice(letter + 1);
        return;
    }
    for (const spare of [1, 2, 3]) yield `${value.slice(0, -2)}${digits[digits.indexOf(value.at(-2)) ^ spare]}=`;
    yield value.slice(0, -1);
    yield `${value}=`;
    for (const [from, to] of ['+-', '/_', '+\xab', '/\xaf']) if (value.includes(from)) yield value.replace(from, to);
}

await main();
