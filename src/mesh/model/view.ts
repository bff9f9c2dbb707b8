// What translation reads of a cluster, who asks for it, and what it makes.

import type { Json, KubeObject } from '#api'
import type { Message } from '#wire'
import { DEFAULT_MESH, type MeshConfig } from './mesh-config.ts'

/** The cluster's objects that the mesh is made of. */
export interface MeshView {
  readonly services: readonly KubeObject[]
  /** EndpointSlices of a Service. */
  slices(service: KubeObject): readonly KubeObject[]
  podByIp(ip: string): KubeObject | undefined
  /** What is another whenever endpoints of a service, or their pods, are others; undefined where nobody keeps count. */
  endpointsVersion?(service: KubeObject): unknown
  /** Pods of a namespace. */
  pods(namespace: string): readonly KubeObject[]
  node(name: string): KubeObject | undefined
  readonly virtualServices: readonly KubeObject[]
  readonly destinationRules: readonly KubeObject[]
  readonly gateways: readonly KubeObject[]
  readonly serviceEntries: readonly KubeObject[]
  readonly workloadEntries: readonly KubeObject[]
  readonly sidecars: readonly KubeObject[]
  readonly envoyFilters: readonly KubeObject[]
  readonly ingresses: readonly KubeObject[]
  secret(namespace: string, name: string): KubeObject | undefined
  configMap(namespace: string, name: string): KubeObject | undefined
  readonly mesh: MeshConfig
}

/** A view of which only some is given; the rest is empty. */
export function viewOf(part: Partial<MeshView>): MeshView {
  return {
    services: [],
    slices: () => [],
    podByIp: () => undefined,
    pods: () => [],
    node: () => undefined,
    virtualServices: [],
    destinationRules: [],
    gateways: [],
    serviceEntries: [],
    workloadEntries: [],
    sidecars: [],
    envoyFilters: [],
    ingresses: [],
    secret: () => undefined,
    configMap: () => undefined,
    mesh: DEFAULT_MESH,
    ...part,
  }
}

/** The proxy that asks. */
export interface ProxyNode {
  readonly role: 'sidecar' | 'router'
  /** "grpc": not a proxy but a client of gRPC that speaks xDS itself. */
  readonly generator?: 'grpc'
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly ip: string
  /** The node it runs on, where that is known. */
  readonly nodeName?: string
  /** "region/zone/subzone", as far as it is known. */
  readonly locality: string
  /** The pod's declared container ports. */
  readonly ports: readonly { containerPort: number; name?: string }[]
  /** Numbers that its WorkloadEntry gives to names of ports. */
  readonly entryPorts?: Readonly<Record<string, number>>
  /** Whether it has shown a token over TLS: nobody else is given a key. */
  readonly trusted: boolean
  /** Whether it may be given the certificates of its namespace. */
  readonly readsSecrets: boolean
  /** Whether names of the mesh are answered to it, so that connections come to their automatic addresses. */
  readonly dnsCapture?: boolean
  /** Of its ProxyConfig what its resources depend on: `gatewayTopology` and `proxyHeaders`. */
  readonly config: Json
  /** Whether it is the cluster's own gateway, which serves the Ingresses of all namespaces with their certificates. */
  readonly servesIngresses: boolean
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

/** The name of a cluster, Istio's. */
export const clusterName = (port: number, subset: string, host: string) => `outbound|${port}|${subset}|${host}`

/** The same as a name that TLS may ask for: what a gateway between networks passes on without opening it. */
export const sealedName = (port: number, subset: string, host: string) => `outbound_.${port}_.${subset}_.${host}`

/** Orders objects by age, then by name: the older of two that conflict wins. */
export const byAge = (a: KubeObject, b: KubeObject): number =>
  a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp) ||
  a.metadata.name.localeCompare(b.metadata.name) ||
  (a.metadata.namespace ?? '').localeCompare(b.metadata.namespace ?? '')

const keys = new WeakMap<Readonly<Record<string, string>>, string>()

/** Labels as text that is the same for the same labels; made once for an object that nobody changes. */
export function labelsKey(labels: Readonly<Record<string, string>>): string {
  const key = keys.get(labels) ?? JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))
  keys.set(labels, key)
  return key
}

/** True when all of a selector's labels are there; an empty selector selects everything. */
export function matches(
  selector: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(([k, v]) => labels?.[k] === v)
}
