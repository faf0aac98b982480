/*
 * Three ways to store a webhook durably. Each returns an async function that resolves once it is committed.
 *   plain         one transaction a request: BEGIN, INSERT, UPDATE, COMMIT
 *   batch         group commit: what waits while a connection is busy goes out together; insert and mark
 *   batch-settle  the same group commit with settle's own statement, so that the gain of its design and the
 *                 gain of C stand apart
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';

const PLAIN_CONNECTIONS = 16;
const BATCH_CONNECTIONS = Number(process.env.BATCH_CONNECTIONS ?? 1);
const BATCH_ROWS = Number(process.env.BATCH_ROWS ?? 64);
const KEY_ID = '0123456789abcdef'; /* settle names the secret that verified */

export function openStore(name, databaseUrl) {
  if (name === 'plain') return plainStore(databaseUrl);
  if (name === 'batch') return batchStore(databaseUrl, insertAndMark);
  if (name === 'batch-settle') return batchStore(databaseUrl, settleStatement(process.env.SETTLE_STATEMENT));
  throw new Error(`STORE is "${name}"; it must be plain, batch or batch-settle`);
}

const INSERT = `
  insert into peer.webhook_receipts (platform, dedup_key, external_post_id, event_status, url, headers, body)
  values ($1, $2, $3, $4, $5, $6, $7)
  on conflict (dedup_key) do nothing`;

const MARK = `
  update peer.publish_logs
  set extra_metadata = extra_metadata || jsonb_build_object(
        'webhook_received', true, 'webhook_timestamp', now(), 'webhook_platform', $1::text,
        'webhook_status', $3::text, 'media_url', $4::text)
  where external_post_id = $2 and platform = $1`;

function plainStore(databaseUrl) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: PLAIN_CONNECTIONS });

  return async (e) => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query({
        name: 'insert',
        text: INSERT,
        values: [e.platform, e.dedupKey, e.postId, e.status, e.url, JSON.stringify(e.headers), e.body],
      });
      await client.query({ name: 'mark', text: MARK, values: [e.platform, e.postId, e.status, e.url] });
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  };
}

/* Sends what waits as soon as a connection is idle. No timer: under load, batches form by themselves. */
function batchStore(databaseUrl, statementOf) {
  const waiting = [];
  const idle = [];

  async function write(client, batch) {
    let failure = null;
    try {
      await client.query(statementOf(batch.map((entry) => entry.event)));
    } catch (error) {
      failure = error;
    }
    for (const entry of batch) failure ? entry.reject(failure) : entry.resolve();
    idle.push(client);
    flush();
  }

  function flush() {
    while (idle.length > 0 && waiting.length > 0) void write(idle.pop(), waiting.splice(0, BATCH_ROWS));
  }

  for (let i = 0; i < BATCH_CONNECTIONS; i++) {
    const client = new pg.Client({ connectionString: databaseUrl });
    client.on('error', giveUp);
    client.connect().then(() => {
      idle.push(client);
      flush();
    }, giveUp);
  }

  return (event) =>
    new Promise((resolve, reject) => {
      waiting.push({ event, resolve, reject });
      if (waiting.length === 1) setImmediate(flush); /* let the requests of this turn come along */
    });
}

function giveUp(error) {
  console.error(`no connection to Postgres: ${error.message}`);
  process.exit(1);
}

/* RETURNING carries the keys: joining back on the batch would be a quadratic loop. */
const INSERT_AND_MARK = `
  with new as (
    insert into peer.webhook_receipts (platform, dedup_key, external_post_id, event_status, url, headers, body)
    select platform, dedup_key, external_post_id, event_status, url, headers::jsonb, convert_to(body, 'UTF8')
    from unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
      as new (platform, dedup_key, external_post_id, event_status, url, headers, body)
    on conflict (dedup_key) do nothing
    returning platform, external_post_id, event_status, url
  )
  update peer.publish_logs p
  set extra_metadata = p.extra_metadata || jsonb_build_object(
        'webhook_received', true, 'webhook_timestamp', now(), 'webhook_platform', new.platform,
        'webhook_status', new.event_status, 'media_url', new.url)
  from new
  where p.external_post_id = new.external_post_id and p.platform = new.platform`;

function insertAndMark(events) {
  events.sort((a, b) => Buffer.compare(a.dedupKey, b.dedupKey));
  return {
    name: 'insert-and-mark',
    text: INSERT_AND_MARK,
    values: [
      events.map((e) => e.platform),
      events.map((e) => e.dedupKey),
      events.map((e) => e.postId),
      events.map((e) => e.status),
      events.map((e) => e.url),
      events.map((e) => JSON.stringify(e.headers)),
      events.map((e) => e.body.toString()),
    ],
  };
}

/* sql/queries/receipt_accept.sql, whose head names the parameters in this order. */
function settleStatement(path) {
  const text = readFileSync(path, 'utf8');
  const kept = ['user-agent', 'content-type', 'x-hub-signature-256'];

  return (events) => {
    const nothing = events.map(() => null);
    const now = new Date();
    return {
      name: 'receipt-accept',
      text,
      values: [
        events.map((e) => e.dedupKey),
        events.map(() => 'default'),
        events.map((e) => e.platform),
        events.map(() => randomUUID()),
        events.map((e) => e.postId),
        events.map((e) => e.status),
        events.map((e) => (e.status === 'published' ? 1 : 0)),
        events.map((e) => e.happenedAt ?? null),
        events.map(() => now),
        events.map((e) => e.url),
        nothing,
        nothing,
        nothing,
        events.map(() => KEY_ID),
        events.map((e) => Buffer.from(kept.map((name) => `${name}: ${e.headers[name]}\n`).join(''))),
        events.map((e) => e.body),
      ],
    };
  };
}
