// Workloads outside the cluster that register themselves: WorkloadGroup to WorkloadEntry and away again, on a real API
// server and in virtual time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type KubeObject, resources as R } from '#api'
import { systemClock, VirtualClock } from '#base'
import { Informers } from '#client'
import { silentLog, startApi } from '#kit'
import { toStruct } from '../../src/api/xds/mod.ts'
import { ClusterView } from '../../src/mesh/cluster-view.ts'
import { endpointsOf } from '../../src/mesh/model/endpoints.ts'
import { createSnapshot } from '../../src/mesh/model/snapshot.ts'
import { installKinds } from '../../src/mesh/schema/install.ts'
import { WorkloadRegistration } from '../../src/mesh/workload-registration.ts'
import { identify } from '../../src/mesh/xds/identity.ts'

const HEALTH = 'type.googleapis.com/istio.v1.HealthInformation'

/** A stream of a virtual machine's proxy. */
function machine(ip: string, metadata: object, user: object = {}, clock = new VirtualClock()) {
  const node = {
    id: `sidecar~${ip}~vm-1.apps~apps.svc.cluster.local`,
    metadata: toStruct(metadata as never),
    locality: { region: 'eu', zone: 'eu-1' },
  }
  const account = { name: 'system:serviceaccount:apps:vm', groups: [], ...user }
  return { proxy: identify(node, account), connectedAt: new Date(clock.now()).toISOString() }
}

