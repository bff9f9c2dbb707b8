// The Gateway API as Istio's own kinds, and the status of each of its objects. Pure.

import { type Json, type KubeObject, keyOf } from '#api'
import { GATEWAY_NAME } from '../model/gateway-labels.ts'
import { byNarrowness, covers } from '../model/host.ts'
import { byAge } from '../model/view.ts'
import { type CertificateRef, clientCertificate } from './certificate-ref.ts'
import { byPrecedence, entriesOf, type HttpEntry, weighted } from './http-rules.ts'
import { parentOf } from './listener-sets.ts'
import { commonHosts, isServed, istioGateway, listenersOf, refusesRoute } from './listeners.ts'
import { type AncestorStatus, tlsPolicies } from './tls-policies.ts'
import {
  backendsOf,
  type Condition,
  condition,
  type GatewayApiView,
  GROUP,
  isOurs,
  type ListenerState,
  listenerKey,
  type Problem,
} from './view.ts'

/** A route's state at one of its parents. */
export interface ParentStatus {
  readonly parentRef: Json
  readonly conditions: readonly Condition[]
}

export interface Converted {
  readonly gateways: readonly KubeObject[]
  readonly virtualServices: readonly KubeObject[]
  readonly destinationRules: readonly KubeObject[]
  /** Listeners by Gateway, "namespace/name". */
  readonly listeners: ReadonlyMap<string, readonly ListenerState[]>
  /** How many routes are attached, by listenerKey. */
  readonly attached: ReadonlyMap<string, number>
  /** Parents of routes, by "Kind namespace/name". */
  readonly parents: ReadonlyMap<string, readonly ParentStatus[]>
  /** What Gateways show to their backends, by "namespace/name". */
  readonly certificates: ReadonlyMap<string, CertificateRef | undefined>
  /** Ancestors of BackendTLSPolicies, by "namespace/name". */
  readonly policies: ReadonlyMap<string, readonly AncestorStatus[]>
}

const MESH = 'mesh'
const namespaceOf = (o: KubeObject) => o.metadata.namespace ?? ''

/** Where a route is attached: a listener with hosts, or a service of the mesh. */
interface Attachment {
  readonly gateway: string
  readonly hosts: readonly string[]
  readonly port: number | undefined
  readonly exportTo: readonly string[]
}

/** Everything of the Gateway API that is ours to serve. */
export function convertGatewayApi(view: GatewayApiView): Converted {
  const classes = new Map(view.classes.map((c) => [c.metadata.name, c]))
  const ours = view.gateways.filter((g) => isOurs(classes.get(g.spec?.gatewayClassName)))
  const listeners = new Map(ours.map((g) => [keyOf(g), listenersOf(view, g)]))
  const making: Making = {
    view,
    listeners,
    attached: new Map(),
    parents: new Map(),
    gatewaysTo: new Map(),
  }
  const http = new Map<string, { at: Attachment; host: string; first: KubeObject; entries: HttpEntry[] }>()
  for (const route of [...view.httpRoutes, ...view.grpcRoutes].sort(byAge)) {
    const rules: Json[] = route.spec?.rules?.length ? route.spec.rules : [{}]
    const made = twice((mesh) => rules.map((rule) => entriesOf(view, route, rule, mesh)))
    const places = attach(
      making,
      route,
      (mesh) => made(mesh).find((m) => m.unsupported)?.unsupported ?? made(mesh).find((m) => m.problem)?.problem,
    )
    if (made(false).some((m) => m.unsupported)) continue
    for (const at of places)
      for (const host of at.hosts) {
        // What is for clients of one namespace is not joined with another's.
        const whose = at.exportTo.includes('.') ? namespaceOf(route) : ''
        const key = `${at.gateway} ${host} ${at.port ?? ''} ${whose}`
        const known = http.get(key) ?? { at, host, first: route, entries: [] }
        http.set(key, known)
        known.entries.push(...made(at.gateway === MESH).flatMap((m) => m.entries))
      }
  }
  const virtualServices = [...http.values()].map(({ at, host, first, entries }, i) =>
    virtualService(first, `http-${i}`, at, [host], {
      http: entries.sort(byPrecedence).map((e) => withPort(e.route, at.port)),
    }),
  )
  virtualServices.push(...byteRoutes(making))
  const gateways = [...listeners.values()]
    .flat()
    .filter(isServed)
    .map((l) => istioGateway(l, ...podsOf(view, l.gateway)))
  const certificates = new Map(ours.map((g) => [keyOf(g), clientCertificate(view, g)]))
  const policies = tlsPolicies(view, (target) => making.gatewaysTo.get(target) ?? [], certificates)
  return {
    gateways,
    virtualServices,
    destinationRules: policies.rules,
    listeners,
    attached: making.attached,
    parents: making.parents,
    policies: policies.ancestors,
    certificates,
  }
}

