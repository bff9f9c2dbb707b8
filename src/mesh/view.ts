// What translation reads and what it makes, and the names Istio gives to things.

import type { Json, KubeObject } from '#api'
import type { Message } from '#wire'

export const DOMAIN = 'svc.cluster.local'

/** What translation reads. */
export interface MeshView {
  services: readonly KubeObject[]
  /** EndpointSlices of a Service. */
  slices(service: KubeObject): readonly KubeObject[]
  podByIp(ip: string): KubeObject | undefined
  virtualServices: readonly KubeObject[]
  destinationRules: readonly KubeObject[]
  gateways: readonly KubeObject[]
  ingresses: readonly KubeObject[]
  secret(namespace: string, name: string): KubeObject | undefined
}

/** The proxy that asks. */
export interface ProxyNode {
  role: 'sidecar' | 'router'
  namespace: string
  labels: Readonly<Record<string, string>>
  ip: string
  /** The pod's declared container ports. */
  ports: readonly { containerPort: number; name?: string }[]
  /** Whether it may be given the certificates of its namespace. */
  readsSecrets: boolean
  /** Whether it is the cluster's own gateway, which serves the Ingresses of all namespaces with their certificates. */
  servesIngresses: boolean
}

/** Resources by name, a map a type. */
export interface XdsResources {
  clusters: Map<string, Message>
  endpoints: Map<string, Message>
  listeners: Map<string, Message>
  routes: Map<string, Message>
  secrets: Map<string, Message>
}

export function emptyResources(): XdsResources {
  return { clusters: new Map(), endpoints: new Map(), listeners: new Map(), routes: new Map(), secrets: new Map() }
}

export const fqdnOf = (service: KubeObject) => `${service.metadata.name}.${service.metadata.namespace}.${DOMAIN}`

/** A host as written in a rule of a namespace, in full. */
export function resolveHost(host: string, namespace: string): string {
  return host.includes('.') ? host : `${host}.${namespace}.${DOMAIN}`
}

export const clusterName = (port: number, subset: string, host: string) => `outbound|${port}|${subset}|${host}`

/** Rules for hosts, by full name. */
export function destinationRules(view: MeshView): Map<string, KubeObject> {
  return new Map(view.destinationRules.map((r) => [resolveHost(r.spec?.host ?? '', r.metadata.namespace ?? ''), r]))
}

/** The host:port of each TCP port of all Services, in order of name. */
export function* servicePortsOf(view: MeshView): Generator<{ service: KubeObject; port: Json }> {
  for (const service of [...view.services].sort((a, b) => (fqdnOf(a) < fqdnOf(b) ? -1 : 1))) {
    if (service.spec?.type === 'ExternalName') continue
    for (const port of (service.spec?.ports ?? []) as Json[])
      if ((port.protocol ?? 'TCP') === 'TCP') yield { service, port }
  }
}
