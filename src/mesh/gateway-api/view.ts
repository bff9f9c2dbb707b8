// What the Gateway API's conversion reads, and what it makes. Pure.

import { type Json, type KubeObject, labelSelector } from '#api'

export const CONTROLLER = 'istio.io/gateway-controller'
/** The controller of Gateways that others serve: they are read, and nothing is done for them. */
export const REMOTE_CONTROLLER = 'istio.io/unmanaged-gateway'
/** By what name the mesh itself, beside its gateways, speaks in status. */
export const MESH_CONTROLLER = 'istio.io/mesh-controller'
export const GROUP = 'gateway.networking.k8s.io'

export interface GatewayApiView {
  readonly classes: readonly KubeObject[]
  readonly gateways: readonly KubeObject[]
  readonly listenerSets: readonly KubeObject[]
  readonly httpRoutes: readonly KubeObject[]
  readonly grpcRoutes: readonly KubeObject[]
  readonly tlsRoutes: readonly KubeObject[]
  readonly tcpRoutes: readonly KubeObject[]
  readonly grants: readonly KubeObject[]
  readonly tlsPolicies: readonly KubeObject[]
  service(namespace: string, name: string): KubeObject | undefined
  serviceEntry(namespace: string, name: string): KubeObject | undefined
  readonly serviceEntries: readonly KubeObject[]
  namespace(name: string): KubeObject | undefined
  secret(namespace: string, name: string): KubeObject | undefined
  configMap(namespace: string, name: string): KubeObject | undefined
}

/** A condition without its times. */
export interface Condition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
}

export const condition = (
  type: string,
  problem: { reason: string; message: string } | undefined,
  reason: string,
  message: string,
): Condition => (problem ? { type, status: 'False', ...problem } : { type, status: 'True', reason, message })

export interface Problem {
  readonly reason: string
  readonly message: string
}

/** How clients of a listener are checked. */
export interface FrontendTls {
  /** "OPTIONAL_MUTUAL" where those without a certificate, or with a bad one, are let in all the same. */
  readonly mode: 'MUTUAL' | 'OPTIONAL_MUTUAL'
  /** The authorities whose certificates count, PEM. */
  readonly authorities: string
}

/** One listener of a Gateway, as it is served. */
export interface ListenerState {
  readonly gateway: KubeObject
  /** Whose it is: the Gateway's own, or a ListenerSet's. */
  readonly owner: KubeObject
  readonly listener: Json
  /** The name of the Istio Gateway it becomes. */
  readonly name: string
  readonly host: string
  readonly kinds: readonly Json[]
  readonly accepted: Problem | undefined
  readonly conflicted: Problem | undefined
  readonly resolved: Problem | undefined
  /** What is asked of clients' certificates. */
  readonly frontend: FrontendTls | undefined
}

/** Whether a GatewayClass is ours to serve. */
export const isOurs = (c: KubeObject | undefined): boolean => c?.spec?.controllerName === CONTROLLER

/** Whether Gateways of a class are served elsewhere. */
export const isRemote = (c: KubeObject | undefined): boolean => c?.spec?.controllerName === REMOTE_CONTROLLER

/** Whether a ServiceEntry or a Service bears a host. */
export function knowsHost(view: GatewayApiView, host: string): boolean {
  const [name = '', namespace = '', svc] = host.split('.')
  return (
    view.serviceEntries.some((e) => ((e.spec?.hosts ?? []) as string[]).includes(host)) ||
    (svc === 'svc' && view.service(namespace, name) !== undefined)
  )
}

/** What a reference is to. */
interface Referent {
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** Why an object may not refer to one of another namespace: no ReferenceGrant there lets it. `field` names the reference. */
export function ungranted(view: GatewayApiView, owner: KubeObject, to: Referent, field: string): Problem | undefined {
  const own = owner.metadata.namespace ?? ''
  if (own === to.namespace) return undefined
  const granted = view.grants.some(
    (g) =>
      g.metadata.namespace === to.namespace &&
      ((g.spec?.from ?? []) as Json[]).some((f) => f.group === GROUP && f.kind === owner.kind && f.namespace === own) &&
      ((g.spec?.to ?? []) as Json[]).some(
        (t) => (t.group ?? '') === to.group && t.kind === to.kind && (!t.name || t.name === to.name),
      ),
  )
  if (granted) return undefined
  return {
    reason: 'RefNotPermitted',
    message: `${field} ${to.name}/${to.namespace} not accessible to a ${owner.kind} in namespace ${JSON.stringify(own)} (missing a ReferenceGrant?)`,
  }
}

/** Whether an owner lets in what is of a namespace (gateway-api, FromNamespaces). `usual`: where nothing is said. */
export function letsIn(
  view: GatewayApiView,
  { from, selector }: Json,
  usual: 'Same' | 'None',
  owner: KubeObject,
  namespace: string,
): boolean {
  switch (from ?? usual) {
    case 'All':
      return true
    case 'Same':
      return namespace === owner.metadata.namespace
    case 'Selector':
      return labelSelector(selector)({
        ...view.namespace(namespace)?.metadata.labels,
        'kubernetes.io/metadata.name': namespace,
      })
    default:
      return false
  }
}

/** What a route's rules lead to, "Kind namespace/name". */
export const backendsOf = (route: KubeObject): string[] =>
  ((route.spec?.rules ?? []) as Json[])
    .flatMap((rule) => (rule.backendRefs ?? []) as Json[])
    .map(({ kind = 'Service', namespace = route.metadata.namespace ?? '', name }) => `${kind} ${namespace}/${name}`)

/** Names a listener among those of all Gateways and ListenerSets. */
export const listenerKey = ({ owner, listener }: Pick<ListenerState, 'owner' | 'listener'>): string =>
  `${owner.kind} ${owner.metadata.namespace}/${owner.metadata.name} ${listener.name}`