interface Making {
  readonly view: GatewayApiView
  readonly listeners: ReadonlyMap<string, readonly ListenerState[]>
  readonly attached: Map<string, number>
  readonly parents: Map<string, ParentStatus[]>
  /** The names of Gateways by what their routes lead to, "Kind namespace/name". */
  readonly gatewaysTo: Map<string, Set<string>>
}

/** What is made for gateways, and what for clients in the mesh; each only when it is asked for. */
function twice<T>(make: (mesh: boolean) => T): (mesh: boolean) => T {
  const made = new Map<boolean, T>()
  return (mesh) => {
    if (!made.has(mesh)) made.set(mesh, make(mesh))
    return made.get(mesh)!
  }
}

/** The name by which a Gateway says that it is served by a Service's pods; others get pods of their own. */
export const manualAddress = (gateway: KubeObject): string | undefined =>
  ((gateway.spec?.addresses ?? []) as Json[]).find((a) => a.type === 'Hostname')?.value

/** The Service that a Gateway names as its address, if it is there. */
export function manualService(view: Pick<GatewayApiView, 'service'>, gateway: KubeObject): KubeObject | undefined {
  const address = manualAddress(gateway)
  if (!address) return undefined
  const [name = '', namespace = namespaceOf(gateway)] = String(address).split('.')
  return view.service(namespace, name)
}

/** The pods that serve a Gateway: their labels and namespace. */
function podsOf(view: GatewayApiView, gateway: KubeObject): [Record<string, string>, string] {
  const service = manualService(view, gateway)
  if (service) return [service.spec?.selector ?? {}, namespaceOf(service)]
  return [{ [GATEWAY_NAME]: gateway.metadata.name }, namespaceOf(gateway)]
}

/** Where a route is attached; notes its status at each of its parents. */
function attach(making: Making, route: KubeObject, problemOf: (mesh: boolean) => Problem | undefined): Attachment[] {
  const found: Attachment[] = []
  const states: ParentStatus[] = []
  for (const ref of (route.spec?.parentRefs ?? []) as Json[]) {
    const result = attachTo(making, route, ref)
    if (!result) continue
    const bound = result.listeners?.length ?? 1
    if (!result.problem) {
      found.push(...result.places)
      for (const listener of result.listeners ?? []) {
        const key = listenerKey(listener)
        making.attached.set(key, (making.attached.get(key) ?? 0) + 1)
        noteTargets(making, route, listener.gateway.metadata.name)
      }
    }
    const valid = bound > 1 ? `Route was valid, bound to ${bound} parents` : 'Route was valid'
    states.push({
      parentRef: ref,
      conditions: [
        condition('Accepted', result.problem, 'Accepted', valid),
        condition(
          'ResolvedRefs',
          problemOf(!result.listeners && isMesh(ref)),
          'ResolvedRefs',
          'All references resolved',
        ),
      ],
    })
  }
  making.parents.set(`${route.kind} ${keyOf(route)}`, states)
  return found
}

const isMesh = (ref: Json) => ref.kind === 'Service' || ref.kind === 'ServiceEntry'

/** Notes that a Gateway's routes lead to the backends of this one. */
function noteTargets({ gatewaysTo }: Making, route: KubeObject, gateway: string): void {
  for (const target of backendsOf(route))
    gatewaysTo.set(target, (gatewaysTo.get(target) ?? new Set<string>()).add(gateway))
}

