// What the control plane shows of itself on its monitoring port: /version, /ready, /metrics and /debug/*.

import { toJson } from '#api/xds'
import type { Snapshot } from '../model/snapshot.ts'
import type { AdsServer } from './ads-server.ts'
import type { ProxyIdentity } from './identity.ts'
import { type EncodedLayer, KINDS } from './resource-set.ts'
import { connectionList, ISTIO_VERSION, syncz } from './status.ts'

export interface DebugOptions {
  readonly ads: AdsServer
  snapshot(): Snapshot
  layers(proxy: ProxyIdentity): readonly EncodedLayer[]
  /** Lines of the control plane's own metrics. */
  metrics(): string
  nacks(): Readonly<Record<string, string>>
}

export interface DebugAnswer {
  readonly code: number
  readonly type: 'application/json' | 'text/plain'
  readonly body: string
}

/** As Istio writes it: version, revision of its source, state of that. */
const VERSION = `${ISTIO_VERSION}-unknown-Clean`

/** Answers a request for a path. */
export function debugAnswer(options: DebugOptions, target: string): DebugAnswer {
  // istioctl asks for "//version".
  const url = new URL(target.replace(/^\/+/, '/'), 'http://istiod')
  if (url.pathname === '/version') return { code: 200, type: 'text/plain', body: VERSION }
  if (url.pathname === '/ready') return { code: 200, type: 'text/plain', body: '' }
  if (url.pathname === '/metrics') return { code: 200, type: 'text/plain', body: options.metrics() }
  const page = PAGES[url.pathname.replace(/^\/debug\//, '')]
  if (!page)
    return { code: 404, type: 'text/plain', body: `there is no ${url.pathname}; /debug/list names what there is\n` }
  const found = page(options, url.searchParams)
  if (found === undefined)
    return { code: 404, type: 'text/plain', body: 'proxyID is not one of a connected proxy; /debug/syncz names them\n' }
  return { code: 200, type: 'application/json', body: `${JSON.stringify(found, null, 2)}\n` }
}

type Page = (options: DebugOptions, query: URLSearchParams) => unknown

const PAGES: Readonly<Record<string, Page>> = {
  list: () => Object.keys(PAGES).map((name) => `/debug/${name}`),
  syncz: ({ ads }) => syncz(ads.connections),
  adsz: ({ ads }) => connectionList(ads.connections),
  connections: ({ ads }) => connectionList(ads.connections),
  nacks: ({ nacks }) => nacks(),
  registryz: ({ snapshot }) =>
    snapshot().services.map((s) => ({
      hostname: s.host,
      ports: s.ports.map((p) => ({ name: p.name, port: p.number, protocol: p.protocol.toUpperCase() })),
      clusterVIPs: { Addresses: { Kubernetes: s.addresses } },
      resolution: s.resolution,
      meshExternal: s.external,
      Attributes: {
        ServiceRegistry: s.object.kind === 'ServiceEntry' ? 'External' : 'Kubernetes',
        Name: s.name,
        Namespace: s.namespace,
      },
    })),
  configz: ({ snapshot }) => {
    const { virtualServices, destinationRules, gateways, serviceEntries, sidecars, workloadEntries, envoyFilters } =
      snapshot().view
    return [
      ...virtualServices,
      ...destinationRules,
      ...gateways,
      ...serviceEntries,
      ...sidecars,
      ...workloadEntries,
      ...envoyFilters,
    ].map(({ apiVersion, kind, metadata: { managedFields: _, ...metadata }, spec }) => ({
      apiVersion,
      kind,
      metadata,
      spec,
    }))
  },
  mesh: ({ snapshot }) => snapshot().view.mesh,
  push_status: () => ({}),
  config_dump: (options, query) =>
    withProxy(options, query, (layers) => dump(layers, ['clusters', 'listeners', 'routes'])),
  edsz: (options, query) => withProxy(options, query, (layers) => dump(layers, ['endpoints'])),
  sidecarz: ({ snapshot }) =>
    snapshot().view.sidecars.map((s) => ({
      metadata: { name: s.metadata.name, namespace: s.metadata.namespace },
      spec: s.spec,
    })),
}

function withProxy(
  { ads, layers }: DebugOptions,
  query: URLSearchParams,
  then: (l: readonly EncodedLayer[]) => unknown,
) {
  const proxy = [...ads.connections].find((c) => c.proxy && c.proxy.id === query.get('proxyID'))?.proxy
  return proxy ? then(layers(proxy)) : undefined
}

/** Resources as JSON, by type; secrets are never shown. */
function dump(layers: readonly EncodedLayer[], kinds: readonly (typeof KINDS)[number]['kind'][]): object {
  const shown: Record<string, unknown[]> = {}
  for (const { kind, type } of KINDS)
    if (kinds.includes(kind))
      shown[kind] = layers.flatMap((l) => [...l[kind].values()].map((r) => toJson(type.name, type.decode(r.body))))
  return shown
}
