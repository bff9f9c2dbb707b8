// How the data plane chooses hosts: policies, priorities, localities, ejection, health checks, breakers, pools.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { packAny, toDuration, xds } from '#api/xds'
import {
  endpointAt,
  freePort,
  httpListener,
  speaking,
  startProxy,
  staticCluster,
  tcpChain,
  tcpListener,
  toCluster,
} from '#kit'
import type { Message } from '#wire'
import { decodeCluster } from '../../src/proxy/config/decode-cluster.ts'

/** Servers that answer with their own number, or as they are told. */
async function fleet(count: number) {
  const state = Array.from({ length: count }, () => ({ status: 200, healthy: true, delay: 0, calls: 0 }))
  const servers = await Promise.all(
    state.map(async (own, i) => {
      const server = createServer((req, res) => {
        if (req.url === '/health') return void res.writeHead(own.healthy ? 200 : 500).end()
        own.calls++
        setTimeout(() => res.writeHead(own.status).end(String(i)), own.delay)
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  return {
    state,
    servers,
    ports: servers.map((s) => (s.address() as AddressInfo).port),
    [Symbol.dispose]() {
      for (const s of servers) {
        s.close()
        s.closeAllConnections()
      }
    },
  }
}

/** A proxy with one cluster; `ask` returns the answers, `share` how many each server gave. */
async function before(cluster: Message, route: Message = {}, random?: () => number) {
  const port = await freePort()
  const proxy = await startProxy(
    { listeners: [httpListener('l', { port, routes: [toCluster('c', route)] })], clusters: [cluster] },
    random,
  )
  const ask = async (headers: Record<string, string> = {}) => {
    const r = await fetch(`http://127.0.0.1:${port}/`, { headers })
    return { status: r.status, text: await r.text(), headers: r.headers }
  }
  return {
    proxy,
    port,
    ask,
    async share(n: number, headers?: (i: number) => Record<string, string>) {
      const counts: Record<string, number> = {}
      for (let i = 0; i < n; i++) {
        const { text } = await ask(headers?.(i))
        counts[text] = (counts[text] ?? 0) + 1
      }
      return counts
    },
    cluster: () => proxy.context.config.clusters.get('c')!,
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  }
}

const policy = (lb_policy: number, more: Message = {}) => ({ lb_policy, ...more })

test('round robin turns, weights count, random and least request share', async () => {
  using f = await fleet(3)
  await using even = await before(staticCluster('c', f.ports, policy(0)))
  assert.deepEqual(await even.share(30), { 0: 10, 1: 10, 2: 10 })
  const weighted = f.ports.map((p, i) => endpointAt(p, { load_balancing_weight: { value: i + 1 } }))
  await using heavy = await before({
    ...staticCluster('c', [], policy(0)),
    load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: weighted }] },
  })
  assert.deepEqual(await heavy.share(60), { 0: 10, 1: 20, 2: 30 })
  await using any = await before(staticCluster('c', f.ports, policy(3)))
  const random = await any.share(150)
  assert.ok(
    Object.values(random).every((n) => n > 25),
    JSON.stringify(random),
  )
  f.state[0]!.delay = 150
  await using least = await before(staticCluster('c', f.ports, policy(1)))
  await Promise.all(Array.from({ length: 60 }, () => least.ask()))
  f.state[0]!.delay = 0
  assert.ok(f.state[0]!.calls < 110)
})

test('ring hash and Maglev keep a user on a host, and move few when a host goes', async () => {
  using f = await fleet(4)
  for (const lb of [policy(2, { ring_hash_lb_config: { minimum_ring_size: { value: 1024 } } }), policy(5)]) {
    await using t = await before(staticCluster('c', f.ports, lb), {
      hash_policy: [{ header: { header_name: 'x-user' } }],
    })
    const where = async () => {
      const all: string[] = []
      for (let i = 0; i < 60; i++) all.push((await t.ask({ 'x-user': `user-${i}` })).text)
      return all
    }
    const first = await where()
    assert.deepEqual(await where(), first)
    assert.equal(new Set(first).size, 4)
    t.proxy.configure({ clusters: [staticCluster('c', f.ports.slice(0, 3), lb)] })
    const moved = (await where()).filter((w, i) => w !== first[i] && first[i] !== '3').length
    // The ring's size is kept, so those that are left stand at more points; without hashing two thirds would move.
    assert.ok(moved <= 18, `${moved} users of the other hosts moved; hosts at ports ${f.ports}`)
  }
})

test('a cookie that the proxy sets keeps a client on its host', async () => {
  using f = await fleet(3)
  await using t = await before(staticCluster('c', f.ports, policy(2)), {
    hash_policy: [{ cookie: { name: 'sticky', ttl: toDuration(60_000), path: '/' } }],
  })
  const first = await t.ask()
  const cookie = first.headers.get('set-cookie') ?? ''
  assert.match(cookie, /^sticky="[0-9a-f]{16}"; Max-Age=60; Path=\/; HttpOnly$/)
  const value = cookie.split(';')[0]!
  for (let i = 0; i < 10; i++) {
    const again = await t.ask({ cookie: `a=b; ${value}` })
    assert.equal(again.text, first.text)
    assert.equal(again.headers.get('set-cookie'), null)
  }
})

test('traffic fails over to the next priority when too few are well, and comes back', async () => {
  using f = await fleet(4)
  const level = (priority: number, from: number, health: (number | undefined)[]) => ({
    priority,
    locality: { region: 'r', zone: `z${priority}` },
    lb_endpoints: [0, 1].map((i) => endpointAt(f.ports[from + i]!, health[i] ? { health_status: health[i] } : {})),
  })
  const cluster = (...health: (number | undefined)[]) => ({
    ...staticCluster('c', [], { common_lb_config: { healthy_panic_threshold: { value: 0 } } }),
    load_assignment: {
      cluster_name: 'c',
      endpoints: [level(0, 0, health), level(1, 2, [])],
    },
  })
  const UNHEALTHY = 2
  await using t = await before(cluster())
  const near = await t.share(40)
  assert.deepEqual(Object.keys(near), ['0', '1'])
  // Half of the first priority is left: 70 % of the traffic stays there.
  t.proxy.configure({ clusters: [cluster(UNHEALTHY)] })
  const some = await t.share(200)
  assert.ok(some[1]! > 110 && some[1]! < 170, JSON.stringify(some))
  assert.equal(some[0], undefined)
  t.proxy.configure({ clusters: [cluster(UNHEALTHY, UNHEALTHY)] })
  assert.deepEqual(Object.keys(await t.share(40)), ['2', '3'])
  t.proxy.configure({ clusters: [cluster()] })
  assert.deepEqual(Object.keys(await t.share(40)), ['0', '1'])
})

test('localities share by their weights', async () => {
  using f = await fleet(2)
  const locality = (i: number, weight: number) => ({
    locality: { region: 'r', zone: `z${i}` },
    load_balancing_weight: { value: weight },
    lb_endpoints: [endpointAt(f.ports[i]!)],
  })
  await using t = await before({
    ...staticCluster('c', [], { common_lb_config: { locality_weighted_lb_config: {} } }),
    load_assignment: { cluster_name: 'c', endpoints: [locality(0, 80), locality(1, 20)] },
  })
  const share = await t.share(200)
  assert.ok(share[0]! > 130 && share[0]! < 190, JSON.stringify(share))
})

test('a host that answers badly is left out, for longer each time, and comes back', async () => {
  using f = await fleet(3)
  f.state[2]!.status = 503
  await using t = await before(
    staticCluster('c', f.ports, {
      outlier_detection: {
        consecutive_gateway_failure: { value: 3 },
        enforcing_consecutive_gateway_failure: { value: 100 },
        interval: toDuration(20),
        base_ejection_time: toDuration(1000),
        max_ejection_percent: { value: 50 },
      },
    }),
  )
  let bad = 0
  // A slow machine took longer for these than the host was left out.
  for (let i = 0; i < 30; i++) if ((await t.ask()).status === 503) bad++
  assert.equal(bad, 3)
  const host = [...t.cluster().hosts.values()][2]!
  assert.equal(host.ejected, true)
  assert.equal(t.cluster().stats['outlier_detection.ejections_enforced_consecutive_gateway_failure'], 1)
  f.state[2]!.status = 200
  for (let i = 0; i < 500 && host.ejected; i++) await new Promise((r) => setTimeout(r, 10))
  assert.deepEqual(await t.share(9), { 0: 3, 1: 3, 2: 3 })
})

test('where a rule names the statuses that are failures, those count and no others do', async () => {
  using f = await fleet(3)
  f.state[1]!.status = 404
  f.state[2]!.status = 500
  const wanted = (code: string) => ({
    http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: code } }] },
  })
  const options = xds('envoy.extensions.upstreams.http.v3.HttpProtocolOptions')
  await using t = await before(
    staticCluster('c', f.ports, {
      outlier_detection: { consecutive_5xx: { value: 2 }, max_ejection_percent: { value: 100 } },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': packAny(options, {
          explicit_http_config: { http_protocol_options: {} },
          outlier_detection: { error_matcher: { or_match: { rules: [wanted('404'), wanted('429')] } } },
        }),
      },
    }),
  )
  for (let i = 0; i < 30; i++) await t.ask()
  assert.deepEqual(
    [...t.cluster().hosts.values()].map((h) => h.ejected),
    [false, true, false],
  )
})

