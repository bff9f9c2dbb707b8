// When the control plane may say that the proxies follow: after they have acknowledged what it knows now.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TYPE } from '#api/xds'
import { silentLog, VirtualClock } from '#base'
import { emptyResources } from '#mesh'
import type { Message, ServerCall } from '#wire'
import { AdsServer } from './ads-server.ts'
import { type EncodedLayer, encodeLayer } from './resource-set.ts'

const NODE = { id: 'sidecar~10.0.0.9~client.default~default.svc.cluster.local' }
const assignment = (...ips: string[]): Message => ({
  cluster_name: 'web',
  endpoints: [
    {
      lb_endpoints: ips.map((address) => ({
        endpoint: { address: { socket_address: { address, port_value: 80 } } },
      })),
    },
  ],
})

/** A call of one of the server's two methods; what it is sent goes to `sent`. */
const callInto = (ads: AdsServer, method: 0 | 1, sent: Message[], end: ServerCall['end'] = () => {}): ServerCall => ({
  headers: {},
  peer: '',
  secure: true,
  backlog: 0,
  send: (m) => void sent.push(m),
  sendParts: (parts) => void sent.push(ads.methods[method]!.method.response.decode(Buffer.concat(parts))),
  end,
  onMessage: () => {},
  onEnd: () => {},
  onClose: () => {},
})

// Deleting a Deployment took five seconds: it waited for the proxies to forget its pods, which they keep as a last resort.
test('settled waits for an acknowledgement of now, not for an address to be gone', async () => {
  let layer: EncodedLayer | undefined
  let ips = ['10.0.0.1', '10.0.0.11']
  const ads = new AdsServer({
    log: silentLog,
    layers: () => {
      layer = encodeLayer({ ...emptyResources(), endpoints: new Map([['web', assignment(...ips)]]) }, layer)
      return [layer]
    },
    authenticate: async () => ({ name: 'system:serviceaccount:default:default', groups: [] }),
    onAnswer: () => {},
  })
  const sent: Message[] = []
  const call = callInto(ads, 0, sent, (_code, message) => assert.fail(message))
  const acknowledge = () =>
    call.onMessage({ type_url: TYPE.endpoint, response_nonce: sent.at(-1)!.nonce, resource_names: [] })
  ads.methods[0]!.handle(call)
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.endpoint, resource_names: [] })
  await nextTurn()
  assert.equal(sent.length, 1)
  acknowledge()
  await ads.settled()

  ips = ['10.0.0.11']
  let settled = false
  void ads.push()
  const waiting = ads.settled().then(() => {
    settled = true
  })
  await nextTurn()
  assert.equal(sent.length, 2)
  assert.equal(settled, false)
  acknowledge()
  await waiting

  // A proxy that leaves is not waited for.
  ips = ['10.0.0.12']
  void ads.push()
  const last = ads.settled()
  await nextTurn()
  call.onClose()
  await last
})

// Under changes without pause no proxy ever knew "now", so that each pod that went was waited for as long as is allowed.
test('who waits for the endpoints of a moment need not wait for those that come later', async () => {
  let ips = ['10.0.0.1']
  let layer: EncodedLayer | undefined
  const t = await open({
    layers: () => [
      (layer = encodeLayer({ ...emptyResources(), endpoints: new Map([['web', assignment(...ips)]]) }, layer)),
    ],
  })
  const acknowledge = () => t.call.onMessage({ type_url: TYPE.endpoint, response_nonce: t.sent.at(-1)!.nonce })
  t.call.onMessage({ node: NODE, type_url: TYPE.endpoint, resource_names_subscribe: ['web'] })
  await nextTurn()
  // What is on its way is older than what is waited for.
  ips = ['10.0.0.2']
  void t.ads.push()
  let done = false
  const waiting = t.ads.settled().then(() => {
    done = true
  })
  await nextTurn()
  assert.equal(t.sent.length, 1)
  acknowledge()
  await nextTurn()
  assert.equal(t.sent.length, 2)
  assert.equal(done, false)
  ips = ['10.0.0.3']
  void t.ads.push()
  acknowledge()
  await waiting
  assert.equal(t.sent.length, 3)
})

/** A stream under the test's hand. */
async function open(
  options: Partial<ConstructorParameters<typeof AdsServer>[0]> & { layers: () => EncodedLayer[] },
  delta = true,
) {
  const ads = new AdsServer({
    log: silentLog,
    authenticate: async () => ({ name: 'system:serviceaccount:default:default', groups: [] }),
    onAnswer: () => {},
    ...options,
  })
  const sent: Message[] = []
  const call = callInto(ads, delta ? 1 : 0, sent)
  ads.methods[delta ? 1 : 0]!.handle(call)
  return { ads, call, sent, of: (url: string) => sent.filter((m) => m.type_url === url) }
}

const layerOf = (part: Partial<ReturnType<typeof emptyResources>>, before?: EncodedLayer) =>
  encodeLayer({ ...emptyResources(), ...part }, before)
const named = (name: string): [string, Message] => [name, { name }]
const names = (m: Message | undefined) => ((m?.resources ?? []) as Message[]).map((r) => r.name)

