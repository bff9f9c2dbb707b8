// Routes out of VirtualServices: matches and actions. Pure.

import type { Json } from '#api'
import { AppendAction, packAny, RedirectCode, toDuration, toStruct, xds } from '#api/xds'
import { parseDuration } from '#base'
import type { Message } from '#wire'
import { resolveHost } from '../model/host.ts'
import type { MeshService } from '../model/service.ts'
import { clusterName, matches } from '../model/view.ts'
import { gatewayName, type VirtualService } from '../model/virtual-service.ts'
import { extension } from './extension.ts'
import { tellsHost } from './manager-settings.ts'
import { type Place, serviceOf } from './place.ts'
import { filterSettings, mirrors } from './route-filters.ts'
import { hashPolicies } from './traffic-policy.ts'

/** Where routes will stand: the proxy, the gateways it is, the port they are reached at. */
export interface RouteScope {
  readonly place: Place
  /** "mesh", or "namespace/name" of gateways. */
  readonly gateways: ReadonlySet<string>
  readonly port: number
  /** The service a sidecar's routes are for. */
  readonly service?: MeshService
}

/** How long a request may take, milliseconds, 0: as long as it likes; a call of gRPC no longer than it says itself. */
export function timeoutOf(ms: number): Message {
  const timeout = toDuration(ms)
  return { timeout, max_grpc_timeout: timeout }
}

/** The route of a service's port to itself, where no rule says more. */
export function defaultRoute(place: Place, service: MeshService, port: number): Message {
  const policy = place.policy(service, '', port)
  const hashes = hashPolicies(policy)
  const retry = retryPolicy(undefined, place, policy)
  return {
    name: 'default',
    match: { prefix: '/' },
    route: {
      cluster: clusterName(port, '', service.host),
      ...timeoutOf(0),
      ...(retry ? { retry_policy: retry } : {}),
      ...(hashes.length > 0 ? { hash_policy: hashes } : {}),
    },
    decorator: { operation: `${service.host}:${port}/*` },
  }
}

/** What a request does, for traces: the one destination, or the rule where there are several, and the path. */
function operationOf(cluster: string | undefined, rule: string, { prefix, path, safe_regex }: Message): string {
  const [, port, , host] = cluster?.split('|') ?? []
  const where = prefix === undefined ? (path ?? safe_regex?.regex ?? '/*') : `${prefix}*`
  return `${host ? `${host}:${port}` : rule}${where}`
}

/** The routes of a rule's http part that apply in a place. */
export function httpRoutes(scope: RouteScope, rule: VirtualService): Message[] {
  const routes: Message[] = []
  const { name, namespace } = rule.object.metadata
  const config = `/apis/networking.istio.io/v1/namespaces/${namespace}/virtual-service/${name}`
  for (const http of rule.http) {
    const conditions: (Json | undefined)[] = http.match?.length ? http.match : [undefined]
    for (const match of conditions) {
      if (match && !applies(match, scope, rule.namespace)) continue
      const action = routeAction(scope, rule, http)
      const fits = routeMatch(match)
      routes.push({
        ...(http.name || match?.name ? { name: [http.name, match?.name].filter(Boolean).join('.') } : {}),
        ...(match?.statPrefix ? { stat_prefix: match.statPrefix } : {}),
        match: fits,
        ...action,
        ...headerOperations(http.headers),
        ...filterSettings(http),
        metadata: { filter_metadata: { istio: toStruct({ config }) } },
        decorator: { operation: operationOf(action.route?.cluster, `${name}:${scope.port}`, fits) },
      })
      // What follows a route that takes everything is never reached.
      if (!match || takesAll(match)) return routes
    }
  }
  return routes
}

const takesAll = (match: Json) =>
  Object.keys(match).every((key) => ['name', 'gateways', 'port', 'sourceLabels', 'sourceNamespace'].includes(key))

/** Whether a condition on where a request comes from and which port it is for holds here. */
export function applies(match: Json, scope: RouteScope, namespace: string): boolean {
  const { node } = scope.place
  if (match.port && match.port !== scope.port) return false
  // Who names gateways is matched by these alone; a gateway has labels and a namespace like any workload (Istio).
  if (match.gateways?.length) return match.gateways.some((g: string) => scope.gateways.has(gatewayName(g, namespace)))
  if (match.sourceNamespace && match.sourceNamespace !== node.namespace) return false
  return matches(match.sourceLabels, node.labels)
}

function stringMatcher(match: Json): Message | undefined {
  if (match?.exact !== undefined) return { exact: match.exact }
  if (match?.prefix !== undefined) return { prefix: match.prefix }
  if (match?.regex !== undefined) return { safe_regex: { regex: match.regex } }
  return undefined
}

function headerMatcher(name: string, match: Json, invert = false): Message {
  const string = stringMatcher(match)
  return {
    name,
    ...(string ? { string_match: string } : { present_match: true }),
    // A field that is not there is as good as one with another value.
    ...(invert ? { invert_match: true, ...(string ? { treat_missing_header_as_empty: true } : {}) } : {}),
  }
}

