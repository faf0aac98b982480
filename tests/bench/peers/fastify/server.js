/*
 * The webhook receiver as a Fastify user would write it: verify, deduplicate in Redis, store, answer.
 * How it stores is chosen by STORE, see store.js. Started by ops/bench; every setting is in the environment.
 */
import cluster from 'node:cluster';
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import { openStore } from './store.js';

const { PORT, WORKERS, STORE, DATABASE_URL, REDIS_URL, WEBHOOK_SECRET } = process.env;
const DEDUPE_SECONDS = 86400;

function isGenuine(body, header) {
  if (typeof header !== 'string' || !header.startsWith('sha256=')) return false;
  const given = Buffer.from(header.slice(7), 'hex');
  const expected = createHmac('sha256', WEBHOOK_SECRET).update(body).digest();
  return given.length === expected.length && timingSafeEqual(given, expected);
}

async function serve() {
  const redis = new Redis(REDIS_URL, { enableAutoPipelining: true });
  const store = openStore(STORE, DATABASE_URL);
  const app = Fastify({ logger: false, bodyLimit: 1 << 20 });

  // The signature covers the bytes as sent, so the body is parsed by the handler.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => done(null, body));

  const answer = { type: 'object', properties: { status: { type: 'string' } } };
  app.post('/publishing/webhooks/:platform', { schema: { response: { 200: answer } } }, async (request, reply) => {
    const { platform } = request.params;
    const body = request.body;

    if (!isGenuine(body, request.headers['x-hub-signature-256'])) return reply.code(401).send({ status: 'refused' });

    const event = JSON.parse(body);
    const dedupKey = createHash('sha256').update(platform).update('\0').update(body).digest();
    const redisKey = `webhook:${dedupKey.toString('base64url')}`;
    if ((await redis.set(redisKey, '1', 'EX', DEDUPE_SECONDS, 'NX')) === null) return { status: 'ok' };

    try {
      await store({
        platform,
        dedupKey,
        body,
        postId: event.external_post_id,
        status: event.status,
        url: event.media_url,
        happenedAt: event.timestamp,
        headers: request.headers,
      });
    } catch (error) {
      await redis.del(redisKey);
      throw error;
    }
    return { status: 'ok' };
  });

  await app.listen({ host: '127.0.0.1', port: Number(PORT) });
}

if (cluster.isPrimary) {
  for (let i = 0; i < Number(WORKERS); i++) cluster.fork();
  cluster.on('exit', (worker, code) => {
    console.error(`worker ${worker.process.pid} ended with code ${code}`);
    process.exit(1);
  });
} else {
  await serve();
}
