// The data plane as a client of xDS: both protocols, refusals with reasons, warm clusters, drained listeners, a
// control plane that goes and comes; and what the admin interface shows of it all.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { test } from 'node:test'
import { deltaAggregatedResources, packAny, streamAggregatedResources, TYPE, xds } from '#api/xds'
import { silentLog } from '#base'
import { endpointAt, freePort, httpListener, staticCluster, toCluster } from '#kit'
import type { Message } from '#wire'
import { HEALTH_CHECK, type ServerCall, serveGrpc } from '#wire'
import { adminHandler, listenHttp } from '../../src/proxy/admin/admin.ts'
import { agentHandler } from '../../src/proxy/admin/agent.ts'
import { Resources } from '../../src/proxy/config/resources.ts'
import { XdsClient } from '../../src/proxy/config/xds-client.ts'
import { BoundListeners } from '../../src/proxy/net/bound-listeners.ts'
import { createProxy } from '../../src/proxy/proxy.ts'

/** A control plane under the test's hand: it writes down what it is asked and sends what it is told to. */
async function controlPlane(port = 0) {
  const server = createTcpServer()
  const asked: Message[] = []
  const calls = new Set<ServerCall>()
  const handle = (call: ServerCall) => {
    calls.add(call)
    call.onMessage = (m) => asked.push(m)
    call.onClose = () => calls.delete(call)
  }
  const streams = serveGrpc(server, [
    { method: streamAggregatedResources, handle },
    { method: deltaAggregatedResources, handle },
  ])
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  let nonce = 0
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    /** Sends all resources of a type; returns the nonce. */
    send(type: string, resources: readonly Message[], version = String(++nonce)): string {
      const name = type.replace('type.googleapis.com/', '')
      const call = [...calls].at(-1)!
      call.send({
        type_url: type,
        version_info: version,
        nonce: `n${version}`,
        resources: resources.map((r) => packAny(xds(name), r)),
      })
      return `n${version}`
    },
    delta(type: string, resources: readonly Message[], removed: readonly string[] = []): string {
      const name = type.replace('type.googleapis.com/', '')
      const version = String(++nonce)
      ;[...calls].at(-1)!.send({
        type_url: type,
        nonce: `n${version}`,
        resources: resources.map((r) => ({ name: r.name ?? r.cluster_name, version, resource: packAny(xds(name), r) })),
        removed_resources: removed,
      })
      return `n${version}`
    },
    async until(fits: (m: Message) => boolean): Promise<Message> {
      for (let i = 0; i < 500; i++) {
        const found = asked.find(fits)
        if (found) return found
        await new Promise((r) => setTimeout(r, 5))
      }
      throw new Error(
        `not asked; asked: ${JSON.stringify(asked.map((a) => [a.type_url, a.response_nonce, a.resource_names]))}`,
      )
    },
    [Symbol.dispose]() {
      streams.destroy()
      server.close()
    },
  }
}

const LOCAL = {
  workload: 'w',
  namespace: 'default',
  canonicalName: 'w',
  canonicalRevision: 'v1',
  app: 'w',
  version: 'v1',
}
const NODE = { id: 'router~10.0.0.1~w.default~default.svc', cluster: 'w.default', metadata: { NAME: 'w' } }

async function dataPlane(port: number, delta: boolean) {
  const { context } = createProxy({ local: LOCAL, nodeId: NODE.id })
  const { config } = context
  const resources = new Resources(config, () => {})
  const bound = new BoundListeners(context, silentLog)
  config.onListeners = () => void bound.update()
  const client = new XdsClient({ host: '127.0.0.1', port, delta, node: NODE, config, resources, log: silentLog })
  client.start()
  return {
    context,
    config,
    resources,
    client,
    bound,
    [Symbol.dispose]() {
      client.close()
      bound.close()
      config.setClusters([])
    },
  }
}

