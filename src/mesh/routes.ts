// Routes out of VirtualServices: matches and actions.

import { type Json, type KubeObject, parseDuration } from '#api'
import { AppendAction, RedirectCode, toDuration, toStruct } from '#api/xds'
import type { Message } from '#wire'
import { filterSettings, mirrors } from './route-filters.ts'
import { hashPolicies, policyFor } from './traffic-policy.ts'
import { clusterName, destinationRules, fqdnOf, type MeshView, type ProxyNode, resolveHost } from './view.ts'

/** Where routes will stand: the proxy, the gateways it is, the port they are reached at. */
export interface RouteScope {
  readonly view: MeshView
  readonly node: ProxyNode
  /** "mesh", or "namespace/name" of gateways. */
  readonly gateways: ReadonlySet<string>
  readonly port: number
  /** The Service a sidecar's routes are for. */
  readonly service?: KubeObject
}

/** The names a Service is called by from a namespace. */
export function domainsOf(service: KubeObject, port: number, from: string): string[] {
  const { name, namespace } = service.metadata
  const names = [
    fqdnOf(service),
    `${name}.${namespace}.svc`,
    `${name}.${namespace}`,
    ...(namespace === from ? [name] : []),
  ]
  if (service.spec.clusterIP && service.spec.clusterIP !== 'None') names.push(service.spec.clusterIP)
  return names.flatMap((n) => [n, `${n}:${port}`])
}

/** The virtual host by which a sidecar reaches a Service's port. */
export function virtualHost(view: MeshView, node: ProxyNode, service: KubeObject, port: Json): Message {
  const host = fqdnOf(service)
  const rule = view.virtualServices.find(
    (v) =>
      gatewaysOf(v).includes('mesh') &&
      (v.spec?.hosts ?? []).some((h: string) => resolveHost(h, v.metadata.namespace ?? '') === host),
  )
  const hashes = hashPolicies(policyFor(destinationRules(view).get(host), '', port.port))
  const fallback = {
    name: 'default',
    match: { prefix: '/' },
    route: {
      cluster: clusterName(port.port, '', host),
      timeout: toDuration(0),
      retry_policy: retryPolicy(undefined),
      ...(hashes.length > 0 ? { hash_policy: hashes } : {}),
    },
    decorator: { operation: `${host}:${port.port}/*` },
  }
  const scope = { view, node, gateways: new Set(['mesh']), port: port.port, service }
  const routes = rule?.spec?.http?.length ? httpRoutes(scope, rule) : [fallback]
  const domains = domainsOf(service, port.port, node.namespace)
  return { name: `${host}:${port.port}`, domains, routes, include_request_attempt_count: true }
}

/** The gateways a VirtualService is bound to: "mesh", or "namespace/name". */
export function gatewaysOf(rule: KubeObject): string[] {
  const names: string[] = rule.spec?.gateways?.length ? rule.spec.gateways : ['mesh']
  return names.map((n) => fullGatewayName(n, rule))
}

/** A gateway's name as a rule writes it: short, with its namespace, or as a host name. */
function fullGatewayName(name: string, rule: KubeObject): string {
  if (name === 'mesh' || name.includes('/')) return name
  const [gateway, namespace] = name.split('.')
  return `${namespace ?? rule.metadata.namespace}/${gateway}`
}

/** The routes of a rule's http part that apply in a place. */
export function httpRoutes(scope: RouteScope, rule: KubeObject): Message[] {
  const routes: Message[] = []
  const { name, namespace } = rule.metadata
  const config = `/apis/networking.istio.io/v1/namespaces/${namespace}/virtual-service/${name}`
  const operation = scope.service ? fqdnOf(scope.service) : String(rule.spec.hosts?.[0] ?? '*')
  for (const http of (rule.spec.http ?? []) as Json[]) {
    const matches: (Json | undefined)[] = http.match?.length ? http.match : [undefined]
    for (const match of matches) {
      if (match && !applies(match, scope, rule)) continue
      routes.push({
        ...(http.name || match?.name ? { name: [http.name, match?.name].filter(Boolean).join('.') } : {}),
        match: routeMatch(match),
        ...routeAction(scope, rule, http, match),
        ...headerOperations(http.headers),
        ...filterSettings(http),
        metadata: { filter_metadata: { istio: toStruct({ config }) } },
        decorator: { operation: `${operation}:${scope.port}/*` },
      })
    }
  }
  return routes
}

