/*
 * How each platform signs, by its own library. sign(body, random) gives what is added to the request, or null where the
 * library does not sign such a body:
 *
 *     headers: {name: value}, query: of the URL, type: the content type, body: if it is another,
 *     flips: {what: name of the header whose bits are flipped one by one}
 *
 * Where a library only verifies, we sign by hand and it says whether it would take that.
 */
import { strict as assert } from 'node:assert';
import { createHmac } from 'node:crypto';

import Mux from '@mux/mux-node';
import { sign as octokitSign } from '@octokit/webhooks-methods';
import bolt from '@slack/bolt';
import { verifyKey } from 'discord-interactions';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { Webhook as SvixWebhook } from 'svix';
import nacl from 'tweetnacl';
import twilio from 'twilio';

import { text } from './bodies.mjs';

const secretOf = (name) => process.env[`SETTLE_SECRET_${name}`];
const isText = (body) => body.equals(Buffer.from(body.toString()));
const now = () => String(Math.floor(Date.now() / 1000));
const hmac = (name, time, body) => createHmac('sha256', secretOf(name)).update(time).update(body).digest('hex');

const stripe = new Stripe('sk_test_none');
const mux = new Mux({ tokenId: 'none', tokenSecret: 'none' });

export const platforms = {
    stripe(body) {
        const options = { payload: body.toString(), secret: secretOf('STRIPE') };

        if (!isText(body)) return null;
        return {
            headers: { 'stripe-signature': stripe.webhooks.generateTestHeaderString(options) },
            flips: { signature: 'stripe-signature' },
        };
    },

    svix: (body, random) => standard(new SvixWebhook(secretOf('SVIX')), 'svix', body, random),

    'standard-webhooks': (body, random) =>
        standard(new StandardWebhook(secretOf('STANDARD_WEBHOOKS')), 'webhook', body, random),

    /* Of an empty body it says that there is nothing to sign. */
    async github(body, random) {
        if (!isText(body) || body.length === 0) return null;
        return {
            headers: {
                'x-hub-signature-256': await octokitSign(secretOf('GITHUB'), body.toString()),
                'x-github-event': 'none',
                'x-github-delivery': random.word(), /* must be there, and is not signed */
            },
            flips: { signature: 'x-hub-signature-256' },
        };
    },

    /* A form is signed itself, any other body by its digest in the URL. Both in turn. */
    twilio(body, random) {
        return random.below(2) === 0 && body.length < 10_000 ? twilioForm(random) : twilioDigest(body, random);
    },

    async discord(body) {
        const time = now();
        const keys = nacl.sign.keyPair.fromSeed(Buffer.from(process.env.SENDERS_DISCORD_SEED, 'hex'));
        const signed = Buffer.concat([Buffer.from(time), body]);
        const signature = Buffer.from(nacl.sign.detached(signed, keys.secretKey)).toString('hex');

        assert(await verifyKey(body, signature, time, secretOf('DISCORD')));
        return {
            headers: { 'x-signature-ed25519': signature, 'x-signature-timestamp': time },
            flips: { signature: 'x-signature-ed25519', time: 'x-signature-timestamp' },
        };
    },

    slack(body) {
        const time = now();
        const signature = `v0=${hmac('SLACK', `v0:${time}:`, body)}`;
        const headers = { 'x-slack-signature': signature, 'x-slack-request-timestamp': time };

        if (isText(body)) bolt.verifySlackRequest({ signingSecret: secretOf('SLACK'), body: body.toString(), headers });
        return { headers, flips: { signature: 'x-slack-signature', time: 'x-slack-request-timestamp' } };
    },

    mux(body) {
        const time = now();
        const headers = { 'mux-signature': `t=${time},v1=${hmac('MUX', `${time}.`, body)}` };

        if (isText(body)) mux.webhooks.verifySignature(body.toString(), headers, secretOf('MUX'));
        return { headers, flips: { signature: 'mux-signature' } };
    },
};

function standard(webhook, prefix, body, random) {
    const time = new Date();
    const id = `msg_${random.bytes(20).toString('base64url')}`;

    if (!isText(body)) return null;
    return {
        headers: {
            [`${prefix}-id`]: id,
            [`${prefix}-timestamp`]: String(Math.floor(time.getTime() / 1000)),
            [`${prefix}-signature`]: webhook.sign(id, time, body.toString()),
        },
        flips: { signature: `${prefix}-signature`, time: `${prefix}-timestamp`, id: `${prefix}-id` },
    };
}

/* Some names come several times, some with the same value. */
function twilioForm(random) {
    const query = `case=${random.word()}`;
    const form = new URLSearchParams();
    const values = {};

    for (let i = 1 + random.below(12); i > 0; i--) {
        const name = random.pick(['Aa', 'aa', 'Übung', 'a b', 'x+y']) + random.below(3);
        const value = random.pick([random.word(), '', '=&%+', text(random, 'unicode')]);
        form.append(name, value);
        values[name] = [...(values[name] ?? []), value];
    }
    form.append('Nonce', random.word());
    values.Nonce = form.get('Nonce');
    return {
        query,
        body: Buffer.from(form.toString()),
        type: 'application/x-www-form-urlencoded',
        headers: { 'x-twilio-signature': twilioSignature(query, values) },
        flips: { signature: 'x-twilio-signature' },
    };
}

function twilioDigest(body, random) {
    const query = `case=${random.word()}&bodySHA256=${twilio.getExpectedBodyHash(body)}`;

    return {
        query,
        headers: { 'x-twilio-signature': twilioSignature(query, {}) },
        flips: { signature: 'x-twilio-signature' },
    };
}

function twilioSignature(query, fields) {
    const url = `${process.env.SENDERS_PUBLIC_URL}/publishing/webhooks/twilio?${query}`;

    return twilio.getExpectedTwilioSignature(secretOf('TWILIO'), url, fields);
}