// An Envoy acknowledges clusters only when it has the endpoints of those that are new: each waited for the other.
test('endpoints are sent while clusters are not acknowledged yet, and again with a cluster that changed', async () => {
  let layer = layerOf({ clusters: new Map([named('web')]), endpoints: new Map([['web', assignment('10.0.0.1')]]) })
  const { ads, call, of } = await open({ layers: () => [layer] })
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.cluster })
  call.onMessage({ type_url: TYPE.endpoint, resource_names_subscribe: ['web'] })
  await nextTurn()
  assert.deepEqual(names(of(TYPE.cluster)[0]), ['web'])
  assert.deepEqual(names(of(TYPE.endpoint)[0]), ['web'], 'without an acknowledgement of clusters')
  for (const url of [TYPE.cluster, TYPE.endpoint]) call.onMessage({ type_url: url, response_nonce: of(url)[0]!.nonce })
  layer = layerOf(
    { clusters: new Map([['web', { name: 'web', type: 3 }]]), endpoints: new Map([['web', assignment('10.0.0.1')]]) },
    layer,
  )
  await ads.push()
  assert.deepEqual(names(of(TYPE.endpoint)[1]), ['web'], 'the cluster is warmed again')
})

// The second request before the first answer was taken for the first: names of the first were forgotten.
test('names asked for in two requests before the first answer are both followed', async () => {
  let layer = layerOf({ routes: new Map([named('a'), named('b')]) })
  const { ads, call, of } = await open({ layers: () => [layer] })
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.cluster })
  call.onMessage({ type_url: TYPE.route, resource_names_subscribe: ['a'], initial_resource_versions: { gone: '1' } })
  call.onMessage({ type_url: TYPE.route, resource_names_subscribe: ['b'] })
  await nextTurn()
  const [first] = of(TYPE.cluster)
  call.onMessage({ type_url: TYPE.cluster, response_nonce: first!.nonce })
  await nextTurn()
  assert.deepEqual(names(of(TYPE.route)[0]).sort(), ['a', 'b'])
  assert.deepEqual(of(TYPE.route)[0]!.removed_resources, ['gone'])
  call.onMessage({ type_url: TYPE.route, response_nonce: of(TYPE.route)[0]!.nonce })
  layer = layerOf({ routes: new Map([['a', { name: 'a', validate_clusters: { value: true } }], named('b')]) }, layer)
  await ads.push()
  assert.deepEqual(names(of(TYPE.route)[1]), ['a'])
})

test('a stream that closes while its token is looked at is not waited for', async () => {
  let admit: (user: { name: string; groups: string[] }) => void = () => {}
  const { ads, call } = await open({
    layers: () => [],
    authenticate: () => new Promise((resolve) => (admit = resolve)),
  })
  call.onClose()
  admit({ name: 'system:serviceaccount:default:default', groups: [] })
  await nextTurn()
  assert.equal(ads.connections.size, 0)
  await ads.settled()
})

// A throw on the first request left the others unread: the proxy was told clusters for ever and nothing else.
test('requests that come while nothing can be made are remembered', async () => {
  let broken = true
  const layer = layerOf({ clusters: new Map([named('web')]), listeners: new Map([named('l')]) })
  const { ads, call, of } = await open({
    layers: () => {
      if (broken) throw new Error('on purpose')
      return [layer]
    },
  })
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.cluster })
  call.onMessage({ type_url: TYPE.listener })
  await ads.settled()
  broken = false
  await ads.push()
  assert.deepEqual(names(of(TYPE.cluster)[0]), ['web'])
  call.onMessage({ type_url: TYPE.cluster, response_nonce: of(TYPE.cluster)[0]!.nonce })
  assert.deepEqual(names(of(TYPE.listener)[0]), ['l'])
})

test('who named resources and names none any more has asked for none (state of the world)', async () => {
  const layer = layerOf({ clusters: new Map([named('a'), named('b')]) })
  const { call, of } = await open({ layers: () => [layer] }, false)
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.cluster, resource_names: ['a'] })
  const [first] = of(TYPE.cluster)
  assert.equal(first!.resources.length, 1)
  call.onMessage({ type_url: TYPE.cluster, response_nonce: first!.nonce, resource_names: [] })
  assert.equal(of(TYPE.cluster).length, 1)
})

// A server that had just been restarted, or had lost a proxy for a moment, waited for nobody: a pod that ended then was
// told to stop while that proxy still sent it requests.
test('settled waits for a proxy that runs and has not come back, until it has acknowledged or three seconds are over', async () => {
  const clock = new VirtualClock()
  const layer = encodeLayer({ ...emptyResources(), endpoints: new Map([['web', assignment('10.0.0.1')]]) }, undefined)
  const ads = new AdsServer({
    log: silentLog,
    clock,
    layers: () => [layer],
    authenticate: async () => ({ name: 'system:serviceaccount:default:default', groups: [] }),
    onAnswer: () => {},
    runs: (id) => id === 'client.default',
  })
  const connect = async () => {
    const sent: Message[] = []
    const call = callInto(ads, 0, sent, (_code, message) => assert.fail(message))
    ads.methods[0]!.handle(call)
    await nextTurn()
    return { call, sent }
  }
  const settled = () => {
    const found = { yet: false }
    void ads.settled().then(() => {
      found.yet = true
    })
    return found
  }
  const ask = { node: NODE, type_url: TYPE.endpoint, resource_names: ['web'] }
  ads.expect('client.default')
  ads.expect('gone.default')
  const first = settled()
  await clock.advance(1000)
  assert.equal(first.yet, false)
  const { call, sent } = await connect()
  await clock.advance(0)
  assert.equal(first.yet, false, 'it has not asked yet')
  call.onMessage(ask)
  await clock.advance(0)
  assert.equal(first.yet, false, 'it has not acknowledged yet')
  call.onMessage({ ...ask, response_nonce: sent.at(-1)!.nonce })
  await clock.advance(0)
  assert.equal(first.yet, true)
  call.onClose()
  const second = settled()
  await clock.advance(2900)
  assert.equal(second.yet, false)
  await clock.advance(200)
  assert.equal(second.yet, true)
})
