// Where a proxy subresource leads: an address behind a pod, a Service or a node.

import { errors, type Json, type KubeObject } from '#api'

export interface ProxyTarget {
  readonly secure: boolean
  readonly host: string
  readonly port: number
}

/** "scheme:name:port" taken apart; scheme and port may be left out. Fails with BadRequest. */
export function splitProxyName(text: string): { secure: boolean; name: string; port: string } {
  const parts = text.split(':')
  if (parts.length === 1) return { secure: false, name: parts[0]!, port: '' }
  if (parts.length === 2) return { secure: false, name: parts[0]!, port: parts[1]! }
  const [scheme, name = '', port = ''] = parts
  if (parts.length > 3 || !['', 'http', 'https'].includes(scheme!))
    throw errors.badRequest(`invalid proxy request "${text}": use [http:|https:]NAME[:PORT]`)
  return { secure: scheme === 'https', name, port }
}

/** A pod's address; without a port that of its first container's first. */
export function podTarget(pod: KubeObject, port: string, secure: boolean): ProxyTarget {
  const first = ((pod.spec.containers ?? []) as Json[]).flatMap((c) => c.ports ?? [])[0]?.containerPort
  const number = Number(port || first || (secure ? 443 : 80))
  if (!isPort(number)) throw errors.badRequest(`invalid port "${port}" of pod ${pod.metadata.name}`)
  if (!pod.status?.podIP) throw errors.badRequest(`address not allowed: pod ${pod.metadata.name} has no address yet`)
  return { secure, host: pod.status.podIP, port: number }
}

/** The ready endpoints of a Service's port, by its name or number; without one, of its only port. */
export function serviceTargets(
  service: KubeObject,
  slices: readonly KubeObject[],
  port: string,
  secure: boolean,
): ProxyTarget[] {
  const ports: Json[] = service.spec?.ports ?? []
  const wanted = port ? ports.find((p) => p.name === port || String(p.port) === port) : ports[0]
  if (!wanted) throw errors.unavailable(`no service port "${port}" found for service "${service.metadata.name}"`)
  const targets: ProxyTarget[] = []
  for (const slice of slices) {
    const number = ((slice.ports ?? []) as Json[]).find((p) => (p.name ?? '') === (wanted.name ?? ''))?.port
    if (!isPort(number)) continue
    for (const e of (slice.endpoints ?? []) as Json[])
      if (e.conditions?.ready !== false && e.addresses?.[0])
        targets.push({ secure, host: e.addresses[0], port: number })
  }
  return targets
}

/** A port of a node's own address. */
export function nodeTarget(node: KubeObject, port: string, secure: boolean): ProxyTarget {
  const host = ((node.status?.addresses ?? []) as Json[]).find((a) => a.type === 'InternalIP')?.address
  if (!host || !isPort(Number(port))) throw errors.badRequest(`invalid port "${port}" of node ${node.metadata.name}`)
  return { secure, host, port: Number(port) }
}

const isPort = (n: unknown): n is number => Number.isInteger(n) && (n as number) > 0 && (n as number) < 65536
