// What the mesh knows as a service: a Service of Kubernetes or a host of a ServiceEntry, in one shape. Pure.

import { createHash } from 'node:crypto'
import type { Json, KubeObject } from '#api'
import { DOMAIN, isWildcard } from './host.ts'
import { declaredProtocol, type Protocol, protocolOf } from './protocol.ts'

/** How a service's endpoints are found: told by us, those of a name, or where the connection was going anyway. */
export type Resolution = 'static' | 'dns' | 'dnsRoundRobin' | 'passthrough' | 'alias'

export interface MeshPort {
  readonly number: number
  readonly name: string
  readonly protocol: Protocol
  /** The number at the endpoints; for a Service its slices say. */
  readonly targetPort?: number
}

export interface MeshService {
  /** In full; may begin with a wildcard. */
  readonly host: string
  readonly name: string
  readonly namespace: string
  readonly ports: readonly MeshPort[]
  /** Virtual addresses, and ranges "10.0.0.0/8"; none for what is reached by name or by its endpoints' addresses. */
  readonly addresses: readonly string[]
  /** Whether the addresses were given by the mesh, not by anybody who routes to them. */
  readonly automatic: boolean
  readonly resolution: Resolution
  readonly headless: boolean
  readonly external: boolean
  readonly exportTo: readonly string[] | undefined
  /** The host an alias stands for. */
  readonly aliasOf?: string
  readonly object: KubeObject
}

const KUBE_EXPORT = 'networking.istio.io/exportTo'
const made = new WeakMap<KubeObject, readonly MeshService[]>()

/** The services of an object, made once. */
function once(object: KubeObject, make: () => readonly MeshService[]): readonly MeshService[] {
  let services = made.get(object)
  if (!services) {
    services = make()
    made.set(object, services)
  }
  return services
}

export const fqdnOf = (service: KubeObject) => `${service.metadata.name}.${service.metadata.namespace}.${DOMAIN}`

/** A Service of Kubernetes. */
export function kubeService(object: KubeObject): readonly MeshService[] {
  return once(object, () => {
    const spec: Json = object.spec ?? {}
    const external = spec.type === 'ExternalName'
    const headless = spec.clusterIP === 'None'
    const exportTo = object.metadata.annotations?.[KUBE_EXPORT]
    return [
      {
        host: fqdnOf(object),
        name: object.metadata.name,
        namespace: object.metadata.namespace ?? '',
        ports: ((spec.ports ?? []) as Json[])
          .map((p) => ({ number: p.port, name: p.name ?? '', protocol: protocolOf(p) }))
          .filter((p) => p.protocol !== 'udp'),
        addresses: headless || !spec.clusterIP ? [] : [spec.clusterIP],
        automatic: false,
        resolution: external ? 'alias' : headless ? 'passthrough' : 'static',
        headless,
        external: false,
        exportTo: exportTo?.split(',').map((s) => s.trim()),
        ...(external ? { aliasOf: String(spec.externalName ?? '') } : {}),
        object,
      },
    ]
  })
}

const RESOLUTIONS: Readonly<Record<string, Resolution>> = {
  STATIC: 'static',
  DNS: 'dns',
  DNS_ROUND_ROBIN: 'dnsRoundRobin',
  NONE: 'passthrough',
}

/** The hosts of a ServiceEntry. */
export function entryServices(object: KubeObject): readonly MeshService[] {
  return once(object, () => {
    const spec: Json = object.spec ?? {}
    const resolution = RESOLUTIONS[spec.resolution ?? 'NONE'] ?? 'passthrough'
    const ports = ((spec.ports ?? []) as Json[]).map((p) => ({
      number: p.number,
      name: p.name ?? '',
      protocol: declaredProtocol(p.protocol || p.name),
      ...(p.targetPort ? { targetPort: p.targetPort } : {}),
    }))
    const given: string[] = (spec.addresses ?? []).map((a: string) => a.replace(/\/32$/, ''))
    return ((spec.hosts ?? []) as string[]).map((text) => {
      const host = text.toLowerCase()
      const allocated = ((object.status?.addresses ?? []) as Json[]).filter((a) => a.host === text).map((a) => a.value)
      return {
        host,
        name: host,
        namespace: object.metadata.namespace ?? '',
        ports,
        addresses: given.length > 0 ? given : allocated,
        automatic: given.length === 0,
        resolution,
        headless: false,
        external: spec.location !== 'MESH_INTERNAL',
        exportTo: spec.exportTo,
        object,
      }
    })
  })
}

/** Addresses the mesh gives to hosts that have none: 240.240.0.0/16, by the name of the host. */
export function automaticAddress(host: string, taken: ReadonlySet<string>): string {
  const hash = createHash('sha256').update(host).digest()
  for (let i = 0; ; i++) {
    const n = (hash.readUInt16BE(0) + i) & 0xffff
    const address = `240.240.${n >> 8}.${n & 255}`
    if ((n & 255) !== 0 && (n & 255) !== 255 && !taken.has(address)) return address
  }
}

/** The hosts of a ServiceEntry that get an automatic address (istio: those that are resolved and not patterns). */
export function wantsAddress(object: KubeObject): string[] {
  const { addresses, resolution, hosts } = object.spec ?? {}
  if (addresses?.length || !resolution || resolution === 'NONE' || resolution === 'DYNAMIC_DNS') return []
  return ((hosts ?? []) as string[]).filter((h) => !isWildcard(h))
}
