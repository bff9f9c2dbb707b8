// What applications and operators see of the data plane's HTTP: fields, codes, flags, logs and metrics of a sidecar.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { packAny, toDuration, toStruct, xds } from '#api/xds'
import {
  filterSettings,
  freePort,
  httpFilter,
  httpListener,
  type ProxyConfig,
  startProxy,
  staticCluster,
  toCluster,
} from '#kit'
import type { Message } from '#wire'

/** A server of Node's own on a free port. */
async function server(handler: RequestListener) {
  const http = createServer(handler)
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return {
    http,
    port: (http.address() as AddressInfo).port,
    [Symbol.dispose]() {
      http.close()
      http.closeAllConnections()
    },
  }
}

/** Answers with what it was asked, as JSON. */
const echo: RequestListener = (req, res) => {
  const parts: Buffer[] = []
  req.on('data', (d) => parts.push(d))
  req.on('end', () => {
    const body = Buffer.concat(parts).toString()
    res.setHeader('server', 'app').setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, body, trailers: req.trailers }))
  })
}

interface Reply {
  status: number
  headers: IncomingMessage['headers']
  body: string
  json: () => { method: string; url: string; headers: Record<string, string>; body: string }
}

function ask(
  port: number,
  path = '/',
  options: { method?: string; headers?: Record<string, string | string[]>; body?: string | Buffer } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const req = request({
      port,
      host: '127.0.0.1',
      path,
      method: options.method ?? 'GET',
      headers: options.headers ?? {},
    })
    req.on('error', reject)
    req.on('response', (res) => {
      const parts: Buffer[] = []
      res.on('data', (d) => parts.push(d))
      res.on('error', reject)
      res.on('end', () => {
        const body = Buffer.concat(parts).toString()
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body, json: () => JSON.parse(body) })
      })
    })
    req.end(options.body)
  })
}

/** Sends bytes as they are; resolves with all that comes until the connection ends, or for a moment. */
async function raw(port: number, text: string | Buffer, options: { end?: boolean; ms?: number } = {}): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const parts: Buffer[] = []
  socket.on('data', (d) => parts.push(d))
  socket.on('error', () => {})
  socket.write(text)
  if (options.end) socket.end()
  await Promise.race([once(socket, 'end').catch(() => {}), new Promise((r) => setTimeout(r, options.ms ?? 300))])
  socket.destroy()
  return Buffer.concat(parts).toString('latin1')
}

const TEXT_LOG =
  '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER_RAW% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% %ROUTE_NAME%\n'

const accessLog = (format: Message): Message => ({
  access_log: [
    {
      name: 'envoy.access_loggers.file',
      typed_config: packAny(xds('envoy.extensions.access_loggers.file.v3.FileAccessLog'), {
        path: '/dev/stdout',
        log_format: format,
      }),
    },
  ],
})
const TEXT = accessLog({ text_format_source: { inline_string: TEXT_LOG } })

/** A proxy in front of a server, with routes of the test's own. */
async function through(
  handler: RequestListener,
  routes: readonly Message[],
  more: {
    hcm?: Message
    filters?: readonly Message[]
    cluster?: Message
    clusters?: readonly Message[]
    hosts?: readonly Message[]
    random?: () => number
  } = {},
) {
  const app = await server(handler)
  const port = await freePort()
  const config: ProxyConfig = {
    listeners: [
      httpListener('l', {
        port,
        routes,
        ...(more.hosts ? { hosts: more.hosts } : {}),
        filters: more.filters ?? [],
        hcm: { ...TEXT, ...more.hcm },
      }),
    ],
    clusters: [staticCluster('app', [app.port], more.cluster), ...(more.clusters ?? [])],
  }
  const proxy = await startProxy(config, more.random)
  return {
    port,
    app,
    proxy,
    get log() {
      return proxy.lines.map((l) => l.trim())
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      app[Symbol.dispose]()
    },
  }
}

