// What of the mesh a workload imports: by its Sidecar, or everything that is exported to it. Pure.

import type { Json, KubeObject } from '#api'
import { byNarrowness, covers, intersection, resolveHost } from './host.ts'
import type { MeshService } from './service.ts'
import type { Snapshot } from './snapshot.ts'
import { byAge, matches, type ProxyNode } from './view.ts'
import type { VirtualService } from './virtual-service.ts'
import { isExported } from './visibility.ts'

/** What one egress listener imports; without a port, what no other takes. */
export interface Egress {
  readonly port: number | undefined
  readonly bind: string
  /** Whether the workload connects to it, instead of being redirected. */
  readonly bound: boolean
  readonly services: readonly MeshService[]
  readonly rules: readonly VirtualService[]
}

export interface Scope {
  readonly sidecar: KubeObject | undefined
  readonly egress: readonly Egress[]
  /** Everything that is imported, by whatever listener. */
  readonly services: readonly MeshService[]
  readonly outbound: 'ALLOW_ANY' | 'REGISTRY_ONLY'
  /** Where traffic to unknown hosts goes instead of straight on. */
  readonly egressProxy: Json | undefined
  readonly ingress: readonly Json[]
}

/** The Sidecar that is for a workload: with a selector of its own, its namespace's, the root namespace's. */
export function sidecarOf(sidecars: readonly KubeObject[], node: ProxyNode, root: string): KubeObject | undefined {
  const known = ordered.get(sidecars) ?? Map.groupBy([...sidecars].sort(byAge), (s) => s.metadata.namespace ?? '')
  ordered.set(sidecars, known)
  const own = known.get(node.namespace) ?? []
  const selector = (s: KubeObject) => s.spec?.workloadSelector?.labels
  return (
    own.find((s) => selector(s) && matches(selector(s), node.labels)) ??
    own.find((s) => !selector(s)) ??
    known.get(root)?.find((s) => !selector(s))
  )
}

/** Sidecars by namespace, the older ones first: every proxy asks for its own. */
const ordered = new WeakMap<readonly KubeObject[], ReadonlyMap<string, readonly KubeObject[]>>()

/** The Sidecar of a proxy; they are not for gateways. */
export const sidecarFor = ({ view }: Snapshot, node: ProxyNode): KubeObject | undefined =>
  node.role === 'router' ? undefined : sidecarOf(view.sidecars, node, view.mesh.rootNamespace)

/** Scopes of one moment, which all workloads of a namespace with the same Sidecar share. */
const scopes = new WeakMap<Snapshot, Map<string, Scope>>()

export function scopeOf(snapshot: Snapshot, node: ProxyNode): Scope {
  const sidecar = sidecarFor(snapshot, node)
  const key = `${node.namespace} ${sidecar ? `${sidecar.metadata.namespace}/${sidecar.metadata.name}` : ''}`
  const known = scopes.get(snapshot) ?? new Map<string, Scope>()
  scopes.set(snapshot, known)
  const scope = known.get(key) ?? makeScope(snapshot, node, sidecar)
  known.set(key, scope)
  return scope
}

function makeScope(snapshot: Snapshot, node: ProxyNode, sidecar: KubeObject | undefined): Scope {
  const { mesh } = snapshot.view
  const spec: Json = sidecar?.spec ?? {}
  const listeners: Json[] = spec.egress?.length ? spec.egress : [{ hosts: ['*/*'] }]
  const egress = listeners.map((l) => egressOf(snapshot, node.namespace, l))
  return {
    sidecar,
    egress,
    services: [...new Set(egress.flatMap((e) => e.services))],
    outbound: spec.outboundTrafficPolicy
      ? (spec.outboundTrafficPolicy.mode ?? 'REGISTRY_ONLY')
      : mesh.outboundTrafficPolicy,
    egressProxy: spec.outboundTrafficPolicy?.egressProxy,
    ingress: spec.ingress ?? [],
  }
}