async function app(text: string) {
  const server = createServer((_req, res) => res.end(text)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

const ads = { ads: {}, resource_api_version: 2 }
const eds = (name: string): Message => ({
  name,
  type: 3,
  eds_cluster_config: { eds_config: ads },
  connect_timeout: { seconds: 1 },
})
const assignment = (name: string, port: number): Message => ({
  cluster_name: name,
  endpoints: [{ lb_endpoints: [endpointAt(port)] }],
})
const table = (cluster: string): Message => ({
  name: 'r',
  virtual_hosts: [{ name: 'all', domains: ['*'], routes: [toCluster(cluster)] }],
})
const listening = (port: number): Message =>
  httpListener('l', { port, hcm: { route_config: undefined, rds: { config_source: ads, route_config_name: 'r' } } })

async function until<T>(look: () => T | Promise<T>): Promise<T> {
  for (let i = 0; i < 400; i++) {
    const found = await look()
    if (found) return found
    await new Promise((r) => setTimeout(r, 5))
  }
  throw new Error('it does not come')
}

const get = (port: number) =>
  fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } }).then(
    async (r) => `${r.status} ${await r.text()}`,
    () => 'refused',
  )

test('state of the world: what is named is asked for, versions and nonces go back, a bad resource is refused alone', async () => {
  using plane = await controlPlane()
  using one = await app('one')
  using two = await app('two')
  using data = await dataPlane(plane.port, false)
  const first = await plane.until((m) => m.type_url === TYPE.cluster)
  assert.equal(first.node.id, NODE.id)
  const port = await freePort()
  plane.send(TYPE.cluster, [eds('a'), eds('b')], '1')
  assert.deepEqual((await plane.until((m) => m.type_url === TYPE.endpoint)).resource_names, ['a', 'b'])
  plane.send(TYPE.endpoint, [assignment('a', one.port), assignment('b', two.port)], '1')
  plane.send(TYPE.listener, [listening(port)], '1')
  assert.deepEqual((await plane.until((m) => m.type_url === TYPE.route)).resource_names, ['r'])
  plane.send(TYPE.route, [table('a')], '7')
  await plane.until((m) => m.type_url === TYPE.route && m.response_nonce === 'n7' && m.version_info === '7')
  assert.equal(data.config.ready, true)
  assert.equal(await until(async () => (await get(port)) === '200 one' && 'yes'), 'yes')
  // One of two is bad: it is named, the good one is in force, the old one of the bad stays.
  const bad = {
    ...table('b'),
    virtual_hosts: [
      { name: 'all', domains: ['*'], routes: [{ match: { safe_regex: { regex: '(' } }, route: { cluster: 'b' } }] },
    ],
  }
  plane.send(TYPE.route, [bad], '8')
  const nack = await plane.until((m) => m.response_nonce === 'n8')
  assert.equal(nack.version_info, '7')
  assert.match(nack.error_detail.message, /routes r, host all, route 0.*invalid regex/)
  assert.equal(await get(port), '200 one')
  plane.send(TYPE.cluster, [eds('a'), eds('b'), { name: 'c', type: 0, lb_policy: 99 }], '9')
  const refused = await plane.until((m) => m.response_nonce === 'n9' && m.error_detail)
  assert.match(refused.error_detail.message, /cluster c: lb_policy: 99 is not supported/)
  assert.ok(data.config.clusters.has('a'))
  plane.send(TYPE.route, [table('b')], '10')
  assert.equal(await until(async () => (await get(port)) === '200 two' && 'yes'), 'yes')
})