test('a request reaches the server with the fields of a sidecar, and the answer bears its marks', async () => {
  await using t = await through(echo, [toCluster('app')], { hcm: { normalize_path: { value: true } } })
  const r = await ask(t.port, '/a/../b?x=1', {
    method: 'POST',
    headers: { 'X-Mixed': 'Case', host: 'shop.test' },
    body: 'hello',
  })
  const seen = r.json()
  assert.equal(seen.url, '/b?x=1')
  assert.equal(seen.body, 'hello')
  assert.equal(seen.headers.host, 'shop.test')
  assert.equal(seen.headers['x-mixed'], 'Case')
  assert.equal(seen.headers['x-forwarded-proto'], 'http')
  assert.match(seen.headers['x-request-id']!, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(seen.headers['x-envoy-peer-metadata-id'], 'test')
  assert.equal(seen.headers['x-forwarded-for'], undefined)
  assert.equal(r.headers.server, 'envoy')
  assert.match(String(r.headers['x-envoy-upstream-service-time']), /^\d+$/)
  assert.equal(t.log[0], `200 - via_upstream app POST /b?x=1 HTTP/1.1 5 ${r.body.length} -`)
})

test('bodies of all framings pass both ways, with trailers', async () => {
  await using t = await through(
    (req, res) => {
      const parts: Buffer[] = []
      req.on('data', (d) => parts.push(d))
      req.on('end', () => {
        res.writeHead(200, { trailer: 'x-sum' })
        res.write(Buffer.concat(parts))
        res.addTrailers({ 'x-sum': String(Buffer.concat(parts).length), 'x-seen': String(req.trailers['x-mine']) })
        res.end()
      })
    },
    [toCluster('app')],
  )
  const chunked =
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: te, close\r\n\r\n4;x=y\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Mine: 7\r\n\r\n'
  for (const step of [chunked.length, 1]) {
    const socket = connect(t.port, '127.0.0.1')
    const parts: Buffer[] = []
    socket.on('data', (d) => parts.push(d))
    for (let i = 0; i < chunked.length; i += step) {
      socket.write(chunked.slice(i, i + step))
      if (step === 1 && i % 16 === 0) await new Promise((r) => setImmediate(r))
    }
    await once(socket, 'end')
    const text = Buffer.concat(parts).toString()
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(text, /\r\n\r\n9\r\nWikipedia\r\n0\r\nx-sum: 9\r\nx-seen: 7\r\n\r\n$/)
  }
  const large = Buffer.alloc(3_000_000, 'z')
  assert.equal((await ask(t.port, '/', { method: 'PUT', body: large })).body.length, large.length)
})

test('fields of framing and of credentials are not passed on in trailers', async () => {
  await using t = await through(
    (req, res) => {
      req.resume()
      req.on('end', () => res.end(JSON.stringify(req.trailers)))
    },
    [toCluster('app')],
  )
  const text = await raw(
    t.port,
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: c\r\nX-Fine: d\r\n\r\n',
    { ms: 2000 },
  )
  assert.match(text, /\{"x-fine":"d"\}/)
})

test('pipelined requests are answered in order, one at a time', async () => {
  let under = 0
  await using t = await through(
    (req, res) => {
      assert.equal(++under, 1)
      setTimeout(() => {
        under--
        res.end(req.url)
      }, 5)
    },
    [toCluster('app')],
  )
  const one = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
  const text = await raw(t.port, one('/1') + one('/2') + one('/3', 'Connection: close\r\n'), { ms: 2000 })
  assert.deepEqual(text.match(/\/\d$|\/\d(?=HTTP)/gm), ['/1', '/2', '/3'])
})

test('HTTP/1.0, half-closed clients, 100-continue and early answers are served', async () => {
  await using t = await through(
    (req, res) => {
      if (req.url === '/early') {
        res.writeHead(413, { connection: 'close' })
        return void res.end('no')
      }
      req.resume()
      req.on('end', () => res.end('done'))
    },
    [toCluster('app')],
  )
  const old = await raw(t.port, 'GET / HTTP/1.0\r\n\r\n', { ms: 2000 })
  assert.match(old, /^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close\r\n\r\ndone$/)
  assert.doesNotMatch(old, /transfer-encoding/)
  assert.match(await raw(t.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', { end: true, ms: 2000 }), /done$/)
  const socket = connect(t.port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n')
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 100 Continue\r\n\r\n$/)
  socket.write('ok')
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200/)
  socket.destroy()
  const early = await raw(
    t.port,
    `POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1000)}`,
    { ms: 3000 },
  )
  assert.match(early, /^HTTP\/1\.1 413 [\s\S]*\r\n\r\n2\r\nno\r\n0\r\n\r\n$/)
})

test('WebSocket passes where it is allowed, other upgrades and CONNECT do not', async () => {
  await using t = await through(echo, [toCluster('app')], { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] } })
  t.app.http.on('upgrade', (_req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst')
    socket.on('data', (d: Buffer) => socket.write(`<${d}>`))
    socket.on('end', () => socket.end())
  })
  const socket = connect(t.port, '127.0.0.1')
  let text = ''
  socket.on('data', (d) => {
    text += d
  })
  socket.write('GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n')
  while (!text.includes('first')) await once(socket, 'data')
  assert.match(text, /^HTTP\/1\.1 101 Switching Protocols\r\nconnection: Upgrade\r\n/)
  socket.write('hello')
  while (!text.includes('<hello>')) await once(socket, 'data')
  socket.end()
  await once(socket, 'close')
  const upgrade = (name: string) =>
    raw(t.port, `GET / HTTP/1.1\r\nHost: a\r\nUpgrade: ${name}\r\nConnection: Upgrade\r\n\r\n`)
  assert.match(await upgrade('spdy/3.1'), /^HTTP\/1\.1 403 /)
  assert.match(await upgrade('h2c'), /^HTTP\/1\.1 200 /)
  assert.match(await raw(t.port, 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n'), /^HTTP\/1\.1 (403|404) /)
})

test('what cannot be routed or reached is answered with Envoy’s code, flag and words', async () => {
  const dead = await freePort()
  const routes = [
    toCluster('nowhere', {}, { prefix: '/nc' }),
    toCluster('empty', {}, { prefix: '/uh' }),
    toCluster('dead', {}, { prefix: '/uf' }),
    toCluster('app', { timeout: toDuration(50) }, { prefix: '/slow' }),
    toCluster('app', {}, { prefix: '/cut' }),
    toCluster('tight', {}, { prefix: '/uo' }),
    { match: { prefix: '/direct' }, direct_response: { status: 418, body: { inline_string: 'teapot' } } },
  ]
  await using t = await through(
    (req, res) => {
      if (req.url === '/cut') return void req.socket.destroy()
      if (req.url !== '/slow') setTimeout(() => res.end('ok'), 100)
    },
    routes,
    { clusters: [staticCluster('empty', []), staticCluster('dead', [dead])] },
  )
  const tight = staticCluster('tight', [t.app.port], {
    circuit_breakers: { thresholds: [{ max_connections: { value: 1 }, max_pending_requests: { value: 1 } }] },
  })
  t.proxy.configure({
    clusters: [staticCluster('app', [t.app.port]), staticCluster('empty', []), staticCluster('dead', [dead]), tight],
  })
  const cases: [path: string, status: number, flags: string, body: RegExp][] = [
    ['/none', 404, 'NR', /^$/],
    ['/nc', 503, 'NC', /^$/],
    ['/uh', 503, 'UH', /^no healthy upstream$/],
    [
      '/uf',
      503,
      'UF',
      /^upstream connect error or disconnect\/reset before headers\. .*reset reason: remote connection failure/,
    ],
    ['/slow', 504, 'UT', /^upstream request timeout$/],
    ['/cut', 503, 'UC', /reset reason: connection termination/],
    ['/direct', 418, '-', /^teapot$/],
  ]
  for (const [path, status, flags, body] of cases) {
    const r = await ask(t.port, path)
    assert.equal(r.status, status, path)
    assert.match(r.body, body, path)
    assert.equal(r.headers.server, 'envoy')
    assert.equal(t.log.at(-1)!.split(' ')[1], flags, t.log.at(-1))
  }
  const all = await Promise.all(Array.from({ length: 6 }, () => ask(t.port, '/uo')))
  const refused = all.filter((r) => r.status === 503)
  assert.ok(refused.length >= 3 && refused.length < 6, `${refused.length} refused`)
  assert.equal(refused[0]!.headers['x-envoy-overloaded'], 'true')
  assert.ok(t.log.some((l) => l.startsWith('503 UO upstream_reset_before_response_started{overflow}')))
})

test('retries go on other hosts, keep to their number, and say so', async () => {
  let calls = 0
  const counts = [0, 0]
  using bad = await server((_req, res) => {
    counts[0]!++
    res.writeHead(503).end('bad')
  })
  const retry = (on: string, more: Message = {}) => ({
    retry_policy: { retry_on: on, num_retries: { value: 2 }, ...more },
  })
  await using t = await through(
    (req, res) => {
      calls++
      counts[1]!++
      if (req.url === '/flaky' && calls < 3) return void res.writeHead(500).end()
      if (req.url === '/never') return void res.writeHead(503).end('down')
      if (req.url === '/hang') return
      res.end(`call ${calls} ${req.headers['x-envoy-attempt-count'] ?? '-'}`)
    },
    [],
    {
      hosts: [
        {
          name: 'all',
          domains: ['*'],
          include_request_attempt_count: true,
          routes: [
            toCluster('app', retry('5xx'), { path: '/flaky' }),
            toCluster('app', retry('retriable-status-codes', { retriable_status_codes: [503] }), { path: '/never' }),
            toCluster('app', retry('connect-failure'), { path: '/no' }),
            toCluster('app', retry('5xx', { per_try_timeout: toDuration(30) }), { path: '/hang' }),
            toCluster(
              'two',
              retry('gateway-error', {
                retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
                host_selection_retry_max_attempts: 5,
              }),
              { path: '/two' },
            ),
          ],
        },
      ],
    },
  )
  t.proxy.configure({ clusters: [staticCluster('app', [t.app.port]), staticCluster('two', [bad.port, t.app.port])] })
  assert.equal((await ask(t.port, '/flaky')).body, 'call 3 3')
  const before = calls
  const never = await ask(t.port, '/never')
  assert.equal(never.status, 503)
  assert.equal(never.body, 'down')
  assert.equal(calls - before, 3)
  const hang = await ask(t.port, '/hang')
  assert.equal(hang.status, 504)
  assert.match(t.log.at(-1)!, /^504 URX,UT upstream_per_try_timeout/)
  for (let i = 0; i < 20; i++) assert.equal((await ask(t.port, '/two')).status, 200)
  assert.ok(counts[0]! > 0)
  const posted = await ask(t.port, '/flaky', { method: 'POST', body: 'again' })
  assert.equal(posted.status, 200)
})

test('a retry budget is obeyed: it was decoded by nobody, so that retries had no bound', async () => {
  let calls = 0
  const holding: (() => void)[] = []
  const retry = (on: string) => ({ retry_policy: { retry_on: on, num_retries: { value: 1 } } })
  await using t = await through(
    (req, res) => {
      calls++
      if (req.url === '/hold') return void holding.push(() => res.end('held'))
      res.writeHead(503).end('down')
    },
    [
      toCluster('none', retry('5xx'), { path: '/none' }),
      toCluster('share', retry('5xx'), { path: '/share' }),
      toCluster('share', {}, { path: '/hold' }),
    ],
  )
  const bearing = (name: string, retry_budget: Message) =>
    staticCluster(name, [t.app.port], {
      circuit_breakers: { thresholds: [{ max_retries: { value: 100 }, retry_budget }] },
    })
  t.proxy.configure({
    clusters: [
      bearing('none', { budget_percent: { value: 0 }, min_retry_concurrency: { value: 0 } }),
      bearing('share', { budget_percent: { value: 50 }, min_retry_concurrency: { value: 0 } }),
    ],
  })
  const overflow = (name: string) => t.proxy.context.config.clusters.get(name)!.stats.upstream_rq_retry_overflow ?? 0
  assert.equal((await ask(t.port, '/none')).body, 'down')
  assert.equal(calls, 1)
  assert.equal(overflow('none'), 1)
  assert.equal(t.log.at(-1)!.split(' ')[1], 'UO')
  // Two under way bear one retry.
  const held = [ask(t.port, '/hold'), ask(t.port, '/hold')]
  while (holding.length < 2) await new Promise((resolve) => setImmediate(resolve))
  calls = 0
  await ask(t.port, '/share')
  assert.equal(calls, 2)
  assert.equal(overflow('share'), 0)
  for (const end of holding) end()
  for (const answer of held) assert.equal((await answer).body, 'held')
  calls = 0
  await ask(t.port, '/share')
  assert.equal(calls, 1)
  assert.equal(overflow('share'), 1)
})

test('a router that is told to be silent adds no x-envoy- fields', async () => {
  const seen: string[] = []
  for (const [suppress_envoy_headers, request, answer] of [
    [false, ['x-envoy-expected-rq-timeout-ms', 'x-envoy-original-path'], ['x-envoy-upstream-service-time']],
    [true, [], []],
  ] as const) {
    await using t = await through(
      (req, res) => {
        seen.splice(0, seen.length, ...Object.keys(req.headers))
        res.end('ok')
      },
      [toCluster('app', { timeout: toDuration(5000), prefix_rewrite: '/new' })],
      { hcm: { http_filters: [httpFilter('router.v3.Router', { suppress_envoy_headers })] } },
    )
    const { headers } = await ask(t.port, '/old')
    assert.deepEqual(seen.filter((n) => /^x-envoy-(?!peer-)/.test(n)).sort(), [...request])
    assert.deepEqual(
      Object.keys(headers).filter((n) => n.startsWith('x-envoy-')),
      [...answer],
    )
  }
})

test('a server that has just closed an idle connection costs no request', async () => {
  await using t = await through((_req, res) => res.end('ok'), [toCluster('app')])
  t.app.http.keepAliveTimeout = 40
  let failed = 0
  for (let i = 0; i < 40; i++) {
    if ((await ask(t.port, '/', { method: i % 2 ? 'GET' : 'POST' })).status !== 200) failed++
    await new Promise((r) => setTimeout(r, 30 + (i % 5) * 5))
  }
  assert.equal(failed, 0)
})

test('faults are injected by share, header and route', async () => {
  const abort = filterSettings('fault.v3.HTTPFault', {
    abort: { http_status: 555, percentage: { numerator: 100 } },
    headers: [{ name: 'end-user', string_match: { exact: 'jason' } }],
  })
  const delay = filterSettings('fault.v3.HTTPFault', {
    delay: { fixed_delay: toDuration(80), percentage: { numerator: 100 } },
  })
  const half = filterSettings('fault.v3.HTTPFault', { abort: { http_status: 500, percentage: { numerator: 50 } } })
  const settings = (s: Message) => ({ typed_per_filter_config: { 'envoy.filters.http.fault': s } })
  await using t = await through(
    echo,
    [
      { ...toCluster('app', {}, { prefix: '/abort' }), ...settings(abort) },
      { ...toCluster('app', {}, { prefix: '/delay' }), ...settings(delay) },
      { ...toCluster('app', {}, { prefix: '/half' }), ...settings(half) },
    ],
    { filters: [httpFilter('fault.v3.HTTPFault', {})] },
  )
  const hit = await ask(t.port, '/abort', { headers: { 'end-user': 'jason' } })
  assert.equal(hit.status, 555)
  assert.equal(hit.body, 'fault filter abort')
  assert.match(t.log.at(-1)!, /^555 FI fault_filter_abort/)
  assert.equal((await ask(t.port, '/abort')).status, 200)
  const begin = performance.now()
  assert.equal((await ask(t.port, '/delay', { method: 'POST', body: 'kept' })).json().body, 'kept')
  assert.ok(performance.now() - begin >= 78)
  assert.match(t.log.at(-1)!, /^200 DI /)
  const some = await Promise.all(Array.from({ length: 200 }, () => ask(t.port, '/half')))
  const share = some.filter((r) => r.status === 500).length
  assert.ok(share > 60 && share < 140, `${share} of 200`)
})

test('requests are mirrored, rewritten, redirected and edited', async () => {
  const shadows: { host: string; url: string; body: string }[] = []
  using shadow = await server((req, res) => {
    let body = ''
    req.on('data', (d) => {
      body += d
    })
    req.on('end', () => {
      shadows.push({ host: req.headers.host ?? '', url: req.url ?? '', body })
      res.end('ignored')
    })
  })
  const set = (key: string, value: string, append_action = 2) => ({ header: { key, value }, append_action })
  await using t = await through(echo, [
    toCluster('app', { request_mirror_policies: [{ cluster: 'shadow' }] }, { prefix: '/mirror' }),
    toCluster('app', { prefix_rewrite: '/new', host_rewrite_literal: 'inner.test' }, { prefix: '/old' }),
    toCluster(
      'app',
      { regex_rewrite: { pattern: { regex: '/v([0-9]+)/(.*)' }, substitution: '/\\2/\\1' } },
      { prefix: '/v' },
    ),
    { match: { prefix: '/moved' }, redirect: { host_redirect: 'else.test', path_redirect: '/here', response_code: 1 } },
    {
      ...toCluster('app', {}, { prefix: '/edit' }),
      request_headers_to_add: [set('x-set', '%REQ(:METHOD)%!'), set('x-append', 'b', 0), set('x-once', 'new', 1)],
      request_headers_to_remove: ['x-gone'],
      response_headers_to_add: [set('x-back', 'yes')],
      response_headers_to_remove: ['content-type'],
    },
  ])
  t.proxy.configure({ clusters: [staticCluster('app', [t.app.port]), staticCluster('shadow', [shadow.port])] })
  assert.equal(
    (await ask(t.port, '/mirror', { method: 'POST', headers: { host: 'shop.test:80' }, body: 'twice' })).json().body,
    'twice',
  )
  while (shadows.length === 0) await new Promise((r) => setTimeout(r, 5))
  assert.deepEqual(shadows, [{ host: 'shop.test-shadow:80', url: '/mirror', body: 'twice' }])
  const old = (await ask(t.port, '/old/a?b=c')).json()
  assert.equal(old.url, '/new/a?b=c')
  assert.equal(old.headers.host, 'inner.test')
  assert.equal(old.headers['x-envoy-original-path'], '/old/a?b=c')
  assert.equal((await ask(t.port, '/v12/x')).json().url, '/x/12')
  const moved = await ask(t.port, '/moved?q=1', { headers: { host: 'shop.test' } })
  assert.equal(moved.status, 302)
  assert.equal(moved.headers.location, 'http://else.test/here?q=1')
  const edit = await ask(t.port, '/edit', { headers: { 'x-gone': '1', 'x-append': 'a', 'x-once': 'old' } })
  const { headers } = edit.json()
  assert.equal(headers['x-set'], 'GET!')
  assert.equal(headers['x-append'], 'a, b')
  assert.equal(headers['x-once'], 'old')
  assert.equal(headers['x-gone'], undefined)
  assert.equal(edit.headers['x-back'], 'yes')
  assert.equal(edit.headers['content-type'], undefined)
})

test('cross-origin rules answer preflights and mark answers', async () => {
  const policy = filterSettings('cors.v3.CorsPolicy', {
    allow_origin_string_match: [{ safe_regex: { regex: 'https://.*\\.shop\\.test' } }],
    allow_methods: 'GET,POST',
    allow_headers: 'x-a',
    max_age: '600',
    allow_credentials: { value: true },
    expose_headers: 'x-b',
  })
  await using t = await through(
    echo,
    [{ ...toCluster('app'), typed_per_filter_config: { 'envoy.filters.http.cors': policy } }],
    { filters: [httpFilter('cors.v3.Cors', {})] },
  )
  const origin = 'https://www.shop.test'
  const preflight = await ask(t.port, '/', {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST' },
  })
  assert.equal(preflight.status, 200)
  assert.equal(preflight.headers['access-control-allow-origin'], origin)
  assert.equal(preflight.headers['access-control-allow-methods'], 'GET,POST')
  assert.equal(preflight.headers['access-control-max-age'], '600')
  assert.equal(preflight.headers['access-control-expose-headers'], 'x-b')
  const actual = await ask(t.port, '/', { headers: { origin } })
  assert.equal(actual.headers['access-control-allow-credentials'], 'true')
  assert.equal(actual.headers['access-control-expose-headers'], 'x-b')
  assert.equal(
    (await ask(t.port, '/', { headers: { origin: 'https://evil.test' } })).headers['access-control-allow-origin'],
    undefined,
  )
})

// "*" was sent as it stands: browsers take it for a name where there are credentials (Fetch standard, 3.3.5).
test('a preflight with credentials is told what it asked for where everything is allowed', async () => {
  const policy = (credentials: boolean) =>
    filterSettings('cors.v3.CorsPolicy', {
      allow_origin_string_match: [{ safe_regex: { regex: '.*' } }],
      allow_methods: '*',
      allow_headers: '*',
      allow_credentials: { value: credentials },
    })
  const route = (prefix: string, credentials: boolean) => ({
    ...toCluster('app', {}, { prefix }),
    typed_per_filter_config: { 'envoy.filters.http.cors': policy(credentials) },
  })
  await using t = await through(echo, [route('/with', true), route('/', false)], {
    filters: [httpFilter('cors.v3.Cors', {})],
  })
  const asked = async (path: string) => {
    const { headers } = await ask(t.port, path, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://a.test',
        'access-control-request-method': 'PUT',
        'access-control-request-headers': 'x-a, x-b',
      },
    })
    return [headers['access-control-allow-methods'], headers['access-control-allow-headers']]
  }
  assert.deepEqual(await asked('/with'), ['PUT', 'x-a, x-b'])
  assert.deepEqual(await asked('/other'), ['*', '*'])
})

