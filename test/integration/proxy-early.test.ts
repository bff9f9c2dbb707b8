// Messages that end early, stand still or come in pieces: retries in the midst of a body, answers before the end of a
// request, pools at their limit, readers who do not read.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttp, request as httpRequest } from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { toDuration } from '#api/xds'
import { byteServer, freePort, httpFilter, httpListener, speaking, startProxy, staticCluster, toCluster } from '#kit'
import { H2Session, type H2Stream, type Message, Output } from '#wire'

/** A server of HTTP/2 whose every request is given to `serve`. */
const h2Server = (serve: (stream: H2Stream, fields: string[]) => void) =>
  byteServer((socket) => {
    const output = new Output(socket)
    const session = new H2Session('server', output, { onRequest: serve, onEnd: () => output.end() })
    socket.on('data', (data: Buffer) => session.push(data))
    socket.on('close', () => session.end())
  })

/** A client of HTTP/2. */
async function h2Client(port: number) {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const output = new Output(socket)
  const session = new H2Session('client', output, { onEnd: () => output.end() })
  socket.on('data', (data: Buffer) => session.push(data))
  socket.on('close', () => session.end())
  const get = (path: string) => [':method', 'GET', ':scheme', 'http', ':path', path, ':authority', 'a']
  return { session, get, [Symbol.dispose]: () => void socket.destroy() }
}

async function proxyTo(cluster: Message, route: Message = {}, more: Message = {}) {
  const port = await freePort()
  const proxy = await startProxy(
    {
      listeners: [httpListener('l', { port, routes: [toCluster('c', route)], ...more })],
      clusters: [{ ...cluster, name: 'c' }],
    },
    () => 0.99,
  )
  const state = proxy.context.config.clusters.get('c')!
  return { proxy, port, state, [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose]() }
}

