// The endpoints of a Service: which pods stand behind it, on which ports. Pure functions.

import { condition, type Json, type KubeObject } from '#api'
import { fnv1a, safeEncode } from '#base'

const PER_SLICE = 100
export const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by'
export const MANAGER = 'endpointslice-controller.k8s.io'
const SERVICE_NAME = 'kubernetes.io/service-name'

/** Pods that are endpoints of a Service: selected, with an address, not ended. */
export function endpointPods(service: KubeObject, pods: readonly KubeObject[]): KubeObject[] {
  const selector = Object.entries<string>(service.spec.selector ?? {})
  return pods
    .filter(
      (p) =>
        p.status?.podIP &&
        p.status.phase !== 'Failed' &&
        p.status.phase !== 'Succeeded' &&
        selector.every(([k, v]) => p.metadata.labels?.[k] === v),
    )
    .sort((a, b) => a.metadata.name.localeCompare(b.metadata.name))
}

/** The number behind a target port for one pod; undefined when the pod has no port of that name. */
export function resolvePort(port: Json, pod: KubeObject): number | undefined {
  if (typeof port.targetPort === 'number') return port.targetPort
  for (const c of [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])] as Json[])
    for (const p of c.ports ?? [])
      if (p.name === port.targetPort && (p.protocol ?? 'TCP') === (port.protocol ?? 'TCP')) return p.containerPort
  const number = Number(port.targetPort)
  return Number.isInteger(number) && number > 0 ? number : undefined
}

interface Conditions {
  ready: boolean
  serving: boolean
  terminating: boolean
}

export function endpointConditions(service: KubeObject, pod: KubeObject): Conditions {
  const serving = condition(pod, 'Ready')?.status === 'True'
  const terminating = Boolean(pod.metadata.deletionTimestamp)
  const ready = service.spec.publishNotReadyAddresses ? true : serving && !terminating
  return { ready, serving, terminating }
}

/** The EndpointSlices a Service should have, without server-side metadata. */
export function planSlices(service: KubeObject, pods: readonly KubeObject[]): Json[] {
  const groups = new Map<string, { ports: Json[]; endpoints: Json[] }>()
  for (const pod of endpointPods(service, pods)) {
    const ports: Json[] = (service.spec.ports ?? []).flatMap((p: Json) => {
      const port = resolvePort(p, pod)
      return port === undefined
        ? []
        : [
            {
              name: p.name ?? '',
              port,
              protocol: p.protocol ?? 'TCP',
              ...(p.appProtocol ? { appProtocol: p.appProtocol } : {}),
            },
          ]
    })
    const key = JSON.stringify(ports)
    let group = groups.get(key)
    if (!group) {
      group = { ports, endpoints: [] }
      groups.set(key, group)
    }
    const { ready, serving, terminating } = endpointConditions(service, pod)
    group.endpoints.push({
      addresses: [pod.status.podIP],
      conditions: { ready, serving, terminating },
      nodeName: pod.spec.nodeName,
      targetRef: { kind: 'Pod', name: pod.metadata.name, namespace: pod.metadata.namespace, uid: pod.metadata.uid },
      ...(pod.spec.hostname && pod.spec.subdomain === service.metadata.name ? { hostname: pod.spec.hostname } : {}),
    })
  }
  if (groups.size === 0) groups.set('', { ports: [], endpoints: [] })
  const slices: Json[] = []
  for (const { ports, endpoints } of groups.values())
    for (let at = 0; at === 0 || at < endpoints.length; at += PER_SLICE)
      slices.push({
        metadata: {
          name: `${service.metadata.name.slice(0, 57)}-${safeEncode(fnv1a(`${service.metadata.uid}/${slices.length}`), 5)}`,
          namespace: service.metadata.namespace,
          labels: {
            ...service.metadata.labels,
            [SERVICE_NAME]: service.metadata.name,
            [MANAGED_BY]: MANAGER,
            ...(service.spec.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
          },
          ownerReferences: [
            {
              apiVersion: 'v1',
              kind: 'Service',
              name: service.metadata.name,
              uid: service.metadata.uid,
              controller: true,
              blockOwnerDeletion: true,
            },
          ],
        },
        addressType: 'IPv4',
        endpoints: endpoints.slice(at, at + PER_SLICE),
        ports,
      })
  return slices
}

/** The subsets of the old Endpoints object: ready and unready addresses by their ports. */
export function planSubsets(service: KubeObject, pods: readonly KubeObject[]): Json[] {
  const subsets: Json[] = []
  for (const slice of planSlices(service, pods)) {
    if (slice.endpoints.length === 0) continue
    const addresses: Json[] = []
    const notReadyAddresses: Json[] = []
    for (const e of slice.endpoints) {
      // Terminating pods are not listed at all.
      if (e.conditions.terminating && !service.spec.publishNotReadyAddresses) continue
      const address = {
        ip: e.addresses[0],
        nodeName: e.nodeName,
        targetRef: e.targetRef,
        ...(e.hostname ? { hostname: e.hostname } : {}),
      }
      if (e.conditions.ready) addresses.push(address)
      else notReadyAddresses.push(address)
    }
    if (addresses.length === 0 && notReadyAddresses.length === 0) continue
    // Pods without the named port are no endpoints of it.
    if (slice.ports.length === 0 && service.spec.ports?.length) continue
    const byAddress = (a: Json, b: Json) => (a.ip < b.ip ? -1 : 1)
    addresses.sort(byAddress)
    notReadyAddresses.sort(byAddress)
    subsets.push({
      ...(addresses.length > 0 ? { addresses } : {}),
      ...(notReadyAddresses.length > 0 ? { notReadyAddresses } : {}),
      ports: slice.ports.map((p: Json) => ({
        ...(p.name ? { name: p.name } : {}),
        port: p.port,
        protocol: p.protocol,
      })),
    })
  }
  return subsets
}