// A connection that broke was tried again for nothing beside the retries that were asked for.
test('retries are counted on connections that had served others too', async () => {
  let seen = 0
  await using t = await through(
    (req, res) => {
      if (req.url !== '/break') return void res.end('ok')
      seen++
      req.socket.destroy()
    },
    [toCluster('app', { retry_policy: { retry_on: 'reset', num_retries: { value: 2 } } })],
  )
  assert.equal((await ask(t.port, '/')).status, 200)
  assert.equal((await ask(t.port, '/break')).status, 503)
  assert.equal(seen, 3)
})

test('a local rate limit refuses what is too much, and RBAC what is not allowed', async () => {
  const limit = {
    stat_prefix: 'l',
    token_bucket: { max_tokens: 3, tokens_per_fill: { value: 3 }, fill_interval: toDuration(60_000) },
    filter_enabled: { default_value: { numerator: 100 } },
    filter_enforced: { default_value: { numerator: 100 } },
    response_headers_to_add: [{ header: { key: 'x-local-rate-limit', value: 'true' } }],
  }
  const rbac = {
    rules: {
      action: 1,
      policies: {
        'no admin': {
          permissions: [{ url_path: { path: { prefix: '/admin' } } }],
          principals: [{ not_id: { header: { name: 'x-role', string_match: { exact: 'admin' } } } }],
        },
      },
    },
  }
  await using t = await through(echo, [toCluster('app')], {
    filters: [
      httpFilter('rbac.v3.RBAC', rbac),
      httpFilter('local_ratelimit.v3.LocalRateLimit', limit, 'envoy.filters.http.local_ratelimit'),
    ],
  })
  const denied = await ask(t.port, '/admin/x')
  assert.equal(denied.status, 403)
  assert.equal(denied.body, 'RBAC: access denied')
  assert.match(t.log.at(-1)!, /rbac_access_denied_matched_policy\[no_admin\]/)
  assert.equal((await ask(t.port, '/admin', { headers: { 'x-role': 'admin' } })).status, 200)
  assert.equal((await ask(t.port, '/')).status, 200)
  assert.equal((await ask(t.port, '/')).status, 200)
  const over = await ask(t.port, '/')
  assert.equal(over.status, 429)
  assert.equal(over.body, 'local_rate_limited')
  assert.equal(over.headers['x-local-rate-limit'], 'true')
  assert.match(t.log.at(-1)!, /^429 RL local_rate_limited/)
})