function attachTo(
  making: Making,
  route: KubeObject,
  ref: Json,
): { places: Attachment[]; problem: Problem | undefined; listeners?: ListenerState[] } | undefined {
  const { view, listeners } = making
  const { group = GROUP, kind = 'Gateway', name, namespace = namespaceOf(route), sectionName, port } = ref
  if (kind === 'Service' && group === '') {
    const found = view.service(namespace, name)
    return attachToMesh(route, namespace, name, port, found && [`${name}.${namespace}.svc.cluster.local`])
  }
  if (kind === 'ServiceEntry' && group === 'networking.istio.io')
    return attachToMesh(route, namespace, name, port, view.serviceEntry(namespace, name)?.spec?.hosts)
  if ((kind !== 'Gateway' && kind !== 'ListenerSet') || group !== GROUP) return undefined
  const set = view.listenerSets.find((s) => kind === 'ListenerSet' && keyOf(s) === `${namespace}/${name}`)
  const gateway = kind === 'Gateway' ? `${namespace}/${name}` : set && parentOf(set)
  const all = listeners.get(gateway ?? '')
  if (!all) return undefined
  const asked = all.filter(
    (l) =>
      (set ? l.owner === set : l.owner === l.gateway) &&
      !l.conflicted &&
      (!sectionName || l.listener.name === sectionName) &&
      (port === undefined || l.listener.port === port),
  )
  const none = (reason: string, message: string) => ({ places: [], problem: { reason, message } })
  if (asked.length === 0)
    return none(
      'NoMatchingParent',
      `no listener of the ${kind} matches sectionName ${JSON.stringify(sectionName ?? '')} and port ${port ?? 'any'}`,
    )
  const hostnames: string[] = route.kind === 'TCPRoute' ? [] : (route.spec?.hostnames ?? [])
  const taken: ListenerState[] = []
  let refused: Problem | undefined
  const places = asked.flatMap((l) => {
    // Who has no host in common is not asked whether he would take the route.
    const common = commonHosts(l, hostnames)
    if (common.length === 0) return []
    const refusal = refusesRoute(view, l, route.kind, namespaceOf(route))
    refused ??= refusal
    if (refusal) return []
    taken.push(l)
    const hosts = common.filter((h) => !isSiblings(l, h, all))
    if (hosts.length === 0) return []
    return [{ gateway: `${namespaceOf(l.gateway)}/${l.name}`, hosts, port: undefined, exportTo: ['*'] }]
  })
  if (taken.length === 0 && refused) return { places: [], problem: refused }
  if (taken.length === 0)
    return none(
      'NoMatchingListenerHostname',
      `no hostnames matched parent hostname ${JSON.stringify(asked[0]?.host ?? '*')}`,
    )
  return { places, problem: undefined, listeners: taken }
}

/** True when a host is for another listener of the port, whose hostname is the narrower one (listener isolation). */
const isSiblings = (l: ListenerState, host: string, all: readonly ListenerState[]): boolean =>
  all.some(
    (o) =>
      o !== l &&
      o.listener.port === l.listener.port &&
      o.listener.protocol === l.listener.protocol &&
      o.host !== l.host &&
      covers(o.host, host) &&
      byNarrowness(o.host, l.host) < 0,
  )

/** A route for hosts inside the mesh; one of another namespace is for clients of that namespace only (GAMMA). */
function attachToMesh(
  route: KubeObject,
  namespace: string,
  name: string,
  port: number | undefined,
  hosts: readonly string[] | undefined,
): { places: Attachment[]; problem: Problem | undefined } {
  if (!hosts)
    return {
      places: [],
      problem: {
        reason: 'NoMatchingParent',
        message: `parent service: "${name}.${namespace}.svc.cluster.local" not found`,
      },
    }
  const exportTo = namespace === namespaceOf(route) ? ['*'] : ['.']
  return { places: [{ gateway: MESH, hosts, port, exportTo }], problem: undefined }
}

/** A route of a parent's port only. */
function withPort(route: Json, port: number | undefined): Json {
  if (port === undefined) return route
  return { ...route, match: ((route.match ?? [{}]) as Json[]).map((m) => ({ ...m, port })) }
}

function virtualService(
  of: KubeObject,
  suffix: string,
  at: Attachment,
  hosts: readonly string[],
  spec: Json,
): KubeObject {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { ...of.metadata, name: `${of.metadata.name}-${suffix}-istio-autogenerated-k8s-gateway` },
    spec: { hosts, gateways: [at.gateway], exportTo: at.exportTo, ...spec },
  }
}

/** TLSRoutes and TCPRoutes. */
function byteRoutes(making: Making): KubeObject[] {
  const { view } = making
  return [...view.tlsRoutes, ...view.tcpRoutes].sort(byAge).flatMap((route) => {
    const rules: Json[] = route.spec?.rules ?? []
    const made = twice((mesh) => rules.map((rule) => weighted(view, route, rule.backendRefs ?? [], mesh)))
    const places = attach(making, route, (mesh) => made(mesh).find((m) => m.problem)?.problem)
    return places.flatMap((at, i) => {
      const routes = made(at.gateway === MESH).map(({ routes: to }) => ({
        route: to.map(({ destination, weight }) => ({ destination, weight })),
      }))
      const tls = route.kind === 'TLSRoute'
      const match = (r: Json) => ({
        ...r,
        match: [{ ...(tls ? { sniHosts: at.hosts } : {}), ...(at.port === undefined ? {} : { port: at.port }) }],
      })
      const spec = tls
        ? { tls: routes.map(match), tcp: routes }
        : { tcp: at.port === undefined ? routes : routes.map(match) }
      return [virtualService(route, `${route.kind.slice(0, 3).toLowerCase()}-${i}`, at, at.hosts, spec)]
    })
  })
}
