// Malformed, ambiguous and hostile messages, through the proxy to HAProxy, nginx and Node: proxy and back end never
// disagree on where a message ends. Each case rides on one connection with a marked request behind it; what the back
// ends saw is read from the application behind them.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, connect, createServer as createTcp } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort, httpListener, startProxy, staticCluster, toCluster } from '#kit'
import { H2Session, Output } from '#wire'

interface Seen {
  readonly method: string
  readonly url: string
  readonly body: string
}

/** The application that all back ends stand before: it writes down what reaches it. */
async function application() {
  const seen: Seen[] = []
  const server = createServer({ insecureHTTPParser: false }, (req, res) => {
    let body = ''
    req.on('data', (d) => {
      body += d.toString('latin1')
    })
    req.on('end', () => {
      seen.push({ method: req.method ?? '', url: req.url ?? '', body })
      res.end(`saw ${req.url}`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { seen, server, port: (server.address() as AddressInfo).port }
}

async function listening(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const socket = connect(port, '127.0.0.1')
    const open = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
    ])
    socket.destroy()
    if (open) return
    await new Promise((r) => setTimeout(r, 50))
  }
  throw new Error(`nobody listens on ${port}`)
}

/** The back ends, each with the application behind it. */
async function backends(app: number, folder: string) {
  const children: ChildProcess[] = []
  const ports: Record<string, number> = { node: app }
  if (existsSync('/usr/sbin/haproxy')) {
    const port = await freePort()
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(
      file,
      `global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend f\n  bind 127.0.0.1:${port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:${app}\n`,
    )
    children.push(spawn('/usr/sbin/haproxy', ['-db', '-f', file], { stdio: 'ignore' }))
    ports.haproxy = port
  }
  if (existsSync('/usr/sbin/nginx')) {
    const port = await freePort()
    const file = join(folder, 'nginx.conf')
    writeFileSync(
      file,
      `daemon off; master_process off; pid ${folder}/pid; error_log /dev/null;\nevents {}\nhttp { access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; server { listen 127.0.0.1:${port}; location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://127.0.0.1:${app}; } } }\n`,
    )
    children.push(spawn('/usr/sbin/nginx', ['-c', file, '-e', '/dev/null'], { stdio: 'ignore' }))
    ports.nginx = port
  }
  await Promise.all(Object.values(ports).map(listening))
  return { ports, end: () => children.map((c) => c.kill('SIGKILL')) }
}

const HEAD = 'POST /first HTTP/1.1\r\nHost: a\r\n'
const NEXT = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'

/** Messages that are refused with this status, whatever stands behind them; the connection ends. */
const REFUSED: Readonly<Record<string, readonly [string, number]>> = {
  'length and chunked': [
    `${HEAD}Content-Length: ${NEXT.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`,
    400,
  ],
  'chunked and length': [`${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n${NEXT}`, 400],
  'two lengths': [`${HEAD}Content-Length: 0\r\nContent-Length: ${NEXT.length}\r\n\r\n${NEXT}`, 400],
  'equal lengths': [`${HEAD}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${NEXT}`, 400],
  'a list of lengths': [`${HEAD}Content-Length: 0, 0\r\n\r\n${NEXT}`, 400],
  'a signed length': [`${HEAD}Content-Length: +0\r\n\r\n${NEXT}`, 400],
  'a negative length': [`${HEAD}Content-Length: -1\r\n\r\n${NEXT}`, 400],
  'a length with a space inside': [`${HEAD}Content-Length: 4 4\r\n\r\n${NEXT}`, 400],
  'an empty length': [`${HEAD}Content-Length:\r\n\r\n${NEXT}`, 400],
  'a hexadecimal length': [`${HEAD}Content-Length: 0x10\r\n\r\n${NEXT}`, 400],
  'a length beyond all numbers': [`${HEAD}Content-Length: 18446744073709551616\r\n\r\n${NEXT}`, 400],
  'space before the colon of the length': [`${HEAD}Content-Length : 40\r\n\r\n${NEXT}`, 400],
  'space before the colon of the encoding': [`${HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'tab before the colon': [`${HEAD}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'folded encoding': [`${HEAD}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'encoding folded behind another field': [`${HEAD}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  xchunked: [`${HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${NEXT}`, 501],
  'chunked, identity': [`${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${NEXT}`, 501],
  identity: [`${HEAD}Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n${NEXT}`, 501],
  'chunked twice': [`${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 501],
  'chunked and cow': [`${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n${NEXT}`, 501],
  'encoding with a vertical tab': [`${HEAD}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'encoding with a null': [`${HEAD}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'encoding after a bare CR': [`${HEAD}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'encoding after a bare LF': [`${HEAD}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'empty line of LF': [`POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\n${NEXT}`, 400],
  'lines of LF': [`POST /first HTTP/1.1\nHost: a\nContent-Length: 0\n\n${NEXT}`, 400],
  'chunked in HTTP/1.0': [`POST /first HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`, 400],
  'two hosts': [`${HEAD}Host: b\r\nContent-Length: 0\r\n\r\n${NEXT}`, 400],
  'no host': [`GET /first HTTP/1.1\r\n\r\n${NEXT}`, 400],
  'a host with a slash': [`GET /first HTTP/1.1\r\nHost: a/b\r\n\r\n${NEXT}`, 400],
  'a host with a user': [`GET /first HTTP/1.1\r\nHost: u@a\r\n\r\n${NEXT}`, 400],
  'a host with a space': [`GET /first HTTP/1.1\r\nHost: a b\r\n\r\n${NEXT}`, 400],
  'a host that is no port': [`GET /first HTTP/1.1\r\nHost: a:80x\r\n\r\n${NEXT}`, 400],
  'an absolute target with a user': [`GET http://u@a/first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'an absolute target of another scheme': [`GET file:///first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a target that is a name': [`GET first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a target with a fragment': [`GET /first#x HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a target with a null': [`GET /fi\0rst HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'two spaces': [`GET  /first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a tab in the request line': [`GET\t/first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a space behind the version': [`GET /first HTTP/1.1 \r\nHost: a\r\n\r\n${NEXT}`, 400],
  'HTTP/0.9': [`GET /first\r\n${NEXT}`, 400],
  'HTTP/1.2': [`GET /first HTTP/1.2\r\nHost: a\r\n\r\n${NEXT}`, 505],
  'HTTP/2.0 in words': [`GET /first HTTP/2.0\r\nHost: a\r\n\r\n${NEXT}`, 505],
  'a version with a plus': [`GET /first HTTP/1.+1\r\nHost: a\r\n\r\n${NEXT}`, 400],
  'a field before the first': [`GET /first HTTP/1.1\r\n Host: a\r\n\r\n${NEXT}`, 400],
  'an empty name': [`GET /first HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n${NEXT}`, 400],
  'a name with a bracket': [`GET /first HTTP/1.1\r\nHost: a\r\nX[]: b\r\n\r\n${NEXT}`, 400],
  'a name beyond ASCII': [`GET /first HTTP/1.1\r\nHost: a\r\nContent\xadLength: 5\r\n\r\n${NEXT}`, 400],
  'a connection that names the host': [`GET /first HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n${NEXT}`, 400],
  'CONNECT with a path': [`CONNECT /first HTTP/1.1\r\nHost: a\r\n\r\n${NEXT}`, 400],
}

/** Bodies that break off in the middle of a chunk: what follows them is never a request. */
const BROKEN: Readonly<Record<string, string>> = {
  'a chunk size with a sign': `+5\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size of sixteen digits': `ffffffffffffffff\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size that overflows': `100000000000000005\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size with 0x': `0x5\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size with an underscore': `0_5\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size ended by LF': `5\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk size behind spaces': `  5\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk longer than its size': `3\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk shorter than its size': `6\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'a chunk ended by LF': `5\r\nhello\n0\r\n\r\n${NEXT}`,
  'an extension with a LF': `5;a\nb\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'an extension with a bare CR': `5;a\rb\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'no size': `\r\nhello\r\n0\r\n\r\n${NEXT}`,
  'trailers ended by LF': `5\r\nhello\r\n0\r\nX: y\n\n${NEXT}`,
  'a bad trailer': `5\r\nhello\r\n0\r\nX : y\r\n\r\n${NEXT}`,
}

/** Odd, but clear: both requests are served. */
const CLEAR: Readonly<Record<string, readonly [string, string]>> = {
  'an encoding in capitals': [`${HEAD}TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n`, 'hello'],
  'an extension': [`${HEAD}Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n0\r\n\r\n`, 'hello'],
  'leading zeros of a chunk size': [`${HEAD}Transfer-Encoding: chunked\r\n\r\n005\r\nhello\r\n0\r\n\r\n`, 'hello'],
  'a trailer that looks like framing': [
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n`,
    'hello',
  ],
  'an empty line before': [`\r\n${HEAD}Content-Length: 5\r\n\r\nhello`, 'hello'],
  'an absolute target': [`POST http://a/first HTTP/1.1\r\nHost: other\r\nContent-Length: 5\r\n\r\nhello`, 'hello'],
  'a connection that names a field': [
    `${HEAD}Connection: x-mine\r\nX-Mine: 1\r\nContent-Length: 5\r\n\r\nhello`,
    'hello',
  ],
  'tabs around a value': [`${HEAD}X:\t y \t\r\nContent-Length: 5\r\n\r\nhello`, 'hello'],
  'a body of a GET': [`GET /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`, 'hello'],
}

/** The statuses of all answers on a connection that such bytes are sent over. */
async function statuses(port: number, text: string): Promise<{ codes: number[]; closed: boolean }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let got = ''
  let closed = false
  socket.on('data', (d) => {
    got += d.toString('latin1')
  })
  socket.on('error', () => {})
  socket.on('end', () => {
    closed = true
  })
  socket.write(Buffer.from(text, 'latin1'))
  const codes = () => [...got.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((m) => Number(m[1]))
  for (let i = 0; i < 60 && !closed && codes().length < 2; i++) await new Promise((r) => setTimeout(r, 5))
  socket.destroy()
  return { codes: codes(), closed }
}

test('proxy and back end never disagree on where a message ends', async () => {
  const folder = mkdtempSync('/tmp/sampan-smuggling-')
  const app = await application()
  const behind = await backends(app.port, folder)
  try {
    for (const [name, port] of Object.entries(behind.ports)) {
      const at = await freePort()
      await using _proxy = await startProxy({
        listeners: [httpListener('l', { port: at, routes: [toCluster('app')] })],
        clusters: [staticCluster('app', [port])],
      })
      for (const [what, [text, status]] of Object.entries(REFUSED)) {
        app.seen.length = 0
        const { codes, closed } = await statuses(at, text)
        assert.deepEqual([codes, closed], [[status], true], `${what}, before ${name}`)
        assert.deepEqual(app.seen, [], `${what}, before ${name}`)
      }
      for (const [what, body] of Object.entries(BROKEN)) {
        app.seen.length = 0
        const { codes } = await statuses(at, `${HEAD}Transfer-Encoding: chunked\r\n\r\n${body}`)
        assert.ok(codes.length <= 1, `${what}, before ${name}: ${codes}`)
        assert.ok(!app.seen.some((s) => s.url === '/smuggled'), `${what}, before ${name}: ${JSON.stringify(app.seen)}`)
      }
      for (const [what, [text, body]] of Object.entries(CLEAR)) {
        app.seen.length = 0
        const { codes } = await statuses(at, text + NEXT.replace('smuggled', 'second'))
        assert.deepEqual(codes, [200, 200], `${what}, before ${name}`)
        assert.deepEqual(
          app.seen.map((s) => [s.url, s.body]),
          [
            ['/first', body],
            ['/second', ''],
          ],
          `${what}, before ${name}`,
        )
      }
      await translated(at, app.seen, name)
    }
  } finally {
    behind.end()
    app.server.close()
    app.server.closeAllConnections()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** HTTP/2 to HTTP/1.1: what one allows and the other understands as something else. */
async function translated(port: number, seen: Seen[], backend: string): Promise<void> {
  const client = http2.connect(`http://127.0.0.1:${port}`)
  const ask = (headers: http2.OutgoingHttpHeaders, body?: string) =>
    new Promise<number>((resolve) => {
      const stream = client.request(headers, { endStream: body === undefined })
      stream.on('response', (h) => resolve(Number(h[':status'])))
      stream.on('error', () => resolve(0))
      stream.resume()
      if (body !== undefined) stream.end(body)
    })
  seen.length = 0
  assert.equal(await ask({ ':method': 'POST', ':path': '/body' }, 'hello'), 200)
  assert.equal(await ask({ ':method': 'GET', ':path': '/none' }), 200)
  assert.deepEqual(
    seen.map((s) => [s.url, s.body]),
    [
      ['/body', 'hello'],
      ['/none', ''],
    ],
  )
  client.destroy()
  const hostile: Record<string, string[]> = {
    'a line break in a value': ['x-a', 'b\r\nTransfer-Encoding: chunked'],
    'a line break in a name': ['x-a: b\r\nx', 'c'],
    'a colon in a name': ['x-a:b', 'c'],
    'a space in a name': ['x a', 'c'],
    'an upper-case name': ['X-A', 'c'],
    'transfer-encoding': ['transfer-encoding', 'chunked'],
    connection: ['connection', 'close'],
    upgrade: ['upgrade', 'websocket'],
    'a bad length': ['content-length', '1x'],
    'a length without a body': ['content-length', '10'],
    'another host': ['host', 'b'],
    'te for gzip': ['te', 'gzip'],
  }
  const heads: Record<string, string[]> = {
    'a space in the path': [':method', 'GET', ':scheme', 'http', ':path', '/ HTTP/1.1\r\nX: y', ':authority', 'a'],
    'a path without a slash': [':method', 'GET', ':scheme', 'http', ':path', 'x', ':authority', 'a'],
    'an empty path': [':method', 'GET', ':scheme', 'http', ':path', '', ':authority', 'a'],
    'a method with a space': [
      ':method',
      'GET / HTTP/1.1\r\nHost: b',
      ':scheme',
      'http',
      ':path',
      '/',
      ':authority',
      'a',
    ],
    'an authority with a path': [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a/b'],
    'two paths': [':method', 'GET', ':scheme', 'http', ':path', '/', ':path', '/b', ':authority', 'a'],
    'a pseudo-field at the end': [':method', 'GET', ':scheme', 'http', ':path', '/', 'x', 'y', ':authority', 'a'],
    'an unknown pseudo-field': [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a', ':x', 'y'],
    'no method': [':scheme', 'http', ':path', '/', ':authority', 'a'],
  }
  const usual = [':method', 'POST', ':scheme', 'http', ':path', '/hostile', ':authority', 'a']
  for (const [what, fields] of [
    ...Object.entries(hostile).map(([k, v]) => [k, [...usual, ...v]] as const),
    ...Object.entries(heads),
  ]) {
    seen.length = 0
    const answer = await hostileStream(port, fields)
    assert.match(answer, /^(reset 1|status 400)$/, `${what}, before ${backend}: ${answer}`)
    assert.deepEqual(seen, [], `${what}, before ${backend}`)
  }
}

/** What a stream with such fields is answered with. */
function hostileStream(port: number, fields: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve('error'))
    const session = new H2Session('client', new Output(socket), { onEnd: () => resolve('goaway') })
    socket.on('data', (d: Buffer) => session.push(d))
    session.request(fields, true, {
      onHead: (head) => done(`status ${head[1]}`),
      onData() {},
      onEnd() {},
      onReset: (code) => done(`reset ${code}`),
      onDrain() {},
    })
    const done = (text: string) => {
      resolve(text)
      socket.destroy()
    }
  })
}

test('a back end that answers in two ways is not believed', async () => {
  const answers: Record<string, readonly [string, number]> = {
    'length and chunked': [
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
      502,
    ],
    'two lengths': ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!', 502],
    'a line of LF': ['HTTP/1.1 200 OK\nContent-Length: 0\n\n', 502],
    'no HTTP': ['SSH-2.0-OpenSSH\r\n\r\n', 502],
    'a status of four digits': ['HTTP/1.1 2000 OK\r\n\r\n', 502],
    'a folded field': ['HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n', 502],
    'a head without an end': [`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(90_000)}`, 502],
    'no body of a HEAD': ['HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', 204],
  }
  let answer = ''
  const server = createTcp((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = await freePort()
  await using _proxy = await startProxy({
    listeners: [httpListener('l', { port, routes: [toCluster('app')] })],
    clusters: [staticCluster('app', [(server.address() as AddressInfo).port])],
  })
  for (const [what, [text, status]] of Object.entries(answers)) {
    answer = text
    const { codes } = await statuses(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.deepEqual(codes, [status], what)
  }
  server.close()
})