test('an authorization service over HTTP lets pass, refuses, and fails closed', async () => {
  using authz = await server((req, res) => {
    if (req.headers.authorization === 'let me') res.writeHead(200, { 'x-user': 'ann' }).end()
    else if (req.url === '/check/broken') req.socket.destroy()
    else res.writeHead(401, { 'www-authenticate': 'Basic' }).end('who are you')
  })
  await using t = await through(echo, [toCluster('app')], {
    filters: [
      httpFilter('ext_authz.v3.ExtAuthz', {
        http_service: {
          server_uri: { uri: 'http://authz', cluster: 'authz', timeout: toDuration(500) },
          path_prefix: '/check',
          authorization_response: { allowed_upstream_headers: { patterns: [{ exact: 'x-user' }] } },
        },
      }),
    ],
  })
  t.proxy.configure({ clusters: [staticCluster('app', [t.app.port]), staticCluster('authz', [authz.port])] })
  const allowed = await ask(t.port, '/a', { method: 'POST', headers: { authorization: 'let me' }, body: 'body' })
  assert.equal(allowed.json().headers['x-user'], 'ann')
  assert.equal(allowed.json().body, 'body')
  const refused = await ask(t.port, '/a')
  assert.equal(refused.status, 401)
  assert.equal(refused.body, 'who are you')
  assert.equal(refused.headers['www-authenticate'], 'Basic')
  assert.match(t.log.at(-1)!, /^401 UAEX ext_authz_denied/)
  assert.equal((await ask(t.port, '/broken')).status, 403)
})

