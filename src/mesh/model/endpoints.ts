// The endpoints of a service, with what is known of the workload behind each. Pure.

import { isPodReady, type Json, type KubeObject } from '#api'
import type { MeshPort, MeshService } from './service.ts'
import { type MeshView, matches } from './view.ts'
import { canonicalName, canonicalRevision, workloadOf } from './workload.ts'
import { isHealthy, labelsOf } from './workload-entry.ts'

export interface MeshEndpoint {
  /** An IP address, or a name to be resolved. */
  readonly address: string
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
  /** "region/zone/subzone", as far as it is known. */
  readonly locality: string
  readonly weight: number
  readonly network: string
  /** The node it runs on; "" when it is none of the cluster's. */
  readonly node: string
  /** False for one that is going but still serves: a last resort. */
  readonly ready: boolean
  /** "workload;namespace;canonical name;revision;cluster", as Istio's telemetry reads it. */
  readonly workload: string
}

/** The endpoints of a service's port, whatever their labels. */
export function endpointsOf(view: MeshView, service: MeshService, port: MeshPort): MeshEndpoint[] {
  return service.object.kind === 'ServiceEntry'
    ? entryEndpoints(view, service, port)
    : kubeEndpoints(view, service, port)
}

function kubeEndpoints(view: MeshView, service: MeshService, port: MeshPort): MeshEndpoint[] {
  const found: MeshEndpoint[] = []
  const seen = new Set<string>()
  for (const slice of view.slices(service.object)) {
    const number = (slice.ports ?? []).find((p: Json) => (p.name ?? '') === port.name)?.port
    if (number === undefined) continue
    for (const e of (slice.endpoints ?? []) as Json[]) {
      const ready = e.conditions?.ready !== false
      if (!ready && !(e.conditions?.serving && e.conditions?.terminating)) continue
      const address = e.addresses[0]
      if (seen.has(address)) continue
      seen.add(address)
      found.push(podEndpoint(view, view.podByIp(address), address, number, ready, e.zone))
    }
  }
  const selector = service.object.spec?.selector
  if (!selector) return found
  const target = ((service.object.spec?.ports ?? []) as Json[]).find((p) => p.port === port.number)?.targetPort
  for (const entry of view.workloadEntries)
    if (entry.metadata.namespace === service.namespace && matches(selector, labelsOf(entry)) && isHealthy(entry))
      found.push(...portOf(entry, target, port).map((number) => entryEndpoint(entry, number)))
  return found
}

function podEndpoint(
  view: MeshView,
  pod: KubeObject | undefined,
  address: string,
  port: number,
  ready: boolean,
  zone = '',
): MeshEndpoint {
  return {
    address,
    port,
    labels: pod?.metadata.labels ?? {},
    locality: podLocality(view, pod) || (zone ? `/${zone}` : ''),
    weight: 1,
    network: pod?.metadata.labels?.['topology.istio.io/network'] ?? '',
    node: pod?.spec?.nodeName ?? '',
    ready,
    workload: workloadText(pod),
  }
}

/** A pod's locality: the label that says it, else its node's. */
export function podLocality(view: MeshView, pod: KubeObject | undefined): string {
  const own = pod?.metadata.labels?.['istio-locality']
  if (own) return own.replaceAll('.', '/')
  const labels = pod?.spec?.nodeName ? view.node(pod.spec.nodeName)?.metadata.labels : undefined
  const parts = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone', 'topology.istio.io/subzone'].map(
    (key) => labels?.[key] ?? '',
  )
  return parts.join('/').replace(/\/+$/, '')
}

/** Endpoints of a ServiceEntry: those it names, those its selector finds, or the host itself. */
function entryEndpoints(view: MeshView, service: MeshService, port: MeshPort): MeshEndpoint[] {
  const spec: Json = service.object.spec ?? {}
  const selector = spec.workloadSelector?.labels
  if (selector) {
    const number = port.targetPort ?? port.number
    const pods = view
      .pods(service.namespace)
      .filter((p) => p.status?.podIP && matches(selector, p.metadata.labels) && isServing(p))
      .map((p) => podEndpoint(view, p, p.status.podIP, number, true))
    const entries = view.workloadEntries
      .filter((e) => e.metadata.namespace === service.namespace && matches(selector, labelsOf(e)) && isHealthy(e))
      .map((e) => entryEndpoint(e, e.spec?.ports?.[port.name] ?? number))
    return [...pods, ...entries]
  }
  const given: Json[] = spec.endpoints ?? []
  if (given.length === 0)
    return service.resolution === 'static' ? [] : [bare(service.host, port.targetPort ?? port.number)]
  return given.map((e) => ({
    ...bare(e.address || service.host, e.ports?.[port.name] ?? port.targetPort ?? port.number),
    labels: e.labels ?? {},
    locality: e.locality ?? '',
    weight: e.weight || 1,
    network: e.network ?? '',
  }))
}

const isServing = (pod: KubeObject): boolean => !pod.metadata.deletionTimestamp && isPodReady(pod)

const bare = (address: string, port: number): MeshEndpoint => ({
  address,
  port,
  labels: {},
  locality: '',
  weight: 1,
  network: '',
  node: '',
  ready: true,
  workload: '',
})

/**
 * Where an entry serves a Service's port: the number it gives to the target's name, where that is a name, else to the
 * port's. None for a name that it does not know.
 */
function portOf(entry: KubeObject, target: string | number | undefined, port: MeshPort): number[] {
  const ports: Json = entry.spec?.ports ?? {}
  if (typeof target === 'string') return ports[target] ? [ports[target]] : []
  return [ports[port.name] ?? target ?? port.number]
}

function entryEndpoint(entry: KubeObject, port: number): MeshEndpoint {
  const spec: Json = entry.spec ?? {}
  const labels = labelsOf(entry)
  const { name, namespace } = entry.metadata
  return {
    address: spec.address ?? '',
    port,
    labels,
    locality: spec.locality ?? '',
    weight: spec.weight || 1,
    network: spec.network ?? '',
    node: '',
    ready: true,
    workload: [name, namespace, canonicalName(labels, name), canonicalRevision(labels), 'Kubernetes'].join(';'),
  }
}

function workloadText(pod: KubeObject | undefined): string {
  if (!pod) return ''
  const { name } = workloadOf(pod)
  const { namespace, labels } = pod.metadata
  return [name, namespace, canonicalName(labels, name), canonicalRevision(labels), 'Kubernetes'].join(';')
}