test('delta: names are subscribed one by one, removed ones go, and after a reconnection only news is told', async () => {
  let plane = await controlPlane()
  using one = await app('one')
  using data = await dataPlane(plane.port, true)
  await plane.until((m) => m.type_url === TYPE.cluster)
  const port = await freePort()
  plane.delta(TYPE.cluster, [eds('a')])
  assert.deepEqual((await plane.until((m) => m.type_url === TYPE.endpoint)).resource_names_subscribe, ['a'])
  plane.delta(TYPE.endpoint, [assignment('a', one.port)])
  plane.delta(TYPE.listener, [listening(port)])
  await plane.until((m) => m.type_url === TYPE.route)
  plane.delta(TYPE.route, [table('a')])
  assert.equal(await until(async () => (await get(port)) === '200 one' && 'yes'), 'yes')
  plane.delta(TYPE.cluster, [eds('b')])
  const more = await plane.until((m) => m.type_url === TYPE.endpoint && m.resource_names_subscribe?.includes('b'))
  assert.deepEqual(more.resource_names_subscribe, ['b'])
  plane.delta(TYPE.cluster, [], ['b'])
  const less = await plane.until((m) => m.resource_names_unsubscribe?.includes('b'))
  assert.deepEqual(less.resource_names_unsubscribe, ['b'])
  assert.equal(data.config.clusters.has('b'), false)
  // The control plane goes: what is known is served; it comes back and is told what is known.
  const at = plane.port
  plane[Symbol.dispose]()
  await until(() => !data.client.connected)
  assert.equal(await get(port), '200 one')
  plane = await controlPlane(at)
  const again = await plane.until((m) => m.type_url === TYPE.cluster)
  assert.deepEqual(Object.keys(again.initial_resource_versions), ['a'])
  const routes = await plane.until((m) => m.type_url === TYPE.route)
  assert.deepEqual(routes.resource_names_subscribe, ['r'])
  plane[Symbol.dispose]()
})

test('a route waits for the endpoints of a cluster that it names for the first time', async () => {
  using plane = await controlPlane()
  using one = await app('one')
  using two = await app('two')
  using _data = await dataPlane(plane.port, false)
  await plane.until((m) => m.type_url === TYPE.cluster)
  const port = await freePort()
  plane.send(TYPE.cluster, [eds('a')])
  plane.send(TYPE.endpoint, [assignment('a', one.port)])
  plane.send(TYPE.listener, [listening(port)])
  plane.send(TYPE.route, [table('a')])
  assert.equal(await until(async () => (await get(port)) === '200 one' && 'yes'), 'yes')
  plane.send(TYPE.cluster, [eds('a'), eds('b')])
  const sent = plane.send(TYPE.route, [table('b')])
  await plane.until((m) => m.response_nonce === sent)
  for (let i = 0; i < 5; i++) assert.equal(await get(port), '200 one')
  plane.send(TYPE.endpoint, [assignment('a', one.port), assignment('b', two.port)])
  assert.equal(await until(async () => (await get(port)) === '200 two' && 'yes'), 'yes')
})

test('a listener that changes or goes lets its connections finish, and takes no new ones', async () => {
  using plane = await controlPlane()
  using data = await dataPlane(plane.port, false)
  await plane.until((m) => m.type_url === TYPE.cluster)
  const port = await freePort()
  const slow = createServer((_req, res) => setTimeout(() => res.end('slow'), 150)).listen(0, '127.0.0.1')
  await once(slow, 'listening')
  const direct = (name: string, body: string) =>
    httpListener(name, {
      port,
      routes: [
        { match: { prefix: '/', headers: [{ name: 'x-slow', present_match: true }] }, route: { cluster: 's' } },
        { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } },
      ],
    })
  plane.send(TYPE.cluster, [staticCluster('s', [(slow.address() as AddressInfo).port])])
  plane.send(TYPE.listener, [direct('l', 'old')])
  assert.equal(await until(async () => (await get(port)) === '200 old' && 'yes'), 'yes')
  const kept = connect(port, '127.0.0.1')
  kept.write('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: 1\r\n\r\n')
  await new Promise((r) => setTimeout(r, 30))
  plane.send(TYPE.listener, [direct('l', 'new')])
  assert.equal(await until(async () => (await get(port)) === '200 new' && 'yes'), 'yes')
  const text = await new Promise<string>((resolve) => {
    let all = ''
    kept.on('data', (d) => {
      all += d
    })
    kept.on('end', () => resolve(all))
  })
  assert.match(text, /connection: close[\s\S]*slow/)
  plane.send(TYPE.listener, [])
  assert.equal(await until(async () => (await get(port)) === 'refused' && 'yes'), 'yes')
  assert.equal(data.config.listeners.size, 0)
  slow.close()
})

