// From YAML to xDS: every file of test/golden is translated for the proxy it names and compared with what is expected.
// UPDATE_GOLDEN=1 writes what is made; it is to be read before it is committed.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { parse, parseAllDocuments, stringify } from 'yaml'
import type { Json, KubeObject } from '#api'
import { toJson } from '#api/xds'
import { analyzeObjects, DEFAULT_MESH, meshConfig, type ProxyNode, translate, viewOf, type XdsResources } from '#mesh'
import { convertGatewayApi } from '../../src/mesh/gateway-api/convert.ts'
import { gatewayStatus, policyStatus, routeStatus } from '../../src/mesh/gateway-api/status.ts'
import { smiRules } from '../../src/mesh/model/smi.ts'
import { createSnapshot } from '../../src/mesh/model/snapshot.ts'
import { KINDS } from '../../src/mesh/xds/resource-set.ts'
import { ConfigStore } from '../../src/proxy/config/config-store.ts'
import { Resources } from '../../src/proxy/config/resources.ts'

const FOLDER = join(import.meta.dirname, '../golden')

/** The first document of a file: for whom to translate and what to show. */
interface Case {
  readonly proxy: Partial<ProxyNode>
  /** "kind/name", with * for any text; nothing is everything. */
  readonly show?: readonly string[]
}

function read(file: string): { of: Case; objects: KubeObject[] } {
  const documents = parseAllDocuments(readFileSync(file, 'utf8')) as { errors: Error[]; toJS(): Json }[]
  const [first, ...rest] = documents.map((d, i) => {
    assert.deepEqual(d.errors, [], `document ${i + 1} of ${file}`)
    return d.toJS()
  })
  const objects = rest.filter(Boolean).map((o, i) => ({
    ...o,
    metadata: {
      namespace: 'default',
      uid: `u${i}`,
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: `2026-01-01T00:00:${String(i).padStart(2, '0')}Z`,
      ...o!.metadata,
    },
  })) as KubeObject[]
  return { of: first as unknown as Case, objects }
}

function make(of: Case, objects: readonly KubeObject[]) {
  const kind = (name: string, group = '') => objects.filter((o) => o.kind === name && o.apiVersion.startsWith(group))
  const named = (name: string) => (namespace: string, n: string) =>
    kind(name).find((o) => o.metadata.namespace === namespace && o.metadata.name === n)
  const api = {
    classes: [
      {
        apiVersion: 'v1',
        kind: 'GatewayClass',
        metadata: { name: 'istio', uid: '', resourceVersion: '', creationTimestamp: '' },
        spec: { controllerName: 'istio.io/gateway-controller' },
      } as KubeObject,
    ],
    gateways: kind('Gateway', 'gateway.'),
    httpRoutes: kind('HTTPRoute'),
    grpcRoutes: kind('GRPCRoute'),
    tlsRoutes: kind('TLSRoute'),
    tcpRoutes: kind('TCPRoute'),
    grants: kind('ReferenceGrant'),
    tlsPolicies: kind('BackendTLSPolicy'),
    service: named('Service'),
    serviceEntry: named('ServiceEntry'),
    namespace: (name: string) => kind('Namespace').find((o) => o.metadata.name === name),
    secret: named('Secret'),
    configMap: named('ConfigMap'),
  }
  const converted = convertGatewayApi(api)
  const map = kind('ConfigMap').find((o) => o.metadata.name === 'istio')
  const { config, problem } = map ? meshConfig(map) : { config: DEFAULT_MESH, problem: undefined }
  assert.equal(problem, undefined)
  const view = viewOf({
    services: kind('Service'),
    slices: (s) =>
      kind('EndpointSlice').filter(
        (e) =>
          e.metadata.namespace === s.metadata.namespace &&
          e.metadata.labels?.['kubernetes.io/service-name'] === s.metadata.name,
      ),
    podByIp: (ip) => kind('Pod').find((p) => p.status?.podIP === ip),
    pods: (namespace) => kind('Pod').filter((p) => p.metadata.namespace === namespace),
    node: (name) => kind('Node').find((n) => n.metadata.name === name),
    virtualServices: [
      ...kind('VirtualService'),
      ...converted.virtualServices,
      ...smiRules(kind('TrafficSplit'), kind('HTTPRouteGroup')),
    ],
    destinationRules: [...kind('DestinationRule'), ...converted.destinationRules],
    gateways: [...kind('Gateway', 'networking.'), ...converted.gateways],
    serviceEntries: kind('ServiceEntry'),
    workloadEntries: kind('WorkloadEntry'),
    sidecars: kind('Sidecar'),
    envoyFilters: kind('EnvoyFilter'),
    ingresses: kind('Ingress'),
    secret: api.secret,
    configMap: api.configMap,
    mesh: config,
  })
  const node: ProxyNode = {
    role: 'sidecar',
    namespace: 'default',
    labels: {},
    ip: '10.1.0.99',
    locality: '',
    ports: [],
    trusted: true,
    readsSecrets: true,
    servesIngresses: false,
    ...of.proxy,
  }
  createSnapshot(view)
  return { resources: translate(view, node), converted, api }
}