function routeMatch(match: Json | undefined): Message {
  const uri: Json = match?.uri ?? {}
  const headers: Message[] = []
  for (const [name, value] of Object.entries<Json>(match?.headers ?? {}))
    headers.push(headerMatcher(name.toLowerCase(), value))
  for (const [name, value] of Object.entries<Json>(match?.withoutHeaders ?? {}))
    headers.push(headerMatcher(name.toLowerCase(), value?.regex === '*' ? {} : value, true))
  if (match?.method) headers.push(headerMatcher(':method', match.method))
  if (match?.authority) headers.push(headerMatcher(':authority', match.authority))
  if (match?.scheme) headers.push(headerMatcher(':scheme', match.scheme))
  const query = Object.entries<Json>(match?.queryParams ?? {}).map(([name, value]) => {
    const string = stringMatcher(value)
    return { name, ...(string ? { string_match: string } : { present_match: true }) }
  })
  const path =
    uri.exact !== undefined
      ? { path: uri.exact }
      : uri.regex !== undefined
        ? { safe_regex: { regex: uri.regex } }
        : uri.elements !== undefined
          ? { path_separated_prefix: uri.elements }
          : { prefix: uri.prefix ?? '/' }
  return {
    ...path,
    ...(match?.ignoreUriCase ? { case_sensitive: { value: false } } : {}),
    ...(headers.length > 0 ? { headers } : {}),
    ...(query.length > 0 ? { query_parameters: query } : {}),
  }
}

/** Headers to set, add and remove, of a route or of one of its destinations. */
function headerOperations(headers: Json | undefined): Message {
  const options = (part: Json | undefined): Message[] => [
    ...Object.entries<string>(part?.set ?? {})
      .filter(([key]) => !isHost(key))
      .map(([key, value]) => ({
        header: { key, value },
        append_action: AppendAction.overwriteOrAdd,
      })),
    ...Object.entries<string>(part?.add ?? {}).map(([key, value]) => ({
      header: { key, value },
      append_action: AppendAction.appendOrAdd,
    })),
  ]
  const result: Message = {}
  for (const side of ['request', 'response'] as const) {
    const add = options(headers?.[side])
    if (add.length > 0) result[`${side}_headers_to_add`] = add
    if (headers?.[side]?.remove?.length) result[`${side}_headers_to_remove`] = headers[side].remove
  }
  return result
}

const isHost = (name: string) => ['host', ':authority'].includes(name.toLowerCase())

/** The host that header operations set: it is rewritten, not added as a field. */
function hostRewrite(headers: Json | undefined): Message {
  const entry = Object.entries<string>(headers?.request?.set ?? {}).find(([key]) => isHost(key))
  return entry ? { host_rewrite_literal: entry[1] } : {}
}

const REDIRECT_CODES: Record<number, number> = {
  301: RedirectCode.moved,
  302: RedirectCode.found,
  303: RedirectCode.seeOther,
  307: RedirectCode.temporary,
  308: RedirectCode.permanent,
}

/** `port`: of the listener, where a redirect keeps that. */
function redirect(r: Json, port: number): Message {
  return {
    ...(r.authority ? { host_redirect: r.authority } : {}),
    ...(r.scheme ? { scheme_redirect: r.scheme } : {}),
    ...(r.port
      ? { port_redirect: r.port }
      : (r.listenerPort || r.derivePort === 'FROM_REQUEST_PORT') && ![80, 443].includes(port)
        ? { port_redirect: port }
        : {}),
    ...(r.uri ? { path_redirect: r.uri } : {}),
    ...(r.prefixRewrite ? { prefix_rewrite: r.prefixRewrite } : {}),
    ...(r.uriRegexRewrite
      ? { regex_rewrite: { pattern: { regex: r.uriRegexRewrite.match }, substitution: r.uriRegexRewrite.rewrite } }
      : {}),
    ...(r.redirectCode ? { response_code: REDIRECT_CODES[r.redirectCode] ?? RedirectCode.moved } : {}),
  }
}

/** Istio's rewrite replaces the matched prefix, or the whole path of an exact or regex match: Envoy knows which. */
function rewrite(r: Json | undefined): Message {
  if (!r) return {}
  const path = r.uriRegexRewrite
    ? { regex_rewrite: { pattern: { regex: r.uriRegexRewrite.match }, substitution: r.uriRegexRewrite.rewrite } }
    : r.uri === undefined
      ? {}
      : { prefix_rewrite: r.uri }
  return { ...path, ...(r.authority ? { host_rewrite_literal: r.authority } : {}) }
}