test('the admin interface shows configuration, clusters, listeners and counters in Envoy’s shapes', async () => {
  using plane = await controlPlane()
  using one = await app('one')
  using data = await dataPlane(plane.port, false)
  await plane.until((m) => m.type_url === TYPE.cluster)
  const port = await freePort()
  plane.send(TYPE.cluster, [eds('outbound|80||a.default.svc.cluster.local')])
  plane.send(TYPE.endpoint, [assignment('outbound|80||a.default.svc.cluster.local', one.port)])
  plane.send(TYPE.listener, [listening(port)])
  plane.send(TYPE.route, [table('outbound|80||a.default.svc.cluster.local')])
  assert.equal(await until(async () => (await get(port)) === '200 one' && 'yes'), 'yes')
  let drained = 0
  let quits = 0
  let debug = false
  const handler = adminHandler({
    context: data.context,
    resources: data.resources,
    node: NODE,
    setDebug: (on) => {
      debug = on
    },
    ready: () => data.config.ready,
    connected: () => data.client.connected,
    refresh: async () => {},
    drain: () => {},
    drainListeners: () => drained++,
    quit: () => quits++,
  })
  await using admin = await serving(handler)
  const at = `http://127.0.0.1:${admin.port}`
  const json = async (path: string) => (await fetch(at + path)).json() as Promise<Message>
  const text = async (path: string, method = 'GET') => {
    const r = await fetch(at + path, { method })
    return `${r.status} ${await r.text()}`
  }
  const dump = await json('/config_dump?include_eds')
  assert.deepEqual(
    dump.configs.map((c: Message) => c['@type'].split('.').at(-1)),
    [
      'BootstrapConfigDump',
      'ClustersConfigDump',
      'EndpointsConfigDump',
      'ListenersConfigDump',
      'RoutesConfigDump',
      'SecretsConfigDump',
      'EcdsConfigDump',
    ],
  )
  const [cluster] = dump.configs[1].dynamic_active_clusters
  assert.equal(cluster.cluster['@type'], TYPE.cluster)
  assert.equal(cluster.cluster.type, 'EDS')
  assert.equal(cluster.cluster.connect_timeout, '1s')
  const [listener] = dump.configs[3].dynamic_listeners
  const [filter] = listener.active_state.listener.filter_chains[0].filters
  assert.equal(filter.typed_config.rds.route_config_name, 'r')
  assert.match(filter.typed_config['@type'], /HttpConnectionManager$/)
  assert.equal((await json('/config_dump?resource=dynamic_route_configs')).configs[0].route_config.name, 'r')
  const clusters = await text('/clusters')
  assert.match(
    clusters,
    new RegExp(`outbound\\|80\\|\\|a\\.default\\.svc\\.cluster\\.local::127\\.0\\.0\\.1:${one.port}::rq_total::[1-9]`),
  )
  assert.match(clusters, /::health_flags::healthy/)
  const statuses = (await json('/clusters?format=json')).cluster_statuses
  assert.equal(statuses[0].circuit_breakers.thresholds[0].max_retries, 3)
  assert.deepEqual(await json('/runtime'), { entries: {}, layers: [] })
  assert.equal(statuses[0].host_statuses[0].address.socket_address.port_value, one.port)
  assert.equal(statuses[0].host_statuses[0].health_status.eds_health_status, 'HEALTHY')
  assert.equal(await text('/listeners'), `200 l::127.0.0.1:${port}\n`)
  assert.match(
    await text('/stats?filter=upstream_rq_total'),
    /^200 cluster\.outbound\|80\|\|a\.default\.svc\.cluster\.local\.upstream_rq_total: [1-9]\d*\n$/,
  )
  // Each breaker of each cluster was a family of its own.
  assert.match(
    await text('/stats/prometheus'),
    /# TYPE envoy_cluster_circuit_breakers_default_cx_open gauge\nenvoy_cluster_circuit_breakers_default_cx_open\{cluster_name="/,
  )
  assert.match(
    await text('/stats/prometheus'),
    /envoy_cluster_upstream_rq_total\{cluster_name="outbound\|80\|\|a\.default\.svc\.cluster\.local"\} [1-9][\s\S]*istio_requests_total\{/,
  )
  assert.equal(await text('/ready'), '200 LIVE\n')
  assert.equal((await json('/server_info')).state, 'LIVE')
  assert.match(await text('/logging?level=debug', 'POST'), /^200 active loggers/)
  assert.equal(debug, true)
  assert.match(await text('/logging?level=loud', 'POST'), /^400 error: invalid logger level "loud"/)
  assert.match(await text('/quitquitquit'), /^405 /)
  assert.equal(await text('/drain_listeners', 'POST'), '200 OK\n')
  assert.equal(await text('/quitquitquit', 'POST'), '200 OK\n')
  await until(() => quits === 1 && drained === 1)
  assert.match(await text('/nothing'), /^404 invalid path/)
})

async function serving(handler: RequestListener) {
  const port = await freePort()
  const server = await listenHttp('127.0.0.1', port, handler)
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

test('port 15020 merges the application’s metrics with the proxy’s and asks its probes', async () => {
  const application = createServer((req, res) => {
    if (req.url === '/metrics') return void res.end('app_orders_total 7')
    res.writeHead(req.url === '/live' && req.headers['x-probe'] === 'yes' ? 200 : 503).end()
  }).listen(0, '127.0.0.1')
  await once(application, 'listening')
  const { port } = application.address() as AddressInfo
  const rpc = createTcpServer()
  const calls = serveGrpc(rpc, [
    {
      method: HEALTH_CHECK,
      handle: (call) => {
        call.onMessage = ({ service }) => {
          call.send({ status: service === 'shop' ? 1 : 2 })
          call.end()
        }
      },
    },
  ])
  rpc.listen(0, '127.0.0.1')
  await once(rpc, 'listening')
  const grpc = { port: (rpc.address() as AddressInfo).port }
  await using agent = await serving(
    agentHandler({
      underWay: async () => 3,
      metrics: async () => 'istio_build{component="proxy"} 1\n',
      appMetrics: { port, path: '/metrics' },
      probes: {
        '/app-health/web/livez': { httpGet: { path: '/live', port, httpHeaders: [{ name: 'x-probe', value: 'yes' }] } },
        '/app-health/web/readyz': { httpGet: { path: '/ready', port } },
        '/app-health/web/startupz': { tcpSocket: { port } },
        '/app-health/rpc/livez': { grpc: { ...grpc, service: 'shop' } },
        '/app-health/rpc/readyz': { grpc },
        '/app-health/gone/startupz': { grpc: { port: await freePort() } },
        '/app-health/gone/livez': { tcpSocket: { port: await freePort() } },
      },
      appHost: '127.0.0.1',
      ready: () => true,
      drain() {},
      quit() {},
    }),
  )
  const status = async (path: string) => (await fetch(`http://127.0.0.1:${agent.port}${path}`)).status
  const metrics = await (await fetch(`http://127.0.0.1:${agent.port}/stats/prometheus`)).text()
  assert.equal(metrics, 'istio_build{component="proxy"} 1\napp_orders_total 7\n')
  assert.equal(await status('/app-health/web/livez'), 200)
  assert.equal(await status('/app-health/web/readyz'), 503)
  assert.equal(await status('/app-health/web/startupz'), 200)
  assert.equal(await status('/app-health/gone/livez'), 500)
  assert.equal(await status('/app-health/rpc/livez'), 200)
  assert.equal(await status('/app-health/rpc/readyz'), 500)
  assert.equal(await status('/app-health/gone/startupz'), 500)
  calls.destroy()
  rpc.close()
  assert.equal(await status('/healthz/ready'), 200)
  assert.equal(await status('/app-health/none/livez'), 404)
  application.close()
  application.closeAllConnections()
})
