// gRPC and HTTP/2 through the data plane: gRPC's own client and server, curl, h2load, wrk and ws.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import * as grpc from '@grpc/grpc-js'
import { WebSocket, WebSocketServer } from 'ws'
import { toDuration, xds } from '#api/xds'
import { exec } from '#base'
import { freePort, httpFilter, httpListener, speaking, startProxy, staticCluster, toCluster } from '#kit'
import type { Message } from '#wire'

const same = (b: Buffer) => b
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
const SERVICE = {
  unary: method('unary', false, false),
  down: method('down', false, true),
  up: method('up', true, false),
  both: method('both', true, true),
}

/** A server of gRPC's own; calls to `unary` may be answered by the test. */
async function echoServer(unary?: grpc.handleUnaryCall<Buffer, Buffer>, service: grpc.ServiceDefinition = SERVICE) {
  const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 })
  server.addService(service, {
    unary:
      unary ??
      ((call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => done(null, call.request)),
    down: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let i = 0; i < 50; i++) call.write(Buffer.from(`${call.request} ${i}`))
      call.end()
    },
    up: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      let bytes = 0
      call.on('data', (d: Buffer) => {
        bytes += d.length
      })
      call.on('end', () => done(null, Buffer.from(String(bytes))))
    },
    both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (d: Buffer) => call.write(Buffer.concat([Buffer.from('<'), d, Buffer.from('>')])))
      call.on('end', () => call.end())
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, p) =>
      error ? reject(error) : resolve(p),
    ),
  )
  return { port, server, [Symbol.dispose]: () => server.forceShutdown() }
}

const Client = grpc.makeGenericClientConstructor(SERVICE, 'Echo')

interface EchoClient extends grpc.Client {
  unary(b: Buffer, done: (error: grpc.ServiceError | null, b?: Buffer) => void): grpc.ClientUnaryCall
  unary(
    b: Buffer,
    m: grpc.Metadata,
    o: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, b?: Buffer) => void,
  ): grpc.ClientUnaryCall
  down(b: Buffer): grpc.ClientReadableStream<Buffer>
  up(done: (error: grpc.ServiceError | null, b?: Buffer) => void): grpc.ClientWritableStream<Buffer>
  both(): grpc.ClientDuplexStream<Buffer, Buffer>
}

const connectTo = (port: number) =>
  new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
  }) as unknown as EchoClient

const unary = (client: EchoClient, text: string | Buffer, options: grpc.CallOptions = {}) =>
  new Promise<Buffer>((resolve, reject) =>
    client.unary(Buffer.from(text), new grpc.Metadata(), options, (error, b) => (error ? reject(error) : resolve(b!))),
  )

test('gRPC’s own client and server speak through two proxies: unary and all three ways of streaming', async () => {
  using server = await echoServer()
  const [outer, inner] = [await freePort(), await freePort()]
  const chain = (port: number, to: number) => ({
    listeners: [httpListener('l', { port, routes: [toCluster('echo')] })],
    clusters: [staticCluster('echo', [to], speaking('http2'))],
  })
  await using _inner = await startProxy(chain(inner, server.port))
  await using first = await startProxy(chain(outer, inner))
  const client = connectTo(outer)
  assert.equal(String(await unary(client, 'hello')), 'hello')
  const large = Buffer.alloc(3_000_000, 'q')
  assert.equal((await unary(client, large)).length, large.length)
  const down: string[] = []
  for await (const part of client.down(Buffer.from('n'))) down.push(String(part))
  assert.deepEqual(
    down,
    Array.from({ length: 50 }, (_, i) => `n ${i}`),
  )
  const sum = await new Promise<Buffer>((resolve, reject) => {
    const call = client.up((error, b) => (error ? reject(error) : resolve(b!)))
    for (let i = 0; i < 100; i++) call.write(Buffer.alloc(50_000))
    call.end()
  })
  assert.equal(String(sum), '5000000')
  const both = client.both()
  for (let i = 0; i < 20; i++) {
    both.write(Buffer.from(String(i)))
    assert.equal(String((await once(both, 'data'))[0]), `<${i}>`)
  }
  both.end()
  both.resume()
  await once(both, 'end')
  const many = await Promise.all(Array.from({ length: 300 }, (_, i) => unary(client, String(i))))
  assert.deepEqual(
    many.map(String),
    Array.from({ length: 300 }, (_, i) => String(i)),
  )
  const metrics = first.context.stats.render()
  assert.match(metrics, /istio_requests_total\{.*request_protocol="grpc",response_code="200",grpc_response_status="0"/)
  assert.match(metrics, /istio_response_messages_total\{[^}]*\} 3\d\d/)
  client.close()
})