test('a host may be a socket of the file system', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-socket-'))
  const path = join(folder, 's')
  const server = createServer((_req, res) => res.end('by socket')).listen(path)
  try {
    await once(server, 'listening')
    await using t = await before({
      ...staticCluster('c', []),
      load_assignment: {
        cluster_name: 'c',
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] }],
      },
    })
    assert.deepEqual(await t.share(3), { 'by socket': 3 })
  } finally {
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true })
  }
})

/** The state of the kernel's timer of a connection to a port: "02" asks whether the other end is there (proc_net_tcp). */
function timerTo(port: number): string | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const lines = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((l) => l.trim().split(/\s+/))
  return lines.find(([, , remote, state]) => remote?.endsWith(`:${hex}`) && state === '01')?.[5]?.slice(0, 2)
}

test('tcp_keepalive is set on connections: it was decoded by nobody', async () => {
  using f = await fleet(1)
  for (const [more, timer] of [
    [{}, '00'],
    [{ upstream_connection_options: { tcp_keepalive: { keepalive_time: { value: 60 } } } }, '02'],
  ] as const) {
    await using t = await before(staticCluster('c', f.ports, more))
    await t.ask()
    assert.equal(timerTo(f.ports[0]!), timer)
  }
})

test('a connection carries as many requests at once as its cluster says, and no more', async () => {
  const held: http2.Http2ServerResponse[] = []
  const server = http2.createServer((_req, res) => void held.push(res)).listen(0, '127.0.0.1')
  let connections = 0
  server.on('session', () => connections++)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await using t = await before(staticCluster('c', [port], speaking('http2', { max_concurrent_streams: { value: 2 } })))
  const asked = Array.from({ length: 5 }, () => t.ask())
  while (held.length < 5) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(connections, 3)
  for (const res of held) res.end('done')
  for (const answer of asked) assert.equal((await answer).text, 'done')
  server.close()
})

