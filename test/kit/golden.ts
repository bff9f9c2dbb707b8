// Golden files of the mesh: a first document that says for whom, then objects; and what the control plane makes of them.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { type Json, type KubeObject, keyOf } from '#api'
import { analyzeObjects, DEFAULT_MESH, meshConfig, type ProxyNode, translate, viewOf } from '#mesh'
import { convertGatewayApi } from '../../src/mesh/gateway-api/convert.ts'
import { allowsListeners, parentOf } from '../../src/mesh/gateway-api/listener-sets.ts'
import { gatewayStatus, listenerSetStatus, policyStatus, routeStatus } from '../../src/mesh/gateway-api/status.ts'
import { smiRules } from '../../src/mesh/model/smi.ts'
import { createSnapshot } from '../../src/mesh/model/snapshot.ts'

export const GOLDEN = join(import.meta.dirname, '../golden')

/** The first document of a file: for whom to translate and what to show. */
export interface GoldenCase {
  readonly proxy: Partial<ProxyNode>
  /** "kind/name", with * for any text; nothing is everything. */
  readonly show?: readonly string[]
}

/** The files of all cases. */
export const goldenFiles = (): string[] =>
  globSync(`${GOLDEN}/*.yaml`)
    .filter((f) => !f.endsWith('.expected.yaml'))
    .sort()

/** Reads a case. */
export function readGolden(file: string): { of: GoldenCase; objects: KubeObject[] } {
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
  return { of: first as unknown as GoldenCase, objects }
}

/** The resources of the case's proxy, the conditions of Gateway API objects, and the findings. */
export function makeGolden(of: GoldenCase, objects: readonly KubeObject[]) {
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
    listenerSets: kind('ListenerSet'),
    httpRoutes: kind('HTTPRoute'),
    grpcRoutes: kind('GRPCRoute'),
    tlsRoutes: kind('TLSRoute'),
    tcpRoutes: kind('TCPRoute'),
    grants: kind('ReferenceGrant'),
    tlsPolicies: kind('BackendTLSPolicy'),
    service: named('Service'),
    serviceEntry: named('ServiceEntry'),
    serviceEntries: kind('ServiceEntry'),
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
    config: {},
    ...of.proxy,
  }
  createSnapshot(view)
  const findings = analyzeObjects(objects.filter((o) => o.kind !== 'Gateway' || o.apiVersion.startsWith('networking.')))
  const status: Json = {}
  const now = '2026-01-01T00:01:00Z'
  const at = {
    addresses: [{ type: 'IPAddress', value: '192.0.2.1' }],
    serving: ['gw.default.svc.cluster.local:80'],
    ready: true,
  }
  for (const g of api.gateways) status[`Gateway ${g.metadata.name}`] = gatewayStatus(g, converted, at, now)
  for (const set of api.listenerSets) {
    const parent = api.gateways.find((g) => keyOf(g) === parentOf(set))
    const allowed = parent !== undefined && allowsListeners(api, parent, set.metadata.namespace ?? '')
    status[`ListenerSet ${set.metadata.name}`] = listenerSetStatus(set, converted, { allowed, programmed: true }, now)
  }
  for (const r of [...api.httpRoutes, ...api.grpcRoutes, ...api.tlsRoutes, ...api.tcpRoutes])
    status[`${r.kind} ${r.metadata.name}`] = routeStatus(r, converted, now)
  for (const p of api.tlsPolicies) status[`BackendTLSPolicy ${p.metadata.name}`] = policyStatus(p, converted, now)
  return {
    resources: translate(view, node),
    status,
    findings: findings
      .filter((f) => !['IST0118', 'IST0102'].includes(f.code))
      .map((f) => `${f.level} [${f.code}] (${f.object}) ${f.message}`),
  }
}