test('gRPC’s statuses, deadlines and cancellations pass, and the proxy’s own answers are statuses', async () => {
  let cancelled = 0
  using server = await echoServer((call, done) => {
    const text = String(call.request)
    if (text === 'hang') return void call.on('cancelled', () => cancelled++)
    done({ code: grpc.status.FAILED_PRECONDITION, details: 'nicht so: ü' })
  })
  const port = await freePort()
  const route = (more: Message, match: Message) => toCluster('echo', more, match)
  await using t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [
          { match: { path: '/test.Echo/up' }, direct_response: { status: 403, body: { inline_string: 'keep out' } } },
          route({ max_stream_duration: { grpc_timeout_header_max: toDuration(0) } }, { prefix: '/', grpc: {} }),
        ],
      }),
    ],
    clusters: [staticCluster('echo', [server.port], speaking('http2'))],
  })
  const client = connectTo(port)
  await assert.rejects(unary(client, 'x'), { code: grpc.status.FAILED_PRECONDITION, details: 'nicht so: ü' })
  await assert.rejects(unary(client, 'hang', { deadline: Date.now() + 100 }), { code: grpc.status.DEADLINE_EXCEEDED })
  const call = client.unary(Buffer.from('hang'), () => {})
  await new Promise((r) => setTimeout(r, 50))
  call.cancel()
  for (let i = 0; i < 100 && cancelled < 2; i++) await new Promise((r) => setTimeout(r, 10))
  assert.equal(cancelled, 2)
  const refused = await new Promise<grpc.ServiceError | null>((resolve) => client.up((error) => resolve(error)).end())
  assert.equal(refused?.code, grpc.status.PERMISSION_DENIED)
  assert.equal(refused?.details, 'keep out')
  t.configure({ clusters: [staticCluster('echo', [await freePort()], speaking('http2'))] })
  await assert.rejects(unary(client, 'x'), { code: grpc.status.UNAVAILABLE })
  client.close()
})

test('unavailable gRPC servers are tried again elsewhere', async () => {
  let calls = 0
  using flaky = await echoServer((call, done) => {
    if (++calls % 3 !== 0) return done({ code: grpc.status.UNAVAILABLE })
    done(null, call.request)
  })
  const port = await freePort()
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [toCluster('echo', { retry_policy: { retry_on: 'unavailable', num_retries: { value: 2 } } })],
      }),
    ],
    clusters: [staticCluster('echo', [flaky.port], speaking('http2'))],
  })
  const client = connectTo(port)
  for (let i = 0; i < 5; i++) assert.equal(String(await unary(client, `t${i}`)), `t${i}`)
  client.close()
})

test('a rate limit service and an authorization service over gRPC are asked', async () => {
  const service = (path: string, request: string, response: string): grpc.ServiceDefinition => ({
    unary: {
      ...method('unary', false, false),
      path,
      requestDeserialize: (b: Buffer) => xds(request).decode(b) as never,
      responseSerialize: ((m: Message) => xds(response).encode(m)) as never,
    },
  })
  const asked: Message[] = []
  using limits = await echoServer(
    ((call: { request: Message }, done: (e: null, m: Message) => void) => {
      asked.push(call.request)
      const over = call.request.descriptors[0].entries[0].value === 'greedy'
      done(null, { overall_code: over ? 2 : 1, response_headers_to_add: [{ key: 'x-limit', value: '5' }] })
    }) as never,
    service(
      '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit',
      'envoy.service.ratelimit.v3.RateLimitRequest',
      'envoy.service.ratelimit.v3.RateLimitResponse',
    ),
  )
  using authz = await echoServer(
    ((call: { request: Message }, done: (e: null, m: Message) => void) => {
      const { headers } = call.request.attributes.request.http
      const ok = headers['x-key'] === 'good'
      done(
        null,
        ok
          ? { status: { code: 0 }, ok_response: { headers: [{ header: { key: 'x-user', value: 'ann' } }] } }
          : { status: { code: 7 }, denied_response: { status: { code: 403 }, body: 'no key' } },
      )
    }) as never,
    service(
      '/envoy.service.auth.v3.Authorization/Check',
      'envoy.service.auth.v3.CheckRequest',
      'envoy.service.auth.v3.CheckResponse',
    ),
  )
  const app = createServer((req, res) => res.end(`user ${req.headers['x-user']}`)).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const port = await freePort()
  const envoy = (cluster_name: string) => ({ envoy_grpc: { cluster_name }, timeout: toDuration(1000) })
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [
          toCluster('app', {
            rate_limits: [{ actions: [{ request_headers: { header_name: 'x-who', descriptor_key: 'who' } }] }],
          }),
        ],
        filters: [
          httpFilter('ext_authz.v3.ExtAuthz', { grpc_service: envoy('authz') }),
          httpFilter('ratelimit.v3.RateLimit', {
            domain: 'shop',
            timeout: toDuration(1000),
            rate_limit_service: { grpc_service: envoy('limits'), transport_api_version: 2 },
          }),
        ],
      }),
    ],
    clusters: [
      staticCluster('app', [(app.address() as AddressInfo).port]),
      staticCluster('limits', [limits.port], speaking('http2')),
      staticCluster('authz', [authz.port], speaking('http2')),
    ],
  })
  const ask = (headers: Record<string, string>) => fetch(`http://127.0.0.1:${port}/`, { headers })
  const denied = await ask({})
  assert.deepEqual([denied.status, await denied.text()], [403, 'no key'])
  const fine = await ask({ 'x-key': 'good', 'x-who': 'modest' })
  assert.deepEqual([fine.status, await fine.text(), fine.headers.get('x-limit')], [200, 'user ann', '5'])
  const over = await ask({ 'x-key': 'good', 'x-who': 'greedy' })
  assert.deepEqual([over.status, over.headers.get('x-envoy-ratelimited')], [429, 'true'])
  assert.equal(asked[0]!.domain, 'shop')
  app.close()
  app.closeAllConnections()
})