test('an HTTP/2 connection whose other end does not answer is given up, and its requests go elsewhere', async () => {
  // Takes the connection and never says a thing.
  const mute = createNetServer(() => {}).listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const well = http2.createServer((_req, res) => res.end('well')).listen(0, '127.0.0.1')
  await once(well, 'listening')
  const ports = [mute, well].map((s) => (s.address() as AddressInfo).port)
  const keepalive = { connection_keepalive: { interval: toDuration(20), timeout: toDuration(200) } }
  await using t = await before(staticCluster('c', ports, speaking('http2', keepalive)), {
    retry_policy: {
      retry_on: 'reset',
      num_retries: { value: 3 },
      retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
      host_selection_retry_max_attempts: 5,
    },
  })
  for (let i = 0; i < 3; i++) assert.equal((await t.ask()).text, 'well')
  assert.ok((t.cluster().stats['http2.keepalive_timeout'] ?? 0) > 0)
  mute.close()
  well.close()
})

test('a request on a stream that the server refuses is sent again, and not for ever', async () => {
  let refuse = 0
  const server = http2.createServer().listen(0, '127.0.0.1')
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    if (refuse-- > 0) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    stream.respond({ ':status': 200 })
    stream.pipe(stream)
  })
  await once(server, 'listening')
  await using t = await before(staticCluster('c', [(server.address() as AddressInfo).port], speaking('http2')))
  const post = async (times: number) => {
    refuse = times
    const answer = await fetch(`http://127.0.0.1:${t.port}/`, { method: 'POST', body: 'kept' })
    return { status: answer.status, text: await answer.text() }
  }
  for (const times of [0, 1, 3]) assert.deepEqual(await post(times), { status: 200, text: 'kept' })
  const never = await post(1000)
  assert.equal(never.status, 503)
  assert.match(never.text, /remote refused stream reset/)
  server.close()
})

test('not more hosts are left out than allowed', async () => {
  using f = await fleet(4)
  for (const own of f.state) own.status = 500
  await using t = await before(
    staticCluster('c', f.ports, {
      outlier_detection: {
        consecutive_5xx: { value: 1 },
        max_ejection_percent: { value: 50 },
        interval: toDuration(1000),
      },
    }),
  )
  for (let i = 0; i < 20; i++) await t.ask()
  assert.equal([...t.cluster().hosts.values()].filter((h) => h.ejected).length, 2)
})