function applies(match: Json, scope: RouteScope, rule: KubeObject): boolean {
  const { node, port } = scope
  if (match.port !== undefined && match.port !== port) return false
  if (match.gateways?.length && !match.gateways.some((g: string) => scope.gateways.has(fullGatewayName(g, rule))))
    return false
  if (scope.gateways.has('mesh') && match.sourceNamespace && match.sourceNamespace !== node.namespace) return false
  return Object.entries<string>(match.sourceLabels ?? {}).every(([k, v]) => node.labels[k] === v)
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
    headers.push(headerMatcher(name.toLowerCase(), value, true))
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
    ...Object.entries<string>(part?.set ?? {}).map(([key, value]) => ({
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

const REDIRECT_CODES: Record<number, number> = {
  301: RedirectCode.moved,
  302: RedirectCode.found,
  303: RedirectCode.seeOther,
  307: RedirectCode.temporary,
  308: RedirectCode.permanent,
}

function redirect(r: Json): Message {
  return {
    ...(r.authority ? { host_redirect: r.authority } : {}),
    ...(r.scheme ? { scheme_redirect: r.scheme } : {}),
    ...(r.port ? { port_redirect: r.port } : {}),
    ...(r.uri ? { path_redirect: r.uri } : {}),
    ...(r.redirectCode ? { response_code: REDIRECT_CODES[r.redirectCode] ?? RedirectCode.moved } : {}),
  }
}

/** Istio's rewrite replaces the matched prefix, or the whole path of an exact or regex match. */
function rewrite(r: Json | undefined, match: Json | undefined): Message {
  if (!r) return {}
  const regex = r.uriRegexRewrite
    ? { regex_rewrite: { pattern: { regex: r.uriRegexRewrite.match }, substitution: r.uriRegexRewrite.rewrite } }
    : {}
  const whole = match?.uri?.regex !== undefined
  const uri =
    r.uri === undefined
      ? {}
      : whole
        ? { regex_rewrite: { pattern: { regex: match.uri.regex }, substitution: r.uri } }
        : { prefix_rewrite: r.uri }
  return { ...regex, ...uri, ...(r.authority ? { host_rewrite_literal: r.authority } : {}) }
}

function routeAction(scope: RouteScope, rule: KubeObject, http: Json, match: Json | undefined): Message {
  if (http.redirect) return { redirect: redirect(http.redirect) }
  if (http.directResponse) {
    const { status, body } = http.directResponse
    const data = body?.string !== undefined ? { inline_string: body.string } : { inline_bytes: base64(body?.bytes) }
    return { direct_response: { status, ...(body ? { body: data } : {}) } }
  }
  const timeout = toDuration(parseDuration(http.timeout) ?? 0)
  const routes: Json[] = http.route ?? []
  const retry = retryPolicy(http.retries)
  const hashes = routes.flatMap((r) => hashPolicies(policyOf(r.destination, scope, rule)))
  const action = {
    timeout,
    ...(retry ? { retry_policy: retry } : {}),
    ...rewrite(http.rewrite, match),
    ...mirrors(http, (d) => clusterOf(d, scope, rule)),
    ...(hashes.length > 0 ? { hash_policy: hashes } : {}),
  }
  if (routes.length === 1 && !routes[0]!.headers)
    return { route: { cluster: clusterOf(routes[0]!.destination, scope, rule), ...action } }
  return {
    route: {
      weighted_clusters: {
        clusters: routes.map((r) => ({
          name: clusterOf(r.destination, scope, rule),
          weight: { value: routes.length === 1 ? 1 : (r.weight ?? 0) },
          ...headerOperations(r.headers),
        })),
      },
      ...action,
    },
  }
}

/** The traffic policy of a destination. */
function policyOf(destination: Json, scope: RouteScope, rule: KubeObject): Json {
  const host = resolveHost(destination.host, rule.metadata.namespace ?? '')
  const port = destination.port?.number ?? scope.port
  return policyFor(destinationRules(scope.view).get(host), destination.subset ?? '', port)
}

const base64 = (text: string | undefined) => Buffer.from(text ?? '', 'base64')

/** What is tried again where nothing else is said (Istio's default since 1.24). */
const RETRY_ON = 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes'

/** A VirtualService's retries; undefined when there are to be none. */
function retryPolicy(retries: Json | undefined): Message | undefined {
  const attempts = retries?.attempts ?? 2
  if (attempts <= 0) return undefined
  const perTry = parseDuration(retries?.perTryTimeout)
  const words = String(retries?.retryOn || RETRY_ON).split(',')
  const codes = words.filter((w) => /^\d{3}$/.test(w.trim())).map(Number)
  return {
    retry_on:
      words.filter((w) => !/^\d{3}$/.test(w.trim())).join(',') + (codes.length > 0 ? ',retriable-status-codes' : ''),
    num_retries: { value: attempts },
    retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
    host_selection_retry_max_attempts: 5,
    ...(codes.length > 0 ? { retriable_status_codes: codes } : {}),
    ...(perTry ? { per_try_timeout: toDuration(perTry) } : {}),
  }
}

/** The cluster of a destination. Without a port: the Service's only one, else the port of the route. */
export function clusterOf(destination: Json, scope: RouteScope, rule: KubeObject): string {
  const host = resolveHost(destination.host, rule.metadata.namespace ?? '')
  const { service } = scope
  const target = service && host === fqdnOf(service) ? service : scope.view.services.find((s) => fqdnOf(s) === host)
  const ports: Json[] = target?.spec?.ports ?? []
  const number = destination.port?.number ?? (ports.length === 1 ? ports[0]!.port : scope.port)
  return clusterName(number, destination.subset ?? '', host)
}
