// A receiver of Segment's webhooks as a careful user would write it with fastify and pg: the
// signature is compared in constant time over the bytes as received, each request is one
// parameterised INSERT from a pool of ten connections (a prepared statement, since it has a name),
// and the reply comes after it. One process: node's cluster would share the two cores of the
// benchmark with PostgreSQL and the sender, and gains nothing there.
//
// It writes the columns that the ingester writes, to a plain table instead of a partitioned one.
//
//   node server.mjs ROUTES.json HOST:PORT

import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Fastify from 'fastify';
import pg from 'pg';

const [routesFile, listen] = process.argv.slice(2);
const routes = JSON.parse(readFileSync(routesFile, 'utf8'));
const [host, port] = listen.split(':');

// pg takes `sslmode=prefer` for a demand, and the benchmark's server on loopback has no TLS.
const database = new URL(routes.database);
database.searchParams.delete('sslmode');

const pool = new pg.Pool({
  connectionString: database.href,
  max: 10,
  options: '-c synchronous_commit=on',
});

const fields = [
  ['message_id', 'messageId', 'text'],
  ['type', 'type', 'text'],
  ['event', 'event', 'text'],
  ['user_id', 'userId', 'text'],
  ['anonymous_id', 'anonymousId', 'text'],
  ['timestamp', 'timestamp', 'timestamptz'],
  ['original_timestamp', 'originalTimestamp', 'timestamptz'],
  ['sent_at', 'sentAt', 'timestamptz'],
];
const columns = ['bucket', 'source', 'delivery_id', 'headers'];
const elementColumns = ['position', 'auth_scope', 'body_json', ...fields.map(([name]) => name)];
const elementTypes = ['int', 'text', 'jsonb', ...fields.map(([, , type]) => type)];
const into = `INSERT INTO public.webhook_events (${[...columns, ...elementColumns].join(', ')})`;
const parameter = (_, index) => `$${index + 1}`;

const insertOne = {
  name: 'insert-one',
  text: `${into} VALUES (${[...columns, ...elementColumns].map(parameter).join(', ')})`,
};
const insertMany = {
  name: 'insert-many',
  text: `${into} SELECT $1, $2, $3, $4, * FROM unnest(${elementTypes
    .map((type, index) => `$${columns.length + index + 1}::${type}[]`)
    .join(', ')})`,
};

function isSigned(claimed, signed) {
  const expected = createHmac('sha1', routes.secret).update(signed).digest();
  const given = Buffer.from(claimed ?? '', 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function element(event, position, scope, json) {
  return [position, scope, json, ...fields.map(([, name]) => event[name] ?? null)];
}

function insert(source, headers, elements) {
  const shared = [source.bucket, source.name, randomUUID(), JSON.stringify(headers)];
  if (elements.length === 1) {
    return pool.query({ ...insertOne, values: [...shared, ...elements[0]] });
  }
  const byColumn = elementColumns.map((_, column) => elements.map((row) => row[column]));
  return pool.query({ ...insertMany, values: [...shared, ...byColumn] });
}

const app = Fastify({ logger: { level: 'warn' }, bodyLimit: 6 * 1024 * 1024 });

app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
);

for (const [path, source] of Object.entries(routes.sources)) {
  app.post(path, async (request, reply) => {
    const signature = request.headers['x-signature'];
    const headers = { 'user-agent': request.headers['user-agent'] };
    const text = request.body.toString('utf8');
    // Segment signs a single event as it is, and of a batch the first element alone.
    const isBatch = text.startsWith('[');
    if (!isBatch && !isSigned(signature, request.body)) return reply.code(400).send();
    let parsed;
    try {
      parsed = JSON.parse(text);
    } catch {
      return reply.code(400).send();
    }
    let elements;
    if (isBatch) {
      const bodies = parsed.map((event) => JSON.stringify(event));
      if (!isSigned(signature, bodies[0] ?? '')) return reply.code(400).send();
      elements = parsed.map((event, position) =>
        element(event, position, position === 0 ? 'element' : 'batch', bodies[position]),
      );
    } else {
      elements = [element(parsed, 0, 'request', text)];
    }
    await insert(source, headers, elements);
    return reply.code(200).send();
  });
}

await pool.query('SELECT 1');
await app.listen({ host, port: Number(port) });