test('hosts that fail their health checks get no requests', async () => {
  using f = await fleet(3)
  f.state[1]!.healthy = false
  await using t = await before(
    staticCluster('c', f.ports, {
      common_lb_config: { healthy_panic_threshold: { value: 0 } },
      health_checks: [
        {
          timeout: toDuration(500),
          interval: toDuration(20),
          unhealthy_threshold: { value: 2 },
          healthy_threshold: { value: 2 },
          http_health_check: { path: '/health' },
        },
      ],
    }),
  )
  const well = (n: number) => [...t.cluster().hosts.values()].filter((h) => h.checked).length === n
  for (let i = 0; i < 100 && !well(2); i++) await new Promise((r) => setTimeout(r, 10))
  assert.deepEqual(Object.keys(await t.share(20)), ['0', '2'])
  f.state[1]!.healthy = true
  for (let i = 0; i < 100 && !well(3); i++) await new Promise((r) => setTimeout(r, 10))
  assert.deepEqual(Object.keys(await t.share(20)), ['0', '1', '2'])
  f.state[0]!.healthy = false
  f.servers[2]!.close()
  f.servers[2]!.closeAllConnections()
  for (let i = 0; i < 100 && !well(1); i++) await new Promise((r) => setTimeout(r, 10))
  assert.deepEqual(await t.share(10), { 1: 10 })
})

test('draining endpoints finish what they have and get nothing new', async () => {
  using f = await fleet(2)
  const DRAINING = 3
  f.state[0]!.delay = 100
  await using t = await before(staticCluster('c', [f.ports[0]!]))
  const running = t.ask()
  while (f.state[0]!.calls === 0) await new Promise((resolve) => setImmediate(resolve))
  t.proxy.configure({
    clusters: [
      {
        ...staticCluster('c', []),
        load_assignment: {
          cluster_name: 'c',
          endpoints: [
            { lb_endpoints: [endpointAt(f.ports[0]!, { health_status: DRAINING }), endpointAt(f.ports[1]!)] },
          ],
        },
      },
    ],
  })
  assert.deepEqual(await t.share(10), { 1: 10 })
  assert.equal((await running).text, '0')
})

test('a new host warms up: its share grows', async () => {
  using f = await fleet(2)
  const warm = {
    lb_policy: 0,
    round_robin_lb_config: { slow_start_config: { slow_start_window: toDuration(400) } },
  }
  await using t = await before(staticCluster('c', [f.ports[0]!], warm))
  await t.share(5)
  t.proxy.configure({ clusters: [staticCluster('c', f.ports, warm)] })
  const early = await t.share(22)
  assert.ok((early[1] ?? 0) <= 8, JSON.stringify(early))
  await new Promise((r) => setTimeout(r, 450))
  assert.deepEqual(await t.share(20), { 0: 10, 1: 10 })
})