test('HTTP/2 and HTTP/1.1 meet in both directions, with trailers; curl, wrk and h2load are served', async () => {
  const h1 = createServer((req, res) => {
    res.writeHead(200, { trailer: 'x-end' })
    req.on('data', (d) => res.write(d))
    req.on('end', () => {
      res.addTrailers({ 'x-end': 'yes' })
      res.end('.')
    })
  }).listen(0, '127.0.0.1')
  const h2 = http2.createServer((req, res) => {
    res.writeHead(200, { 'x-version': req.httpVersion })
    req.pipe(res)
  })
  h2.listen(0, '127.0.0.1')
  await Promise.all([once(h1, 'listening'), once(h2, 'listening')])
  const port = await freePort()
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [toCluster('h2', {}, { prefix: '/h2' }), toCluster('h1', {}, { prefix: '/h1' })],
      }),
    ],
    clusters: [
      staticCluster('h1', [(h1.address() as AddressInfo).port]),
      staticCluster('h2', [(h2.address() as AddressInfo).port], speaking('http2')),
    ],
  })
  const client = http2.connect(`http://127.0.0.1:${port}`)
  const stream = client.request({ ':method': 'POST', ':path': '/h1/x' })
  let text = ''
  let trailers: http2.IncomingHttpHeaders = {}
  stream.on('trailers', (h) => {
    trailers = h
  })
  stream.on('data', (d) => {
    text += d
  })
  stream.end('up')
  await once(stream, 'close')
  assert.equal(text, 'up.')
  assert.equal(trailers['x-end'], 'yes')
  client.close()
  const url = `http://127.0.0.1:${port}`
  const run = async (program: string, ...args: string[]) => {
    const r = await exec(program, args)
    assert.equal(r.code, 0, r.stderr)
    return r.stdout
  }
  assert.match(await run('curl', '-si', '-d', 'body', `${url}/h2`), /x-version: 2\.0[\s\S]*body$/)
  assert.match(
    await run('curl', '-si', '--http2-prior-knowledge', '-d', 'body', `${url}/h1`),
    /^HTTP\/2 200[\s\S]*body\.\s*x-end: yes|^HTTP\/2 200[\s\S]*body\./,
  )
  assert.match(await run('curl', '-si', '--http1.0', `${url}/h1`), /^HTTP\/1\.1 200/)
  const load = await run('h2load', '-n', '3000', '-c', '10', '-m', '20', `${url}/h2`)
  assert.match(load, /3000 succeeded, 0 failed/)
  const wrk = await run('wrk', '-t1', '-c20', '-d1s', `${url}/h1`)
  assert.doesNotMatch(wrk, /Non-2xx|Socket errors/)
  h1.close()
  h1.closeAllConnections()
  h2.close()
})

test('ws talks through the proxy, large messages and closing handshakes included', async () => {
  const wss = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  wss.on('connection', (ws) => ws.on('message', (data, binary) => ws.send(data, { binary })))
  await once(wss, 'listening')
  const port = await freePort()
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [toCluster('app')],
        hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] },
      }),
    ],
    clusters: [staticCluster('app', [(wss.address() as AddressInfo).port])],
  })
  const ws = new WebSocket(`ws://127.0.0.1:${port}/chat`)
  await once(ws, 'open')
  for (const text of ['hello', 'x'.repeat(500_000)]) {
    ws.send(text)
    assert.equal(String((await once(ws, 'message'))[0]), text)
  }
  ws.close(4001, 'enough')
  const [code, reason] = await once(ws, 'close')
  assert.deepEqual([code, String(reason)], [4001, 'enough'])
  wss.close()
})