test('routes are chosen by path, header, query, method and share', async () => {
  const to = (name: string, match: Message) => ({
    match,
    direct_response: { status: 200, body: { inline_string: name } },
  })
  await using t = await through(echo, [
    to('exact', { path: '/exact' }),
    to('folded', { prefix: '/FOLD', case_sensitive: { value: false } }),
    to('regex', { safe_regex: { regex: '/r[0-9]+' } }),
    to('segment', { path_separated_prefix: '/seg' }),
    to('header', { prefix: '/h', headers: [{ name: 'x-a', string_match: { prefix: 'b' } }] }),
    to('without', {
      prefix: '/h',
      headers: [{ name: 'x-a', string_match: { exact: 'c' }, invert_match: true, treat_missing_header_as_empty: true }],
    }),
    to('range', { prefix: '/n', headers: [{ name: 'x-n', range_match: { start: 5, end: 8 } }] }),
    to('query', { prefix: '/q', query_parameters: [{ name: 'v', string_match: { exact: '2' } }] }),
    to('method', { prefix: '/m', headers: [{ name: ':method', string_match: { exact: 'PUT' } }] }),
    to('rest', { prefix: '/' }),
  ])
  const where = async (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    (await ask(t.port, path, { headers, method })).body
  assert.equal(await where('/exact?x'), 'exact')
  assert.equal(await where('/exactly'), 'rest')
  assert.equal(await where('/fold/x'), 'folded')
  assert.equal(await where('/r12'), 'regex')
  assert.equal(await where('/r12x'), 'rest')
  assert.equal(await where('/seg/a'), 'segment')
  assert.equal(await where('/segment'), 'rest')
  assert.equal(await where('/h', { 'x-a': 'bcd' }), 'header')
  assert.equal(await where('/h'), 'without')
  assert.equal(await where('/h', { 'x-a': 'c' }), 'rest')
  assert.equal(await where('/n', { 'x-n': '7' }), 'range')
  assert.equal(await where('/n', { 'x-n': '8' }), 'rest')
  assert.equal(await where('/q?v=2'), 'query')
  assert.equal(await where('/q?v=3'), 'rest')
  assert.equal(await where('/m', {}, 'PUT'), 'method')
})

test('an edge tells servers who the client is, and takes nothing from strangers', async () => {
  await using t = await through(echo, [toCluster('app')], {
    hcm: { use_remote_address: { value: true }, server_name: 'istio-envoy' },
  })
  const r = await ask(t.port, '/', {
    headers: {
      'x-forwarded-for': '6.6.6.6',
      'x-envoy-retry-on': '5xx',
      'x-forwarded-client-cert': 'By=evil',
      'x-envoy-internal': 'true',
      'x-request-id': 'mine',
    },
  })
  const { headers } = r.json()
  assert.equal(headers['x-forwarded-for'], '6.6.6.6,127.0.0.1')
  assert.equal(headers['x-envoy-internal'], undefined)
  assert.equal(headers['x-envoy-external-address'], '127.0.0.1')
  assert.equal(headers['x-forwarded-client-cert'], undefined)
  assert.notEqual(headers['x-request-id'], 'mine')
  assert.equal(r.headers.server, 'istio-envoy')
})

test('servers are told the host and the port that clients asked for, where that is wanted', async () => {
  await using t = await through(
    echo,
    [toCluster('app', { host_rewrite_literal: 'b', append_x_forwarded_host: true })],
    {
      hcm: { use_remote_address: { value: true }, append_x_forwarded_port: true },
    },
  )
  const told = async (headers: Record<string, string>) => {
    const seen = (await ask(t.port, '/', { headers })).json().headers
    return [seen.host, seen['x-forwarded-host'], seen['x-forwarded-port']]
  }
  const port = String(t.port)
  assert.deepEqual(await told({ host: 'a' }), ['b', 'a', port])
  assert.deepEqual(await told({ host: 'a', 'x-forwarded-host': 'c,a' }), ['b', 'c,a', port])
  assert.deepEqual(await told({ host: 'a', 'x-forwarded-host': 'c', 'x-forwarded-port': '1' }), ['b', 'c,a', port])
  assert.deepEqual(await told({ host: 'b' }), ['b', undefined, port])
})

test('metrics bear Istio’s names and labels; access logs in JSON keep numbers as numbers', async () => {
  const json = accessLog({
    json_format: toStruct({
      code: '%RESPONSE_CODE%',
      path: '%REQ(:PATH)%',
      none: '%REQ(X-NONE)%',
      nested: { bytes: '%BYTES_SENT%' },
    }),
  })
  await using t = await through((_req, res) => res.end('12345'), [toCluster('app')], { hcm: json })
  await ask(t.port, '/j')
  assert.deepEqual(JSON.parse(t.log[0]!), { code: 200, path: '/j', none: null, nested: { bytes: 5 } })
  const text = t.proxy.context.stats.render()
  const line = text.split('\n').find((l) => l.startsWith('istio_requests_total'))!
  for (const label of [
    'reporter="source"',
    'source_workload="tester"',
    'source_principal="unknown"',
    'destination_workload="greeter"',
    'destination_service="app.test"',
    'destination_service_name="app"',
    'destination_canonical_revision="v1"',
    'request_protocol="http"',
    'response_code="200"',
    'response_flags="-"',
    'connection_security_policy="unknown"',
  ])
    assert.ok(line.includes(label), `${label} in ${line}`)
  assert.doesNotMatch(line, /grpc_response_status/)
  assert.match(text, /istio_response_bytes_sum\{.*\} 5/)
  assert.match(text, /istio_request_duration_milliseconds_bucket\{.*le="0.5"\} \d/)
})

test('what cannot be read is answered with words and written down, as Envoy does', async () => {
  await using to = await through(echo, [toCluster('app')])
  const cases: [request: string, status: RegExp, line: string][] = [
    ['junk\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*\r\n\r\nBad Request$/, '400 DPE http1.codec_error'],
    ['GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /, '400 - missing_host_header'],
    ['GET / HTTP/1.1\r\nhost: a b\r\n\r\n', /^HTTP\/1\.1 400 /, '400 DPE http.invalid_authority'],
    ['GET / HTTP/1.1\r\nhost: a\r\nx: \x01\r\n\r\n', /^HTTP\/1\.1 400 /, '400 DPE http1.invalid_characters'],
    [
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n',
      /^HTTP\/1\.1 501 /,
      '501 DPE http1.invalid_transfer_encoding',
    ],
    // The head was good, what followed was not.
    [
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*Bad Request$/,
      '400 DPE http1.codec_error',
    ],
    ['CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n', /^HTTP\/1\.1 404 /, '404 NR route_not_found'],
  ]
  for (const [request, status, line] of cases) {
    const before = to.proxy.lines.length
    assert.match(await raw(to.port, request), status, request)
    assert.ok(to.proxy.lines[before]?.startsWith(line), `${request}: ${to.proxy.lines[before]}`)
  }
})

test('one of several values of a field is enough for a match, and none may fit an inverted one', async () => {
  const field = (more: Message, status: number): Message => ({
    match: { prefix: '/', headers: [{ name: 'x-y', string_match: { exact: 'v' }, ...more }] },
    direct_response: { status },
  })
  await using to = await through(echo, [field({}, 201), field({ invert_match: true }, 202)])
  const status = async (...values: string[]) =>
    /^HTTP\/1\.1 (\d+)/.exec(
      await raw(to.port, `GET / HTTP/1.1\r\nhost: a\r\n${values.map((v) => `x-y: ${v}\r\n`).join('')}\r\n`),
    )?.[1]
  assert.equal(await status('v'), '201')
  assert.equal(await status('w', 'v'), '201')
  assert.equal(await status('w', 'u'), '202')
  assert.equal(await status(), '404')
})

test('fields that a route adds to answers are on the proxy’s own answers too', async () => {
  const add = { response_headers_to_add: [{ header: { key: 'x-added', value: 'yes' } }] }
  await using to = await through(
    echo,
    [
      { match: { prefix: '/direct' }, direct_response: { status: 200 }, ...add },
      { match: { prefix: '/redirect' }, redirect: { host_redirect: 'b' }, ...add },
      { match: { prefix: '/dead' }, route: { cluster: 'dead' }, ...add },
    ],
    { clusters: [staticCluster('dead', [1])] },
  )
  for (const path of ['/direct', '/redirect', '/dead'])
    assert.equal((await ask(to.port, path)).headers['x-added'], 'yes', path)
})

test('a request for a host whose routes are told on demand waits for them, and no longer than for their absence', async () => {
  const port = await freePort()
  const answer = (name: string, domain: string, status: number, more: Message = {}): Message => ({
    name,
    virtual_hosts: [
      { name: 'one', domains: [domain], routes: [{ match: { prefix: '/' }, direct_response: { status } }] },
    ],
    ...more,
  })
  const whole = answer('r', '*', 404, { vhds: {} })
  await using proxy = await startProxy({
    listeners: [httpListener('l', { port, hcm: { route_config: undefined, rds: { route_config_name: 'r' } } })],
    clusters: [],
    routes: [whole],
  })
  const { config } = proxy.context
  const asked: string[][] = []
  config.demandedRoutes.onAsk = () => {
    const names = config.routeNames().filter((n) => n.includes('/'))
    asked.push(names)
    setImmediate(() => {
      proxy.configure({ routes: [whole, answer('r/shop:81', 'shop:81', 201)] })
      for (const name of names) config.demandedRoutes.tell(name, name !== 'r/shop:81')
    })
  }
  const status = async (host: string) => (await ask(port, '/', { headers: { host } })).status
  assert.deepEqual(await Promise.all([status('shop:81'), status('SHOP:81'), status('nobody')]), [201, 201, 404])
  assert.equal(await status('nobody'), 404)
  assert.deepEqual(asked.at(-1), ['r/nobody', 'r/shop:81'])
  assert.ok(asked.length <= 2, 'each is asked for once')
})

test('retries that ask for it leave out the priorities that were tried, every so many tries', async () => {
  let failed = 0
  using bad = await server((_req, res) => {
    failed++
    res.writeHead(503).end('bad')
  })
  const config = xds('envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig')
  const name = 'envoy.retry_priorities.previous_priorities'
  await using t = await through(echo, [
    toCluster('far', {
      retry_policy: {
        retry_on: 'gateway-error',
        num_retries: { value: 3 },
        retry_back_off: { base_interval: toDuration(1) },
        retry_priority: { name, typed_config: packAny(config, { update_frequency: 2 }) },
      },
    }),
  ])
  const at = (port: number) => ({
    endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
  })
  const far = staticCluster('far', [], {
    load_assignment: {
      cluster_name: 'far',
      endpoints: [{ lb_endpoints: [at(bad.port)] }, { lb_endpoints: [at(t.app.port)], priority: 1 }],
    },
  })
  t.proxy.configure({ clusters: [far] })
  assert.equal((await ask(t.port, '/')).status, 200)
  assert.equal(failed, 2, 'two tries, then elsewhere')
})
