// What the cluster's DNS knows: names of Services and pods. Pure over listers.

import type { Json, KubeObject } from '#api'

/** A record of an answer. */
export interface Answer {
  type: 'A' | 'CNAME' | 'SRV' | 'PTR'
  name: string
  ttl: number
  data: unknown
}

/** Reads of the cluster's state. */
export interface DnsSource {
  service(namespace: string, name: string): KubeObject | undefined
  slices(namespace: string, service: string): readonly KubeObject[]
  serviceByIp(ip: string): KubeObject | undefined
  hasNamespace(name: string): boolean
}

export const ZONE = 'cluster.local'
const TTL = 5

/** The answer to a question in the cluster's zone: records, or undefined when the name does not exist. */
export function resolveName(name: string, type: string, source: DnsSource): Answer[] | undefined {
  const labels = name.toLowerCase().replace(/\.$/, '').split('.')
  if (labels.slice(-2).join('.') !== ZONE) return undefined
  const rest = labels.slice(0, -2)
  const kind = rest.pop()
  if (kind === undefined) return []
  const namespace = rest.pop()
  if (kind === 'pod') return podName(name, type, rest, namespace, source)
  if (kind !== 'svc') return undefined
  if (namespace === undefined) return []
  const service = rest.pop()
  if (service === undefined) return source.hasNamespace(namespace) ? [] : undefined
  const object = source.service(namespace, service)
  if (!object) return undefined
  if (object.spec.type === 'ExternalName')
    return type === 'A' || type === 'CNAME' || type === 'AAAA'
      ? [{ type: 'CNAME', name, ttl: TTL, data: object.spec.externalName }]
      : []
  const slices = source.slices(namespace, service)
  if (rest.length === 2 && rest[0]?.startsWith('_'))
    return serviceRecords(name, type, rest as [string, string], object, slices, `${service}.${namespace}.svc.${ZONE}`)
  if (rest.length === 1) return hostRecord(name, type, rest[0]!, slices)
  if (rest.length > 0) return undefined
  if (type !== 'A' && type !== 'ANY') return []
  if (object.spec.clusterIP !== 'None') return [{ type: 'A', name, ttl: TTL, data: object.spec.clusterIP }]
  return readyAddresses(object, slices).map((ip) => ({ type: 'A', name, ttl: TTL, data: ip }))
}

function readyAddresses(service: KubeObject, slices: readonly KubeObject[]): string[] {
  const all = slices.flatMap((s) => (s.endpoints ?? []) as Json[])
  return all
    .filter((e) => e.conditions?.ready !== false || service.spec.publishNotReadyAddresses)
    .map((e) => e.addresses[0])
}

/** pod-hostname.service.namespace: one endpoint of a headless Service. */
function hostRecord(name: string, type: string, host: string, slices: readonly KubeObject[]): Answer[] | undefined {
  const endpoint = slices
    .flatMap((s) => (s.endpoints ?? []) as Json[])
    .find((e) => e.hostname === host || String(e.addresses[0]).replaceAll('.', '-') === host)
  if (!endpoint) return undefined
  return type === 'A' ? [{ type: 'A', name, ttl: TTL, data: endpoint.addresses[0] }] : []
}

function serviceRecords(
  name: string,
  type: string,
  [port, protocol]: [string, string],
  service: KubeObject,
  slices: readonly KubeObject[],
  target: string,
): Answer[] | undefined {
  const found = (service.spec.ports ?? []).find(
    (p: Json) => `_${p.name}` === port && `_${String(p.protocol ?? 'TCP').toLowerCase()}` === protocol,
  )
  if (!found) return undefined
  if (type !== 'SRV') return []
  if (service.spec.clusterIP !== 'None')
    return [{ type: 'SRV', name, ttl: TTL, data: { priority: 0, weight: 100, port: found.port, target } }]
  return slices.flatMap((s) =>
    ((s.endpoints ?? []) as Json[]).map(
      (e): Answer => ({
        type: 'SRV',
        name,
        ttl: TTL,
        data: {
          priority: 0,
          weight: 100,
          port: (s.ports ?? []).find((p: Json) => p.name === found.name)?.port ?? found.port,
          target: `${e.hostname ?? String(e.addresses[0]).replaceAll('.', '-')}.${target}`,
        },
      }),
    ),
  )
}

/** 10-1-2-3.namespace.pod: the address that the name spells. */
function podName(
  name: string,
  type: string,
  rest: readonly string[],
  namespace: string | undefined,
  source: DnsSource,
): Answer[] | undefined {
  if (rest.length !== 1 || !namespace || !source.hasNamespace(namespace)) return undefined
  const ip = rest[0]!.replaceAll('-', '.')
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(ip)) return undefined
  return type === 'A' ? [{ type: 'A', name, ttl: TTL, data: ip }] : []
}

/** The name behind an address in in-addr.arpa; undefined when it is not a Service's. */
export function reverse(name: string, source: DnsSource): Answer[] | undefined {
  const m = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa\.?$/i.exec(name)
  const service = m && source.serviceByIp(`${m[4]}.${m[3]}.${m[2]}.${m[1]}`)
  if (!service) return undefined
  return [{ type: 'PTR', name, ttl: TTL, data: `${service.metadata.name}.${service.metadata.namespace}.svc.${ZONE}` }]
}