test('connections are kept within the breaker, for so many requests, and for so long', async () => {
  let open = 0
  let most = 0
  let total = 0
  const server = createServer((_req, res) => setTimeout(() => res.end('ok'), 10))
  server.on('connection', (socket) => {
    total++
    most = Math.max(most, ++open)
    socket.on('close', () => open--)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const breakers = (max_connections: number) => ({
    circuit_breakers: {
      thresholds: [{ max_connections: { value: max_connections }, max_pending_requests: { value: 100 } }],
    },
  })
  await using t = await before(staticCluster('c', [port], breakers(3)))
  const all = await Promise.all(Array.from({ length: 30 }, () => t.ask()))
  assert.ok(all.every((r) => r.status === 200))
  assert.equal(most, 3)
  await using once1 = await before(staticCluster('c', [port], { max_requests_per_connection: { value: 1 } }))
  total = 0
  await once1.share(5)
  assert.equal(total, 5)
  await using idle = await before(
    staticCluster('c', [port], { common_http_protocol_options: { idle_timeout: toDuration(50) } }),
  )
  total = 0
  await idle.ask()
  await new Promise((r) => setTimeout(r, 200))
  await idle.ask()
  assert.equal(total, 2)
  server.close()
  server.closeAllConnections()
})

test('a host that refuses connections costs no request where another one may be tried', async () => {
  using f = await fleet(1)
  const dead = await freePort()
  await using t = await before(
    {
      ...staticCluster('c', [dead, f.ports[0]!], { connect_timeout: toDuration(100) }),
    },
    {
      retry_policy: {
        retry_on: 'connect-failure',
        num_retries: { value: 2 },
        retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
        host_selection_retry_max_attempts: 5,
      },
    },
  )
  assert.deepEqual(await t.share(20), { 0: 20 })
})

test('a request begins no timer of its own: each had begun a look after idle connections that never ended', async (t) => {
  using f = await fleet(1)
  const h2 = http2.createServer((_req, res) => res.end('0')).listen(0, '127.0.0.1')
  await once(h2, 'listening')
  const clusters = [
    staticCluster('c', f.ports),
    staticCluster('c', [(h2.address() as AddressInfo).port], speaking('http2')),
  ]
  for (const cluster of clusters) {
    await using p = await before(cluster)
    const socket = connect(p.port, '127.0.0.1')
    const one = async () => {
      socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      let answer = ''
      // Its body is "0", of a known length or in a chunk.
      while (!/\r\n\r\n(0|1\r\n0\r\n0\r\n\r\n)$/.test(answer)) answer += (await once(socket, 'data'))[0]
      assert.match(answer, /^HTTP\/1\.1 200 /)
    }
    for (let i = 0; i < 5; i++) await one()
    const begun = t.mock.method(globalThis, 'setTimeout')
    for (let i = 0; i < 100; i++) await one()
    const count = begun.mock.calls.filter(({ arguments: [, ms] }) => Number(ms) >= 1000).length
    begun.mock.restore()
    socket.destroy()
    assert.ok(count <= 2, `${count} timers were begun for 100 requests`)
  }
  h2.close()
})

test('a proxy that answers itself at once leaves no route timer behind', async () => {
  await using p = await before(staticCluster('c', []), { timeout: toDuration(30) })
  assert.equal((await p.ask()).status, 503)
  await new Promise((resolve) => setTimeout(resolve, 80))
  // The router went on keeping time for an exchange that was over.
  assert.equal(p.cluster().stats.upstream_rq_timeout, undefined)
})

test('requests and connections to a cluster that is told on demand wait for it, and no longer than for its absence', async () => {
  using servers = await fleet(1)
  const [port, bytes] = [await freePort(), await freePort()]
  await using proxy = await startProxy({
    listeners: [
      httpListener('l', { port, routes: [toCluster('nobody', {}, { prefix: '/nobody' }), toCluster('late')] }),
      tcpListener('t', bytes, [tcpChain('late-too')]),
    ],
    clusters: [],
  })
  const { config } = proxy.context
  const asked: string[] = []
  config.onDemand = true
  config.demandedClusters.onAsk = (name) => {
    asked.push(name)
    setImmediate(() => {
      if (name === 'nobody') return config.demandedClusters.tell(name, true)
      config.putCluster(decodeCluster(staticCluster(name, [servers.ports[0]!])))
    })
  }
  const ask = async (path: string, init = {}) => {
    const r = await fetch(`http://127.0.0.1:${port}${path}`, init)
    return `${r.status} ${await r.text()}`
  }
  const some = await Promise.all([ask('/'), ask('/', { method: 'POST', body: 'x'.repeat(200_000) }), ask('/')])
  assert.deepEqual(some, ['200 0', '200 0', '200 0'])
  assert.equal(await ask('/nobody'), '503 ')
  assert.equal(await ask('/nobody'), '503 ')
  const socket = connect(bytes, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  let text = ''
  for await (const d of socket) text += d
  assert.match(text, /^HTTP\/1.1 200/)
  assert.deepEqual(asked, ['late', 'nobody', 'late-too'])
})

// A cluster that had come, but not its endpoints, took requests that no longer waited: they ended with 503.
test('who asks between the coming of a cluster and that of its endpoints waits for them too', async () => {
  using servers = await fleet(1)
  const port = await freePort()
  await using proxy = await startProxy({
    listeners: [httpListener('l', { port, routes: [toCluster('late')] })],
    clusters: [],
  })
  const { config, stats } = proxy.context
  const begun = async (count: number) => {
    const { counters } = stats
    while (counters.downstreamRequestsActive + counters.requests < count)
      await new Promise((resolve) => setImmediate(resolve))
  }
  const ask = async () => (await fetch(`http://127.0.0.1:${port}/`)).status
  let asked = 0
  config.onDemand = true
  config.demandedClusters.onAsk = () => asked++
  const first = ask()
  await begun(1)
  proxy.configure({ clusters: [{ name: 'late', type: 3, eds_cluster_config: { service_name: 'late' } }] })
  const later = [ask(), ask()]
  await begun(3)
  proxy.configure({
    endpoints: [{ cluster_name: 'late', endpoints: [{ lb_endpoints: [endpointAt(servers.ports[0]!)] }] }],
  })
  assert.deepEqual(await Promise.all([first, ...later]), [200, 200, 200])
  assert.equal(asked, 1)
})