function egressOf(snapshot: Snapshot, viewer: string, listener: Json): Egress {
  const entries = ((listener.hosts ?? ['*/*']) as string[]).map((text) => {
    const slash = text.indexOf('/')
    const namespace = slash < 0 ? '*' : text.slice(0, slash)
    return { namespace: namespace === '.' ? viewer : namespace, host: text.slice(slash + 1).toLowerCase() }
  })
  const wanted = (namespace: string, hosts: readonly string[]) =>
    entries.some(
      (e) =>
        (e.namespace === '*' || e.namespace === namespace) && hosts.some((h) => intersection(e.host, h) !== undefined),
    )
  const { mesh } = snapshot.view
  const visible = (s: MeshService) => isExported(s.exportTo ?? mesh.defaultServiceExportTo, s.namespace, viewer)
  // What is kept to the viewer's namespace comes first, then what is exported to it by name (Istio's order).
  const nearness = (v: VirtualService) =>
    v.exportTo?.includes('.') && v.namespace === viewer ? 0 : v.exportTo?.includes(viewer) ? 1 : 2
  const rules = snapshot.virtualServices
    .filter(
      (v) => v.gateways.includes('mesh') && isExported(v.exportTo, v.namespace, viewer) && wanted(v.namespace, v.hosts),
    )
    .sort((a, b) => nearness(a) - nearness(b))
  const chosen = new Map<string, MeshService[]>()
  const take = (service: MeshService) => {
    const known = chosen.get(service.host)
    const [first] = known ?? []
    if (!known || !first || prefer(service, first, viewer)) chosen.set(service.host, [service])
    else if (!known.includes(service) && service.namespace === first.namespace) {
      // Entries of one host in one namespace add up: the older has a port that both name.
      const taken = new Set(known.flatMap((s) => s.ports.map((p) => p.number)))
      const more = withoutPorts(service, taken)
      if (more && !known.includes(more)) known.push(more)
    }
  }
  for (const service of snapshot.services)
    if (visible(service) && wanted(service.namespace, [service.host])) take(service)
  // What imported rules send traffic to is imported with them.
  for (const rule of rules)
    for (const host of destinationsOf(rule))
      for (const service of snapshot.byHost.get(host) ?? []) if (visible(service)) take(service)
  return {
    port: listener.port?.number,
    bind: listener.bind || (listener.captureMode === 'NONE' ? '127.0.0.1' : ''),
    bound: listener.captureMode === 'NONE',
    services: [...chosen.values()].flat(),
    rules,
  }
}

const narrowed = new WeakMap<MeshService, Map<string, MeshService>>()

/** A service but for some of its ports, the same object every time; undefined when none is left. */
function withoutPorts(service: MeshService, taken: ReadonlySet<number>): MeshService | undefined {
  const ports = service.ports.filter((p) => !taken.has(p.number))
  if (ports.length === 0) return undefined
  if (ports.length === service.ports.length) return service
  const key = ports.map((p) => p.number).join()
  const known = narrowed.get(service) ?? new Map<string, MeshService>()
  narrowed.set(service, known)
  const found = known.get(key) ?? { ...service, ports }
  known.set(key, found)
  return found
}

/** Of two services of one host: that of the viewer's namespace, a Service before a ServiceEntry, the older. */
function prefer(a: MeshService, b: MeshService, viewer: string): boolean {
  const rank = (s: MeshService) => (s.namespace === viewer ? 0 : 2) + (s.object.kind === 'ServiceEntry' ? 1 : 0)
  return rank(a) < rank(b)
}

/** The hosts a rule sends traffic to, copies included. */
export function destinationsOf(rule: VirtualService): Set<string> {
  const hosts = new Set<string>()
  const add = (d: Json | undefined, namespace: string) => {
    if (d?.host) hosts.add(resolveHost(d.host, namespace))
  }
  for (const route of [...rule.http, ...rule.tls, ...rule.tcp]) {
    const namespace = route.namespace ?? rule.namespace
    for (const r of (route.route ?? []) as Json[]) add(r.destination, namespace)
    add(route.mirror, namespace)
    for (const m of (route.mirrors ?? []) as Json[]) add(m.destination, namespace)
  }
  return hosts
}

/**
 * What the rule for a host makes, of those imported: the narrowest host wins, then the oldest rule. One that makes
 * nothing here, because its routes are for other ports or other clients, leaves the host to the next (as Istio).
 */
export function madeForHost<T>(
  rules: readonly VirtualService[],
  host: string,
  make: (rule: VirtualService) => readonly T[],
): readonly T[] {
  for (const rule of rulesForHost(rules, host)) {
    const made = make(rule)
    if (made.length > 0) return made
  }
  return []
}

/** The rules for a host, the narrower and older first. */
function rulesForHost(rules: readonly VirtualService[], host: string): readonly VirtualService[] {
  const found: { rule: VirtualService; pattern: string }[] = []
  for (const rule of rules) {
    let best: string | undefined
    for (const h of rule.hosts) if (covers(h, host) && (best === undefined || byNarrowness(h, best) < 0)) best = h
    if (best !== undefined) found.push({ rule, pattern: best })
  }
  return (found.length > 1 ? found.sort((a, b) => byNarrowness(a.pattern, b.pattern)) : found).map((f) => f.rule)
}