/** Looks until something holds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (holds()) return
    await new Promise((r) => setTimeout(r, 10))
  }
  assert.fail(`never came to be: ${what}`)
}

const retrying = (on: string, retries = 1, wait = 150): Message => ({
  retry_policy: {
    retry_on: on,
    num_retries: { value: retries },
    retry_back_off: { base_interval: toDuration(wait), max_interval: toDuration(wait) },
  },
})

// While the second try was waited for, the copy of the body was given up, and the try sent its rest as if it were all.
test('a body that goes on to come between two tries arrives whole at the second', async () => {
  let connections = 0
  let got = Buffer.alloc(0)
  using server = await byteServer((socket) => {
    const first = connections++ === 0
    let seen = Buffer.alloc(0)
    socket.on('data', (data) => {
      seen = Buffer.concat([seen, data])
      if (first && seen.length > 40_000) socket.write('HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n')
      if (first || !seen.includes('\r\n0\r\n\r\n')) return
      got = seen
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    })
  })
  await using t = await proxyTo(staticCluster('c', [server.port]), retrying('5xx'))
  const request = httpRequest({ port: t.port, host: '127.0.0.1', method: 'POST' })
  const answer = once(request, 'response')
  request.write(Buffer.alloc(45_000, 'a'))
  await until(() => t.state.retries === 1, 'a second try is waited for')
  request.write(Buffer.alloc(200_000, 'b'))
  request.end(Buffer.alloc(1000, 'c'))
  const [response] = await answer
  assert.equal(response.statusCode, 200)
  response.resume()
  const text = got.toString('latin1')
  for (const [letter, count] of [
    ['a', 45_000],
    ['b', 200_000],
    ['c', 1000],
  ] as const)
    assert.equal(text.slice(text.indexOf('\r\n\r\n')).split(letter).length - 1 >= count, true, letter)
  await until(() => t.state.connections <= 1, 'the connection of the first try is closed')
})

// The answer came before the request was complete: neither side was ever closed.
test('an answer before the end of the request frees its connection or its stream', async () => {
  using server = await byteServer((socket) =>
    socket.once('data', () => socket.write('HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nno!')),
  )
  await using t = await proxyTo(staticCluster('c', [server.port]))
  const client = connect(t.port, '127.0.0.1')
  client.on('error', () => {})
  client.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nsome')
  let text = ''
  client.on('data', (d) => (text += d))
  await until(() => text.endsWith('no!'), 'the client is answered')
  await until(() => t.state.connections === 0 && t.state.requests === 0, 'nothing is left at the server')
  client.destroy()

  const streams: H2Stream[] = []
  let reset = 0
  using second = await h2Server((stream) => {
    streams.push(stream)
    stream.events = { onData() {}, onEnd() {}, onDrain() {}, onReset: () => reset++ }
    stream.head([':status', '401'], true)
  })
  await using u = await proxyTo({ ...staticCluster('c', [second.port]), ...speaking('http2') })
  const other = connect(u.port, '127.0.0.1')
  other.on('error', () => {})
  other.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nsome')
  await until(() => reset === 1, 'the stream is reset')
  other.destroy()
})

// At the limit of connections a request waited for the server to close an idle one.
test('at the limit of connections nobody waits for what is idle', async () => {
  const serve = () => createHttp({ keepAliveTimeout: 60_000 }, (_req, res) => res.end('ok')).listen(0, '127.0.0.1')
  const servers = [serve(), serve()]
  await Promise.all(servers.map((s) => once(s, 'listening')))
  const ports = servers.map((s) => (s.address() as AddressInfo).port)
  const one = { circuit_breakers: { thresholds: [{ max_connections: { value: 1 } }] } }
  await using t = await proxyTo(staticCluster('c', ports, one))
  for (let i = 0; i < 6; i++)
    assert.equal((await fetch(`http://127.0.0.1:${t.port}/`, { signal: AbortSignal.timeout(3000) })).status, 200)
  let calls = 0
  using flaky = await byteServer((socket) =>
    socket.on('data', () => socket.write(`HTTP/1.1 ${calls++ ? '200 OK' : '503 No'}\r\ncontent-length: 0\r\n\r\n`)),
  )
  await using u = await proxyTo(staticCluster('c', [flaky.port], one), retrying('5xx', 1, 10))
  assert.equal((await fetch(`http://127.0.0.1:${u.port}/`, { signal: AbortSignal.timeout(3000) })).status, 200)
  for (const s of servers) {
    s.close()
    s.closeAllConnections()
  }
})

// What a server sent after the head of an answer to HEAD was read as the next answer.
test('an answer that has no body is sent without one, whatever its server or its route says', async () => {
  using server = await h2Server((stream, fields) => {
    stream.head([':status', '200', 'content-length', '5'], false)
    if (fields[1] !== 'HEAD' || !fields.includes('/empty')) stream.data(Buffer.from('hello'))
    stream.end()
  })
  const port = await freePort()
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [
          {
            match: { path: '/204' },
            direct_response: { status: 204, body: { inline_string: 'nothing' } },
          },
          toCluster('c'),
        ],
      }),
    ],
    clusters: [{ ...staticCluster('c', [server.port]), ...speaking('http2') }],
  })
  const client = connect(port, '127.0.0.1')
  let text = ''
  client.on('data', (d) => (text += d))
  for (const line of ['HEAD /empty', 'GET /204', 'HEAD /', 'GET /last'])
    client.write(`${line} HTTP/1.1\r\nhost: a\r\n\r\n`)
  await until(() => text.endsWith('hello'), 'the last answer')
  assert.equal(text.split('HTTP/1.1 ').length - 1, 4)
  assert.equal(text.split('hello').length - 1, 1, text)
  assert.doesNotMatch(text, /nothing/)
  client.destroy()
})

// All that a client sent beyond the request under way was kept.
test('a client that sends on while it is answered is made to wait', async () => {
  using server = await byteServer(() => {})
  await using t = await proxyTo(staticCluster('c', [server.port]))
  const client = connect(t.port, '127.0.0.1')
  client.on('error', () => {})
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => t.state.requests === 1, 'the request is under way')
  client.write(Buffer.alloc(64 * 1024 * 1024, 'x'))
  let before = -1
  let same = 0
  await until(() => {
    same = client.writableLength === before ? same + 1 : 0
    before = client.writableLength
    return same > 20
  }, 'the client stands still')
  assert.ok(client.writableLength > 32 * 1024 * 1024, `${client.writableLength} bytes wait at the client`)
  client.destroy()
})

// The stream was reset once the server had said all, with what its reader had no room for yet.
test('an answer that ends before its request is read to its end by a slow reader', async () => {
  using server = await h2Server((stream) => {
    stream.head([':status', '200'], false)
    stream.data(Buffer.alloc(900_000, 'x'))
    stream.end(['grpc-status', '0'])
  })
  await using t = await proxyTo({ ...staticCluster('c', [server.port]), ...speaking('http2') })
  using client = await h2Client(t.port)
  let length = 0
  let trailers: string[] | undefined
  let problem = ''
  const stream = client.session.request(
    [':method', 'POST', ...client.get('/').slice(2), 'content-type', 'application/x'],
    false,
    {
      onData: (d) => {
        length += d.length
      },
      onEnd: (t) => {
        trailers = t
      },
      onReset: (code) => {
        // A reset after the end says that the rest of the request is not wanted.
        if (!trailers) problem = `reset with ${code}`
      },
      onDrain() {},
    },
  )
  stream.pause()
  await until(() => length > 200_000, 'the window is full')
  // A while in which nothing is read: the server's side is over by now.
  await until(() => t.state.requests === 0 || length > 0, 'the server has said all')
  stream.resume()
  await until(() => trailers !== undefined || problem !== '', 'the end')
  assert.equal(problem, '')
  assert.equal(length, 900_000)
  assert.deepEqual(trailers, ['grpc-status', '0'])
})

// Four readers that stood still held all of the window that a connection to a server has.
test('readers who do not read do not stop the others of a server', async () => {
  using server = await h2Server((stream, fields) => {
    stream.head([':status', '200'], false)
    stream.data(Buffer.alloc(fields.includes('/small') ? 10 : 1_000_000, 'x'))
    stream.end()
  })
  await using t = await proxyTo({ ...staticCluster('c', [server.port]), ...speaking('http2') })
  const slow: Socket[] = []
  let begun = 0
  for (let i = 0; i < 12; i++) {
    const socket = connect(t.port, '127.0.0.1')
    slow.push(socket)
    socket.on('error', () => {})
    socket.write('GET /large HTTP/1.1\r\nhost: a\r\n\r\n')
    socket.once('readable', () => begun++)
  }
  await until(() => begun === 12, 'all have an answer')
  const answer = await fetch(`http://127.0.0.1:${t.port}/small`, { signal: AbortSignal.timeout(5000) })
  assert.equal((await answer.text()).length, 10)
  for (const socket of slow) socket.destroy()
})

// A reset of one request was taken for a connection that had been closed, and the request was sent again.
test('a request that a server resets is not sent again unasked, and a retry uses the connection there is', async () => {
  let calls = 0
  let sockets = 0
  const server = http2.createServer().listen(0, '127.0.0.1')
  server.on('session', () => sockets++)
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':path'] === '/ok') return stream.respond({ ':status': 200 }, { endStream: true })
    calls++
    stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR)
  })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const cluster = { ...staticCluster('c', [port]), ...speaking('http2') }
  await using t = await proxyTo(cluster)
  const ask = (at: number, path: string) => fetch(`http://127.0.0.1:${at}${path}`)
  assert.equal((await ask(t.port, '/ok')).status, 200)
  const answer = await ask(t.port, '/reset')
  assert.equal(answer.status, 503)
  assert.match(await answer.text(), /reset reason: remote reset$/)
  assert.equal(calls, 1)
  await using u = await proxyTo(cluster, retrying('reset', 2, 5))
  sockets = 0
  calls = 0
  assert.equal((await ask(u.port, '/reset')).status, 503)
  assert.equal(calls, 3)
  assert.equal(sockets, 1)
  server.close()
})

// Connections that were made without TLS went on to carry requests when the cluster had changed to it.
test('connections made before a cluster’s transport changed carry no new requests', async () => {
  const server = createHttp((_req, res) => res.end('in the clear')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const plain = staticCluster('c', [(server.address() as AddressInfo).port])
  await using t = await proxyTo(plain)
  const ask = async () => (await fetch(`http://127.0.0.1:${t.port}/`)).status
  assert.equal(await ask(), 200)
  t.proxy.configure({
    clusters: [
      {
        ...plain,
        transport_socket: {
          name: 'envoy.transport_sockets.tls',
          typed_config: {
            type_url: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
            value: new Uint8Array(),
          },
        },
      },
    ],
  })
  assert.equal(await ask(), 503)
  server.close()
  server.closeAllConnections()
})

// The client was told to wait while one filter thought, and the next one waited for the client.
test('a body that came while one filter waited is read whole for the next', async () => {
  const server = createHttp((req, res) => {
    let n = 0
    req.on('data', (d) => (n += d.length))
    req.on('end', () => res.end(String(n)))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const delay = { delay: { fixed_delay: toDuration(200), percentage: { numerator: 100 } } }
  await using t = await proxyTo(
    staticCluster('c', [(server.address() as AddressInfo).port]),
    {},
    {
      filters: [
        httpFilter('fault.v3.HTTPFault', delay),
        httpFilter('buffer.v3.Buffer', { max_request_bytes: { value: 4_000_000 } }),
      ],
    },
  )
  const answer = await fetch(`http://127.0.0.1:${t.port}/`, {
    method: 'POST',
    body: Buffer.alloc(3_000_000),
    signal: AbortSignal.timeout(5000),
  })
  assert.equal(await answer.text(), '3000000')
  server.close()
  server.closeAllConnections()
})

// The limit of a request without a body began twice: the second was counted when the first had long been answered.
test('an answered request is not counted as one that took too long', async () => {
  const server = createHttp((_req, res) => res.end('ok')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  await using t = await proxyTo(staticCluster('c', [(server.address() as AddressInfo).port]), {
    timeout: toDuration(50),
  })
  const answer = await fetch(`http://127.0.0.1:${t.port}/`)
  assert.equal(await answer.text(), 'ok')
  await new Promise((r) => setTimeout(r, 150))
  assert.equal(t.state.stats.upstream_rq_timeout, undefined)
  server.close()
  server.closeAllConnections()
})

// The time limit of a route ran for what had been upgraded.
test('an upgraded connection outlives the time limit of its route', async () => {
  const server = createHttp().listen(0, '127.0.0.1')
  server.on('upgrade', (_req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    socket.on('data', (d: Buffer) => socket.write(d))
    socket.on('error', () => {})
  })
  await once(server, 'listening')
  await using t = await proxyTo(
    staticCluster('c', [(server.address() as AddressInfo).port]),
    { timeout: toDuration(100) },
    { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] } },
  )
  const client = connect(t.port, '127.0.0.1')
  let text = ''
  client.on('data', (d) => (text += d))
  client.write('GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n')
  await until(() => text.includes('101'), 'the upgrade')
  await new Promise((r) => setTimeout(r, 250))
  client.write('still there')
  await until(() => text.includes('still there'), 'an echo after the limit')
  client.destroy()
  server.close()
  server.closeAllConnections()
})

// Values that are not latin1 were cut to their lowest byte each.
test('a field’s value in another script is sent in UTF-8', async () => {
  let raw: string[] = []
  const server = createHttp((req, res) => {
    raw = req.rawHeaders
    res.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = await freePort()
  await using _t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [
          {
            ...toCluster('c'),
            request_headers_to_add: [
              { header: { key: 'x-user', value: 'Łukasz' } },
              { header: { key: 'x-evil', value: 'a\nx-admin: 1' } },
            ],
          },
        ],
      }),
    ],
    clusters: [staticCluster('c', [(server.address() as AddressInfo).port])],
  })
  await fetch(`http://127.0.0.1:${port}/`)
  const value = raw[raw.findIndex((n) => n.toLowerCase() === 'x-user') + 1]!
  assert.equal(Buffer.from(value, 'latin1').toString(), 'Łukasz')
  assert.ok(!raw.some((n) => /x-evil|x-admin/i.test(n)))
  server.close()
  server.closeAllConnections()
})