test('a machine registers by its group, is sent requests while it is well, and is forgotten when it stays away', async () => {
  await using api = await startApi()
  const { client } = api
  await installKinds(client)
  const stop = new AbortController()
  const informers = new Informers(client, systemClock, silentLog, stop.signal)
  const clock = new VirtualClock()
  try {
    const view = new ClusterView(informers, silentLog)
    await client.create(R.namespaces, { metadata: { name: 'apps' } })
    await client.create(R.services, {
      metadata: { name: 'legacy', namespace: 'apps' },
      spec: { selector: { app: 'legacy' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    })
    await client.create(R.workloadGroups, {
      metadata: { name: 'legacy', namespace: 'apps' },
      spec: {
        metadata: { labels: { app: 'legacy' }, annotations: { team: 'blue' } },
        template: { serviceAccount: 'vm', ports: { http: 8081 }, weight: 7 },
        probe: { httpGet: { port: 8080 } },
      },
    })
    await view.open()
    view.follow(() => {})
    const make = () => new WorkloadRegistration({ informers, clock, log: silentLog, instance: 'here' })
    const registration = make()
    registration.start()
    const entries = async () => (await client.list(R.workloadEntries, { namespace: 'apps' })).items
    /** The entries as soon as they are as they should be. */
    const until = async (what: string, is: (entries: KubeObject[]) => boolean): Promise<KubeObject[]> => {
      for (let i = 0; i < 2000; i++) {
        const found = await entries()
        if (is(found)) return found
        await new Promise((resolve) => setImmediate(resolve))
      }
      assert.fail(`${what}: ${JSON.stringify(await entries())}`)
    }
    /** Where requests for the Service go. */
    const served = () => {
      const snapshot = createSnapshot(view.now())
      const [service] = snapshot.byHost.get('legacy.apps.svc.cluster.local')!
      return endpointsOf(snapshot.view, service!, service!.ports[0]!).map((e) => [e.address, e.port, e.locality])
    }
    const probed = { AUTO_REGISTER_GROUP: 'legacy', NETWORK: 'vms', PROXY_CONFIG: { readinessProbe: {} } }

    // Who may not is told so; nothing is written.
    const refusal = (metadata: object, user?: object) => registration.admit(machine('10.9.0.1', metadata, user))?.reason
    assert.match(refusal({ AUTO_REGISTER_GROUP: 'other' })!, /cannot find WorkloadGroup apps\/other/)
    assert.match(refusal(probed, { name: 'system:serviceaccount:apps:default' })!, /mismatch: "default" vs "vm"/)
    assert.match(refusal(probed, { peer: '10.9.0.1' })!, /verified identity/)
    assert.equal(refusal({}), undefined)
    const nowhere = { ...machine('10.9.0.1', probed), proxy: machine('evil.example.com', probed).proxy }
    assert.match(registration.admit(nowhere)!.reason, /no valid IP address/)
    // What the API refuses the machine is told, and it is not tried again.
    const ended: string[] = []
    const bad = {
      ...machine('10.9.0.3', { ...probed, NETWORK: 'Net_1' }),
      end: (_: number, why: string) => ended.push(why),
    }
    registration.admit(bad)
    await until('refused', () => ended.length > 0)
    assert.match(ended[0]!, /legacy-10\.9\.0\.3-Net_1/)
    registration.gone(bad)
    assert.deepEqual(await entries(), [])

    const first = machine('10.9.0.1', { ...probed, LABELS: { version: 'v1', 'istio-locality': 'eu.eu-1' } }, {}, clock)
    assert.equal(registration.admit(first), undefined)
    const [made] = await until('registered', (e) => e.length === 1)
    assert.equal(made!.metadata.name, 'legacy-10.9.0.1-vms')
    assert.deepEqual(made!.metadata.labels, { app: 'legacy', version: 'v1' })
    assert.deepEqual(made!.metadata.annotations, {
      'istio.io/autoRegistrationGroup': 'legacy',
      'istio.io/workloadController': 'here',
      'istio.io/connectedAt': first.connectedAt,
      'proxy.istio.io/health-checks-enabled': 'true',
      team: 'blue',
    })
    assert.equal(made!.metadata.ownerReferences?.[0]?.kind, 'WorkloadGroup')
    assert.deepEqual(made!.spec, {
      serviceAccount: 'vm',
      ports: { http: 8081 },
      weight: 7,
      address: '10.9.0.1',
      labels: { app: 'legacy', version: 'v1' },
      network: 'vms',
      locality: 'eu/eu-1',
    })

    // It is sent requests once its proxy says that it is well, and no more when it is not.
    const seen = (count: number) => until('seen', () => served().length === count)
    assert.equal(served().length, 0)
    assert.equal(registration.hear(first, { type_url: HEALTH }), true)
    await seen(1)
    assert.deepEqual(served(), [['10.9.0.1', 8081, 'eu/eu-1']])
    registration.hear(first, { type_url: HEALTH, error_detail: { message: 'connection refused' } })
    await seen(0)
    const [ill] = await entries()
    assert.equal(ill!.status.conditions[0].message, 'connection refused')
    registration.hear(first, { type_url: HEALTH })
    await seen(1)

    // A stream that is followed by another loses nothing; one that is not is given ten seconds.
    await clock.advance(1000)
    const second = machine('10.9.0.1', probed, {}, clock)
    registration.admit(second)
    await until('moved', ([e]) => e?.metadata.annotations?.['istio.io/connectedAt'] === second.connectedAt)
    registration.gone(first)
    registration.gone(second)
    await until('marked', ([e]) => e?.metadata.annotations?.['istio.io/disconnectedAt'] !== undefined)
    await clock.advance(5000)
    const third = machine('10.9.0.1', probed, {}, clock)
    registration.admit(third)
    await until('back', ([e]) => e?.metadata.annotations?.['istio.io/disconnectedAt'] === undefined)
    await clock.advance(20_000)
    assert.equal((await entries()).length, 1)

    // Another server where it is now keeps the entry; this one, whose stream is older, leaves it alone.
    const { metadata, ...rest } = (await entries())[0]!
    const at = new Date(clock.now() + 5000).toISOString()
    const theirs = { 'istio.io/workloadController': 'there', 'istio.io/connectedAt': at }
    const annotations = { ...metadata.annotations, ...theirs }
    await client.update(R.workloadEntries, { ...rest, metadata: { ...metadata, annotations } } as KubeObject)
    await clock.advance(1000)
    assert.equal((await entries())[0]!.metadata.annotations!['istio.io/workloadController'], 'there')
    // A day later nothing has been heard of the other: this one takes it back, and says so every quarter of an hour.
    await clock.advance(24 * 3600_000)
    const [mine] = await until('mine', ([e]) => e?.metadata.annotations?.['istio.io/workloadController'] === 'here')
    assert.ok(clock.now() - Date.parse(mine!.metadata.annotations!['istio.io/connectedAt']!) <= 15 * 60_000)

    // A server that starts anew waits a minute for those who were here.
    await clock.advance(1000)
    registration.close()
    registration.gone(third)
    const next = make()
    next.start()
    await clock.advance(50_000)
    assert.equal((await entries())[0]?.metadata.annotations?.['istio.io/disconnectedAt'], undefined)
    await clock.advance(11_000)
    await until('marked anew', ([e]) => e?.metadata.annotations?.['istio.io/disconnectedAt'] !== undefined)
    await clock.advance(10_500)
    await until('gone', (e) => e.length === 0)
  } finally {
    stop.abort()
  }
})

test('an entry that somebody wrote is looked after by the proxy that names it, and stays when that goes', async () => {
  await using api = await startApi()
  const { client } = api
  await installKinds(client)
  const stop = new AbortController()
  const informers = new Informers(client, systemClock, silentLog, stop.signal)
  const clock = new VirtualClock()
  try {
    await client.create(R.namespaces, { metadata: { name: 'apps' } })
    const annotations = { 'proxy.istio.io/health-checks-enabled': 'true' }
    await client.create(R.workloadEntries, {
      metadata: { name: 'db', namespace: 'apps', annotations },
      spec: { address: '10.9.0.2', labels: { app: 'db' } },
    })
    for (const resource of [R.workloadEntries, R.workloadGroups]) informers.for(resource)
    await informers.synced()
    const registration = new WorkloadRegistration({ informers, clock, log: silentLog, instance: 'here' })
    registration.start()
    assert.match(registration.admit(machine('10.9.0.2', { WORKLOAD_ENTRY: 'none' }))!.reason, /is not found/)
    const stream = machine('10.9.0.2', { WORKLOAD_ENTRY: 'db' }, {}, clock)
    assert.equal(registration.admit(stream), undefined)
    registration.hear(stream, { type_url: HEALTH })
    const health = async () => (await client.get(R.workloadEntries, 'apps', 'db')).status?.conditions?.[0]?.status
    const until = async (value: string | undefined) => {
      for (let i = 0; i < 2000 && (await health()) !== value; i++) await new Promise((r) => setImmediate(r))
      assert.equal(await health(), value)
    }
    await until('True')
    registration.gone(stream)
    for (let i = 0; i < 200; i++) await clock.advance(100)
    await until(undefined)
  } finally {
    stop.abort()
  }
})