const glob = (pattern: string) =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*')}$`,
  )

/** Resources as JSON, those that are to be shown, and all of them taken by our own data plane. */
function shown(of: Case, resources: XdsResources): Json {
  const wanted = of.show?.map(glob)
  const result: Json = {}
  const store = new Resources(new ConfigStore(), () => {})
  for (const { kind, type, url } of KINDS) {
    const told = [...resources[kind]].map(([name, m]) => ({ name, version: '1', bytes: type.encode(m) }))
    // A client of gRPC takes what a proxy does not.
    if (of.proxy.generator !== 'grpc')
      assert.equal(store.apply(url, told, [], true), undefined, 'the data plane takes it')
    for (const { name, bytes } of told)
      if (!wanted || wanted.some((w) => w.test(`${kind}/${name}`)))
        (result[kind] ??= {})[name] = toJson(type.name, type.decode(bytes))
  }
  return result
}

for (const file of globSync(`${FOLDER}/*.yaml`)
  .filter((f) => !f.endsWith('.expected.yaml'))
  .sort()) {
  const name = basename(file, '.yaml')
  test(`golden: ${name}`, () => {
    const { of, objects } = read(file)
    const { resources, converted, api } = make(of, objects)
    const findings = analyzeObjects(
      objects.filter((o) => o.kind !== 'Gateway' || o.apiVersion.startsWith('networking.')),
    )
    const status: Json = {}
    const now = '2026-01-01T00:01:00Z'
    const at = {
      addresses: [{ type: 'IPAddress', value: '192.0.2.1' }],
      serving: ['gw.default.svc.cluster.local:80'],
      ready: true,
    }
    for (const g of api.gateways) status[`Gateway ${g.metadata.name}`] = gatewayStatus(g, converted, at, now)
    for (const r of [...api.httpRoutes, ...api.grpcRoutes, ...api.tlsRoutes, ...api.tcpRoutes])
      status[`${r.kind} ${r.metadata.name}`] = routeStatus(r, converted, now)
    for (const p of api.tlsPolicies) status[`BackendTLSPolicy ${p.metadata.name}`] = policyStatus(p, converted, now)
    const made = {
      ...shown(of, resources),
      ...(Object.keys(status).length > 0 ? { status } : {}),
      findings: findings
        .filter((f) => !['IST0118', 'IST0102'].includes(f.code))
        .map((f) => `${f.level} [${f.code}] (${f.object}) ${f.message}`),
    }
    const text = stringify(JSON.parse(JSON.stringify(made)), { lineWidth: 0, aliasDuplicateObjects: false })
    const expected = join(FOLDER, `${name}.expected.yaml`)
    if (process.env.UPDATE_GOLDEN) writeFileSync(expected, text)
    assert.ok(existsSync(expected), `${expected} is missing; UPDATE_GOLDEN=1 writes it`)
    assert.deepEqual(parse(text), parse(readFileSync(expected, 'utf8')))
  })
}