function routeAction(scope: RouteScope, rule: VirtualService, http: Json): Message {
  if (http.redirect) return { redirect: redirect(http.redirect, scope.port) }
  const namespace: string = http.namespace ?? rule.namespace
  if (http.directResponse) {
    const { status, body } = http.directResponse
    const data = body?.string !== undefined ? { inline_string: body.string } : { inline_bytes: base64(body?.bytes) }
    return { direct_response: { status, ...(body ? { body: data } : {}) } }
  }
  const routes: Json[] = ((http.route ?? []) as Json[]).filter((r) => r.destination?.host)
  const policies = routes.map((r) => policyOf(r.destination, scope, namespace))
  const retry = retryPolicy(http.retries, scope.place, policies[0] ?? {})
  const hashes = policies.flatMap(hashPolicies)
  const action = {
    ...timeoutOf(parseDuration(http.timeout) ?? 0),
    ...(retry ? { retry_policy: retry } : {}),
    ...hostRewrite(http.headers),
    ...rewrite(http.rewrite),
    ...(tellsHost(scope.place.node.config) ? { append_x_forwarded_host: true } : {}),
    ...(http.strict ? { cluster_not_found_response_code: NOT_FOUND_500 } : {}),
    ...mirrors(http, (d) => clusterOf(d, scope, namespace)),
    ...(hashes.length > 0 ? { hash_policy: hashes } : {}),
  }
  if (routes.length === 1 && !routes[0]!.headers)
    return { route: { cluster: clusterOf(routes[0]!.destination, scope, namespace), ...action } }
  return {
    route: {
      weighted_clusters: {
        clusters: routes.map((r) => ({
          name: clusterOf(r.destination, scope, namespace),
          weight: { value: routes.length === 1 ? 1 : (r.weight ?? 0) },
          ...headerOperations(r.headers),
          ...hostRewrite(r.headers),
        })),
      },
      ...action,
    },
  }
}

/** The traffic policy of a destination. */
function policyOf(destination: Json, scope: RouteScope, namespace: string): Json {
  const service = serviceOf(scope.place, resolveHost(destination.host, namespace))
  if (!service) return {}
  return scope.place.policy(service, destination.subset ?? '', portFor(destination, scope, service))
}

/** RouteAction.ClusterNotFoundResponseCode: what the Gateway API asks for where a backend is not there. */
const NOT_FOUND_500 = 2

const base64 = (text: string | undefined) => Buffer.from(text ?? '', 'base64')

/** What is tried again where nothing else is said (Istio's default since 1.24). */
const RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes'

const OTHER_HOSTS = extension(
  'envoy.retry_host_predicates.previous_hosts',
  'retry.host.previous_hosts.v3.PreviousHostsPredicate',
)

/** Every two tries, what has been tried is left out. */
const OTHER_PRIORITIES: Message = {
  name: 'envoy.retry_priorities.previous_priorities',
  typed_config: packAny(xds('envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig'), {
    update_frequency: 2,
  }),
}

/** A VirtualService's retries, else the mesh's; undefined when there are to be none. */
function retryPolicy(given: Json | undefined, place: Place, policy: Json): Message | undefined {
  const retries: Json = given ?? place.snapshot.view.mesh.defaultHttpRetryPolicy ?? {}
  const attempts = retries.attempts ?? 2
  if (attempts <= 0) return undefined
  const perTry = parseDuration(retries.perTryTimeout)
  const backoff = parseDuration(retries.backoff)
  const words = String(retries.retryOn || RETRY_ON)
    .split(',')
    .map((w) => w.trim())
    .filter(Boolean)
  const codes = words.filter((w) => /^\d{3}$/.test(w)).map(Number)
  const reasons = words.filter((w) => !/^\d{3}$/.test(w))
  if (codes.length > 0 && !reasons.includes('retriable-status-codes')) reasons.push('retriable-status-codes')
  // A hash names one host: another would not be the one that was meant.
  const elsewhere = retries.retryIgnorePreviousHosts ?? !policy.loadBalancer?.consistentHash
  return {
    retry_on: reasons.join(','),
    num_retries: { value: attempts },
    ...(elsewhere ? { retry_host_predicate: [OTHER_HOSTS] } : {}),
    host_selection_retry_max_attempts: 5,
    ...(retries.retryRemoteLocalities ? { retry_priority: OTHER_PRIORITIES } : {}),
    ...(codes.length > 0 ? { retriable_status_codes: codes } : {}),
    ...(perTry ? { per_try_timeout: toDuration(perTry) } : {}),
    ...(backoff ? { retry_back_off: { base_interval: toDuration(backoff) } } : {}),
  }
}

/** The port of a destination: the one it names, the service's only one, else the port of the route. */
function portFor(destination: Json, scope: RouteScope, target: MeshService | undefined): number {
  const ports = target?.ports ?? []
  return destination.port?.number ?? (ports.length === 1 ? ports[0]!.number : scope.port)
}

/** The cluster of a destination as a rule of a namespace writes it. */
export function clusterOf(destination: Json, scope: RouteScope, namespace: string): string {
  const host = resolveHost(destination.host, namespace)
  const target = serviceOf(scope.place, host)
  return clusterName(portFor(destination, scope, target), destination.subset ?? '', target?.host ?? host)
}
