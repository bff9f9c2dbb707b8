// Our control plane against clients of xDS: gRPC's own (@grpc/grpc-js-xds) and our data plane, in both protocols.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import * as grpc from '@grpc/grpc-js'
import type { KubeObject } from '#api'
import { silentLog } from '#base'
import { meshObject, serviceAt, startMesh, type TestMesh } from '#kit'
import { ConfigStore } from '../../src/proxy/config/config-store.ts'
import type { HttpChain, VirtualHost } from '../../src/proxy/config/model.ts'
import { Resources } from '../../src/proxy/config/resources.ts'
import { XdsClient } from '../../src/proxy/config/xds-client.ts'
import { findHost } from '../../src/proxy/http/route.ts'
import type { ClusterState } from '../../src/proxy/upstream/cluster-state.ts'

const METHOD = {
  path: '/echo.Echo/Say',
  requestStream: false,
  responseStream: false,
  requestSerialize: (text: string) => Buffer.from(text),
  requestDeserialize: (data: Buffer) => data.toString(),
  responseSerialize: (text: string) => Buffer.from(text),
  responseDeserialize: (data: Buffer) => data.toString(),
} as const

/** A gRPC server that answers with its name; while `fails` is positive it refuses that many calls. */
async function echo(name: string, host = '127.0.0.1') {
  const state = { fails: 0, calls: 0 }
  const server = new grpc.Server()
  server.addService({ Say: METHOD }, {
    Say: (_call: grpc.ServerUnaryCall<string, string>, answer: grpc.sendUnaryData<string>) => {
      state.calls++
      if (state.fails > 0) {
        state.fails--
        answer({ code: grpc.status.UNAVAILABLE, details: 'on purpose' })
      } else answer(null, name)
    },
  } as unknown as grpc.UntypedServiceImplementation)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${host}:0`, grpc.ServerCredentials.createInsecure(), (e, p) => (e ? reject(e) : resolve(p))),
  )
  return { state, port, close: () => server.forceShutdown() }
}

const POD = (name: string, version: string, ip: string): KubeObject => {
  const pod = meshObject('Pod', name, { status: { podIP: ip } })
  return { ...pod, metadata: { ...pod.metadata, labels: { app: 'echo', version } } }
}

const virtualService = (http: object[]) => meshObject('VirtualService', 'echo', { spec: { hosts: ['echo'], http } })
const RULE = meshObject('DestinationRule', 'echo', {
  spec: {
    host: 'echo',
    subsets: [
      { name: 'v1', labels: { version: 'v1' } },
      { name: 'v2', labels: { version: 'v2' } },
    ],
  },
})
const to = (subset: string, weight?: number) => ({
  destination: { host: 'echo', subset },
  ...(weight === undefined ? {} : { weight }),
})

test('a gRPC client without a proxy routes, splits, retries and fails over by our control plane', async (t) => {
  const [one, two] = await Promise.all([echo('one'), echo('two', '127.0.0.2')])
  const { service, slices } = serviceAt('echo', 7070, 'grpc', [one.port, two.port])
  const pods = [POD('a', 'v1', '127.0.0.1'), POD('b', 'v2', '127.0.0.2')]
  const view = (http: object[], here = slices) => ({
    services: [service],
    slices: () => here,
    podByIp: (ip: string) => pods.find((p) => p.status.podIP === ip),
    destinationRules: [RULE],
    virtualServices: http.length > 0 ? [virtualService(http)] : [],
  })
  const mesh = await startMesh(view([{ route: [to('v1')] }]))
  process.env.GRPC_XDS_BOOTSTRAP_CONFIG = JSON.stringify({
    xds_servers: [
      { server_uri: `127.0.0.1:${mesh.port}`, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] },
    ],
    node: {
      id: 'sidecar~127.0.0.1~client.default~default.svc.cluster.local',
      metadata: { GENERATOR: 'grpc' },
      locality: {},
    },
  })
  const { register } = await import('@grpc/grpc-js-xds')
  register()
  const client = new grpc.Client('xds:///echo.default.svc.cluster.local:7070', grpc.credentials.createInsecure())
  t.after(async () => {
    client.close()
    one.close()
    two.close()
    await mesh.close()
  })
  const say = (header?: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const metadata = new grpc.Metadata()
      if (header) metadata.set('x-to', header)
      client.makeUnaryRequest(
        METHOD.path,
        METHOD.requestSerialize,
        METHOD.responseDeserialize,
        'hi',
        metadata,
        { deadline: Date.now() + 10_000 },
        (error, value) => (error ? reject(error) : resolve(value!)),
      )
    })
  const all = async (n: number, header?: string) => {
    const seen = new Map<string, number>()
    for (const name of await Promise.all(Array.from({ length: n }, () => say(header))))
      seen.set(name, (seen.get(name) ?? 0) + 1)
    return seen
  }
  /** Calls until the answers are as they should be: the client takes a change in a moment. */
  const until = async (n: number, wanted: (seen: Map<string, number>) => boolean, header?: string) => {
    for (;;) {
      const seen = await all(n, header)
      if (wanted(seen)) return
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  assert.deepEqual(await all(20), new Map([['one', 20]]), 'everything to v1')

  await mesh.update(
    view([{ match: [{ headers: { 'x-to': { exact: 'two' } } }], route: [to('v2')] }, { route: [to('v1')] }]),
  )
  await until(5, (seen) => seen.get('two') === 5, 'two')
  assert.deepEqual(await all(5), new Map([['one', 5]]), 'by header, the others to v1')

  await mesh.update(view([{ route: [to('v1', 50), to('v2', 50)] }]))
  await until(100, (seen) => (seen.get('one') ?? 0) > 20 && (seen.get('two') ?? 0) > 20)

  await mesh.update(view([{ retries: { attempts: 2, retryOn: 'unavailable' }, route: [to('v1')] }]))
  await until(5, (seen) => seen.get('one') === 5)
  one.state.fails = 1
  const before = one.state.calls
  assert.equal(await say(), 'one')
  assert.equal(one.state.calls - before, 2, 'tried again')

  await mesh.update(view([], slices))
  await until(20, (seen) => seen.size === 2)
  // One endpoint goes: all calls go to the other, none is lost.
  await mesh.update(view([], slices.slice(1)))
  await until(20, (seen) => seen.get('two') === 20)
  assert.deepEqual(mesh.refusals, [])
})

/** Our data plane's client, and what it has in force. */
function dataPlane(mesh: TestMesh, delta: boolean, metadata = {}) {
  const config = new ConfigStore()
  const resources = new Resources(config, () => {})
  const client = new XdsClient({
    host: '127.0.0.1',
    port: mesh.port,
    delta,
    node: { id: 'sidecar~127.0.0.9~app.default~default.svc.cluster.local', cluster: 'app', metadata },
    config,
    resources,
    log: silentLog,
  })
  client.start()
  return { config, client, close: () => client.close() }
}

const portsOf = (cluster: ClusterState | undefined) => [...(cluster?.hosts.values() ?? [])].map((h) => h.endpoint.port)

const turns = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setImmediate(resolve))
}

for (const delta of [false, true])
  test(`our data plane follows ${delta ? 'deltas' : 'the state of the world'}: clusters before routes that name them, and after`, async (t) => {
    const a = serviceAt('a', 80, 'http', [8080])
    const b = serviceAt('b', 80, 'http', [8081])
    const of = (...all: (typeof a)[]) => ({
      services: all.map((s) => s.service),
      slices: (s: KubeObject) => all.find((x) => x.service === s)?.slices ?? [],
    })
    const mesh = await startMesh(of(a))
    const proxy = dataPlane(mesh, delta)
    t.after(async () => {
      proxy.close()
      await mesh.close()
    })
    const { config } = proxy
    await turns(() => config.ready)
    const has = (name: string) => config.clusters.has(`outbound|80||${name}.default.svc.cluster.local`)
    const routed = (name: string) => config.routes.get('80')?.exact.has(`${name}.default.svc.cluster.local`) ?? false
    assert.ok(has('a') && routed('a') && !has('b'))

    // At no moment is there a route to a cluster that is not there.
    let broken = ''
    const watch = setInterval(() => {
      for (const name of ['a', 'b']) if (routed(name) && !has(name)) broken = name
    }, 0)
    await mesh.update(of(a, b))
    await turns(() => routed('b'))
    assert.ok(has('b'))
    assert.deepEqual(portsOf(config.clusters.get('outbound|80||b.default.svc.cluster.local')), [8081])
    await mesh.update(of(b))
    await turns(() => !has('a'))
    clearInterval(watch)
    assert.equal(broken, '')
    assert.ok(!routed('a') && routed('b'))
    await mesh.ads.settled()
    assert.deepEqual(mesh.refusals, [])

    // Only what changed is told again.
    const before = config.clusters.get('outbound|80||b.default.svc.cluster.local')
    await mesh.update({ ...of(b), slices: () => [{ ...b.slices[0]!, ports: [{ name: 'http', port: 9999 }] }] })
    await mesh.ads.settled()
    assert.equal(config.clusters.get('outbound|80||b.default.svc.cluster.local'), before)
    assert.deepEqual(portsOf(before), [9999])
  })

test('of a large mesh a proxy is told the services that it uses, when it uses them', async (t) => {
  const name = (i: number | string, subset = '') => `outbound|80|${subset}|s${i}.default.svc.cluster.local`
  const all = Array.from({ length: 300 }, (_, i) => serviceAt(`s${i}`, 80, 'http', [8000 + i]))
  const of = (services: typeof all, rest: object = {}, moved = 0) => ({
    services: services.map((s) => s.service),
    slices: (s: KubeObject) =>
      (services.find((x) => x.service === s)?.slices ?? []).map((slice) => ({
        ...slice,
        ports: [{ name: 'http', port: slice.ports[0].port + moved }],
      })),
    ...rest,
  })
  const first = await startMesh(of(all))
  const proxy = dataPlane(first, true, { ON_DEMAND: 'true', ON_DEMAND_LISTENERS: 'true' })
  t.after(() => proxy.close())
  const { config } = proxy
  const told = () => [...config.clusters.keys()].filter((n) => n.startsWith('outbound|'))
  const wanted = (n: string) => new Promise<ClusterState | undefined>((resolve) => config.awaitCluster(n, resolve))
  await turns(() => config.ready)
  assert.deepEqual(told(), [])
  assert.ok(config.clusters.has('PassthroughCluster'), 'what is no service’s is told')

  // Of route tables only the host of all names is told before.
  const chain = { kind: 'http', route: '80' } as HttpChain
  const routesOf = async (authority: string) => {
    if (!config.hasRoutes(chain, authority))
      await new Promise<void>((resolve) => config.awaitRoutes(chain, authority, resolve))
    const table = config.routeTable(chain, authority)
    return table && findHost(table, authority)
  }
  const clustersOf = (host: VirtualHost | undefined) => host?.routes.flatMap((r) => r.clusters.map((c) => c.name))
  assert.equal(config.routes.get('80')?.exact.size, 0)
  const [whole, short] = await Promise.all([routesOf('s7.default.svc.cluster.local'), routesOf('S7:80')])
  assert.deepEqual([clustersOf(whole), clustersOf(short)], [[name(7)], [name(7)]])
  assert.deepEqual(clustersOf(await routesOf('nobody.example.com')), ['PassthroughCluster'])
  assert.equal(config.hasRoutes(chain, 'nobody.example.com'), true, 'it is asked for once')
  assert.deepEqual(clustersOf(await routesOf('s9')), [name(9)])

  // Two who want the same at once get the same, with its endpoints.
  const [one, same] = await Promise.all([wanted(name(7)), wanted(name(7))])
  assert.deepEqual(portsOf(one), [8007])
  assert.equal(same, one)
  assert.deepEqual(told(), [name(7)])
  assert.equal(await wanted(name('-is-not-there')), undefined)

  // Of a service in use a new subset is there before a route can name it; other services stay untold.
  const rule = meshObject('DestinationRule', 's7', { spec: { host: 's7', subsets: [{ name: 'v1', labels: {} }] } })
  const routed = meshObject('VirtualService', 's7', {
    spec: { hosts: ['s7'], http: [{ route: [{ destination: { host: 's7', subset: 'v1' } }] }] },
  })
  await first.update(of(all, { destinationRules: [rule], virtualServices: [routed] }, 1000))
  await turns(() => clustersOf(findHost(config.routeTable(chain, 's7:80')!, 's7:80'))?.[0] === name(7, 'v1'))
  assert.equal(config.routeTable(chain, 's8')?.name, '80', 'nobody has asked for it')
  await turns(() => config.clusters.get(name(7, 'v1'))?.warm === true && portsOf(one)[0] === 9007)
  assert.deepEqual(told().sort(), [name(7), name(7, 'v1')].sort())

  // What one has is kept up to date by a control plane that comes back, and so is what has gone meanwhile.
  assert.deepEqual(portsOf(await wanted(name(9))), [9009])
  await first.close()
  const second = await startMesh(
    of(
      all.filter((_, i) => i !== 9),
      {},
      2000,
    ),
    first.port,
  )
  t.after(() => second.close())
  await turns(() => portsOf(config.clusters.get(name(7)))[0] === 10007 && told().length === 1)
  await turns(() => clustersOf(findHost(config.routeTable(chain, 's7:80')!, 's7:80'))?.[0] === name(7))
  await turns(() => config.routeTable(chain, 's9')?.name === '80')
  assert.deepEqual(clustersOf(await routesOf('s9')), ['PassthroughCluster'], 'it is gone')
  assert.deepEqual(portsOf(await wanted(name(8))), [10008])
})

test('of a large mesh a proxy is told the listeners of the addresses that it connects to', async (t) => {
  const tcp = (i: number) => {
    const { service, slices } = serviceAt(`s${i}`, 3306, 'tcp-db', [8000 + i])
    return { service: { ...service, spec: { ...service.spec, clusterIP: `10.255.${i >> 8}.${i & 255}` } }, slices }
  }
  const all = Array.from({ length: 300 }, (_, i) => tcp(i + 1))
  const { service } = serviceAt('looked-into', 8088, '', [9100])
  const lookedInto = { ...service, spec: { ...service.spec, clusterIP: '10.255.1.2' } }
  const of = (services: typeof all) => ({
    services: [...services.map((s) => s.service), lookedInto],
    slices: (s: KubeObject) => services.find((x) => x.service === s)?.slices ?? [],
  })
  const first = await startMesh(of(all.slice(0, 50)))
  const proxy = dataPlane(first, true, { ON_DEMAND: 'true', ON_DEMAND_LISTENERS: 'true' })
  const whole = dataPlane(first, true)
  t.after(() => {
    proxy.close()
    whole.close()
  })
  const { config } = proxy
  const told = () => [...config.listeners.keys()].filter((n) => n.endsWith('_3306')).sort()
  const wanted = (host: string, port = 3306) =>
    config.knowsListener(host, port)
      ? Promise.resolve()
      : new Promise<void>((resolve) => config.awaitListener(host, port, resolve))
  await turns(() => config.ready && whole.config.ready)
  assert.equal(told().length, 50)
  assert.equal(config.knowsListener('192.0.2.1', 3306), true, 'a small mesh is known whole')

  // It becomes large: what the proxy has it keeps, what is new it asks for.
  await first.update(of(all.slice(0, 280)))
  await turns(() => config.listeners.get('virtualOutbound')?.onDemand === true)
  assert.equal(told().length, 50)
  await Promise.all([wanted('10.255.1.1'), wanted('10.255.1.1'), wanted('192.0.2.1')])
  assert.equal(config.outboundListener('10.255.1.1', 3306)?.name, '10.255.1.1_3306')
  assert.equal(config.outboundListener('192.0.2.1', 3306)?.name, 'virtualOutbound')
  assert.equal(config.knowsListener('192.0.2.1', 3306), true, 'it is asked for once')
  assert.equal(told().length, 51)
  await turns(() => whole.config.listeners.has('10.255.1.24_3306'))

  // A port that is looked into has routes of its own: they are here as well when the connection goes on.
  await wanted('10.255.1.2', 8088)
  assert.equal(config.outboundListener('10.255.1.2', 8088)?.name, '10.255.1.2_8088')
  assert.ok(config.routes.has('looked-into.default.svc.cluster.local:8088'), 'it had no routes yet: 404')

  // An address that had none gets one, and one goes.
  await wanted('10.255.1.30')
  assert.equal(config.outboundListener('10.255.1.30', 3306)?.name, 'virtualOutbound')
  await first.update(of(all.slice(1)))
  await turns(() => config.outboundListener('10.255.1.30', 3306)?.name === '10.255.1.30_3306')
  await turns(() => !config.listeners.has('10.255.0.1_3306'))

  // A proxy that begins in a large mesh has none before it asks; a control plane that comes back tells what it had.
  const late = dataPlane(first, true, { ON_DEMAND: 'true', ON_DEMAND_LISTENERS: 'true' })
  t.after(() => late.close())
  await turns(() => late.config.ready)
  assert.deepEqual(
    [...late.config.listeners.keys()].filter((n) => n.endsWith('_3306')),
    [],
  )
  await first.close()
  await turns(() => !proxy.client.connected)
  // Nobody can be asked: what is not known goes where it would without a listener, at once.
  let goesOn = false
  config.awaitListener('10.255.1.20', 3306, () => {
    goesOn = true
  })
  assert.ok(goesOn)
  assert.equal(config.outboundListener('10.255.1.20', 3306)?.name, 'virtualOutbound')
  const second = await startMesh(of(all.slice(2)), first.port)
  t.after(() => second.close())
  await turns(() => !config.listeners.has('10.255.0.2_3306'))
  assert.ok(config.listeners.has('10.255.1.30_3306'))
  await turns(() => config.outboundListener('10.255.1.20', 3306)?.name === '10.255.1.20_3306')
  assert.equal(told().length, 51)
})

test('a mesh that becomes large is told on demand from then on; what a proxy has it keeps', async (t) => {
  const all = Array.from({ length: 300 }, (_, i) => serviceAt(`s${i}`, 80, 'http', [8000 + i]))
  const of = (services: typeof all) => ({
    services: services.map((s) => s.service),
    slices: (s: KubeObject) => services.find((x) => x.service === s)?.slices ?? [],
  })
  const mesh = await startMesh(of(all.slice(0, 100)))
  const proxy = dataPlane(mesh, true, { ON_DEMAND: 'true', ON_DEMAND_LISTENERS: 'true' })
  t.after(async () => {
    proxy.close()
    await mesh.close()
  })
  const { config } = proxy
  const told = () => [...config.clusters.keys()].filter((n) => n.startsWith('outbound|')).length
  await turns(() => config.ready)
  assert.equal(told(), 100)
  await mesh.update(of(all))
  await turns(() => config.routes.get('80')?.onDemand === true)
  assert.equal(told(), 100)
  await mesh.update(of(all.slice(50)))
  await turns(() => told() === 50)
})

test('a control plane that comes back finds its proxies with what they had, and tells them what changed meanwhile', async (t) => {
  const a = serviceAt('a', 80, 'http', [8080])
  const first = await startMesh({ services: [a.service], slices: () => a.slices })
  const proxy = dataPlane(first, true)
  await turns(() => proxy.config.ready)
  await first.close()
  const name = 'outbound|80||a.default.svc.cluster.local'
  assert.ok(proxy.config.clusters.has(name), 'serving with what is known')
  const second = await startMesh(
    { services: [a.service], slices: () => [{ ...a.slices[0]!, ports: [{ name: 'http', port: 8082 }] }] },
    first.port,
  )
  t.after(async () => {
    proxy.close()
    await second.close()
  })
  await turns(() => portsOf(proxy.config.clusters.get(name))[0] === 8082)
})

test('what a proxy refuses is known by its reason, and what it takes later takes that back', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { service, slices } = serviceAt('a', 80, 'http', [(server.address() as AddressInfo).port])
  const rule = (simple: string) =>
    meshObject('DestinationRule', 'a', {
      spec: { host: 'a', trafficPolicy: { tls: { mode: 'SIMPLE', caCertificates: simple } } },
    })
  const mesh = await startMesh({
    services: [service],
    slices: () => slices,
    destinationRules: [rule('/nonexistent/ca.pem')],
  })
  const proxy = dataPlane(mesh, false)
  t.after(async () => {
    proxy.close()
    await mesh.close()
  })
  await turns(() => mesh.refusals.length > 0)
  assert.match(mesh.refusals[0] ?? '', /Cluster: .*outbound\|80\|\|a\.default\.svc\.cluster\.local/)
  await mesh.update({ services: [service], slices: () => slices })
  await turns(() => proxy.config.clusters.has('outbound|80||a.default.svc.cluster.local'))
  await mesh.ads.settled()
  assert.ok([...mesh.ads.connections].every((c) => c.subscriptions.every((s) => s.error === '')))
})
