// Rules of HTTPRoutes and GRPCRoutes as routes of a VirtualService, in the order the Gateway API asks for. Pure.

import type { Json, KubeObject } from '#api'
import { fqdnOf } from '../model/service.ts'
import { type GatewayApiView, knowsHost, type Problem, ungranted } from './view.ts'

/** A route of a VirtualService with the condition it has, and what it is ordered by. */
export interface HttpEntry {
  readonly match: Json | undefined
  readonly route: Json
  /** Of a gRPC route for every method: it comes last. */
  readonly anything: boolean
}

const namespaceOf = (o: KubeObject) => o.metadata.namespace ?? ''

/**
 * The host and port of a backend, or why it cannot be had. `mesh`: for clients in the mesh, who may call any service
 * as they are (GAMMA): nothing needs to be granted.
 */
export function backendOf(
  view: GatewayApiView,
  route: KubeObject,
  ref: Json,
  mesh: boolean,
): { destination: Json } | { problem: Problem } {
  const { group = '', kind = 'Service', name, namespace = namespaceOf(route), port } = ref
  const unknown = (of: string) => ({
    problem: { reason: 'BackendNotFound', message: `backend(${of}) not found` },
  })
  if (group === 'networking.istio.io' && kind === 'Hostname')
    return knowsHost(view, name)
      ? { destination: { host: name, ...(port ? { port: { number: port } } : {}) } }
      : unknown(name)
  // Services of several clusters are nobody's here.
  if (kind === 'ServiceImport') return unknown(`${name}.${namespace}.svc.clusterset.local`)
  if (group !== '' || kind !== 'Service')
    return {
      problem: {
        reason: 'InvalidKind',
        message: `referencing unsupported backendRef: group ${JSON.stringify(group)} kind ${JSON.stringify(kind)}`,
      },
    }
  const refused = mesh ? undefined : ungranted(view, route, { group, kind, namespace, name }, 'backendRef')
  if (refused) return { problem: refused }
  const host = `${name}.${namespace}.svc.cluster.local`
  const service = view.service(namespace, name)
  if (!service) return unknown(host)
  if (port === undefined)
    return { problem: { reason: 'UnsupportedValue', message: `port is required in backendRef ${name}` } }
  if (!((service.spec?.ports ?? []) as Json[]).some((p) => p.port === port))
    return { problem: { reason: 'BackendNotFound', message: `port ${port} not found on backend(${host})` } }
  return { destination: { host: fqdnOf(service), port: { number: port } } }
}

/** Backends with their weights; those that cannot be had answer with 500. */
export function weighted(
  view: GatewayApiView,
  route: KubeObject,
  refs: readonly Json[],
  mesh: boolean,
): { routes: Json[]; problem: Problem | undefined } {
  let problem: Problem | undefined
  const routes = refs
    .filter((ref) => (ref.weight ?? 1) > 0)
    .map((ref) => {
      const found = backendOf(view, route, ref, mesh)
      const headers = headersOf(ref.filters ?? [])
      // Of several the last is told, as Istio does.
      if ('problem' in found) problem = found.problem
      const destination = 'problem' in found ? { host: INVALID, port: { number: 80 } } : found.destination
      return { destination, weight: ref.weight ?? 1, ...(headers ? { headers } : {}) }
    })
  for (const ref of refs.filter((r) => (r.weight ?? 1) === 0)) {
    const found = backendOf(view, route, ref, mesh)
    if ('problem' in found) problem ??= found.problem
  }
  return { routes, problem }
}

/** No service bears this name. */
const INVALID = 'invalid-backend.invalid'

const HEADER_FILTERS: ReadonlySet<unknown> = new Set(['RequestHeaderModifier', 'ResponseHeaderModifier'])
const FILTERS: ReadonlySet<unknown> = new Set([
  ...HEADER_FILTERS,
  'RequestMirror',
  'RequestRedirect',
  'URLRewrite',
  'CORS',
])
/** Filters of a backend that are as good as the rule's own where the rule has no other backend. */
const SOLE_FILTERS: ReadonlySet<unknown> = new Set(['RequestRedirect', 'URLRewrite'])

/** The routes of a rule, one for each condition. */
export function entriesOf(
  view: GatewayApiView,
  route: KubeObject,
  rule: Json,
  mesh: boolean,
): { entries: HttpEntry[]; problem: Problem | undefined; unsupported: Problem | undefined } {
  const filters: Json[] = rule.filters ?? []
  const { routes, problem } = weighted(view, route, rule.backendRefs ?? [], mesh)
  let found = problem
  const mirrors: Json[] = []
  for (const { requestMirror: m } of filters.filter((f) => f.type === 'RequestMirror' && f.requestMirror)) {
    const backend = backendOf(view, route, m.backendRef, mesh)
    if ('problem' in backend) found ??= backend.problem
    else mirrors.push({ destination: backend.destination, percentage: { value: percentOf(m) } })
  }
  const ofBackends = ((rule.backendRefs ?? []) as Json[]).flatMap((ref) => (ref.filters ?? []) as Json[])
  const sole = rule.backendRefs?.length === 1 ? ofBackends.filter((f) => SOLE_FILTERS.has(f.type)) : []
  const odd =
    filters.find((f) => !FILTERS.has(f.type)) ??
    ofBackends.find((f) => !HEADER_FILTERS.has(f.type) && !sole.includes(f))
  const unsupported = odd
    ? { reason: 'InvalidFilter', message: `unsupported filter type ${JSON.stringify(odd.type)}` }
    : undefined
  const matches: (Json | undefined)[] = rule.matches?.length ? rule.matches : [undefined]
  const conditions = matches.map((m) => (route.kind === 'GRPCRoute' ? grpcMatch(m) : httpMatch(m)))
  const headers = headersOf(filters)
  const redirect = [...filters, ...sole].find((f) => f.type === 'RequestRedirect')?.requestRedirect
  const rewrite = [...sole, ...filters].find((f) => f.type === 'URLRewrite')?.urlRewrite
  const cors = filters.find((f) => f.type === 'CORS')?.cors
  const timeouts = timeoutsOf(rule)
  const entries = conditions.map((match) => {
    const prefix: string = match?.uri?.elements ?? '/'
    const action = redirect
      ? { redirect: redirectOf(redirect, prefix) }
      : routes.length === 0 || routes.every((r) => r.destination.host === INVALID)
        ? { directResponse: { status: 500 } }
        : { route: routes, strict: true }
    return {
      match,
      anything: route.kind === 'GRPCRoute' && !match?.uri,
      route: {
        name: [namespaceOf(route), route.metadata.name, rule.name].filter(Boolean).join('.'),
        ...(match ? { match: [match] } : {}),
        ...action,
        ...(headers ? { headers } : {}),
        ...(rewrite && !redirect ? { rewrite: rewriteOf(rewrite, prefix) } : {}),
        ...(mirrors.length > 0 ? { mirrors } : {}),
        ...(cors ? { corsPolicy: corsOf(cors) } : {}),
        ...timeouts,
      },
    }
  })
  return { entries, problem: found, unsupported }
}

const percentOf = (m: Json): number =>
  m.fraction ? (100 * m.fraction.numerator) / (m.fraction.denominator ?? 100) : (m.percent ?? 100)

/** Whoever asks for retries is given them when a connection fails, breaks or takes too long (GEP-1731). */
const CONNECTION_ERRORS = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled', 'reset']

/** The Gateway API's spans of time, "1h2m3s4ms", are Go's; "0s" is none. */
function timeoutsOf(rule: Json): Json {
  const { request, backendRequest } = rule.timeouts ?? {}
  const retry: Json | undefined = rule.retry
  const retries = {
    ...(backendRequest ? { perTryTimeout: backendRequest } : {}),
    ...(retry
      ? {
          attempts: retry.attempts ?? 2,
          ...(retry.backoff ? { backoff: retry.backoff } : {}),
          ...(retry.attempts === 0 ? {} : { retryOn: [...CONNECTION_ERRORS, ...(retry.codes ?? [])].join(',') }),
        }
      : {}),
  }
  return {
    ...(request ? { timeout: request } : {}),
    ...(Object.keys(retries).length > 0 ? { retries } : {}),
  }
}

function httpMatch(match: Json | undefined): Json | undefined {
  if (!match) return undefined
  const { path = {}, headers = [], queryParams = [], method } = match
  const { type = 'PathPrefix', value = '/' } = path
  const trimmed = value.replace(/\/+$/, '')
  const uri =
    type === 'Exact'
      ? { exact: value }
      : type === 'RegularExpression'
        ? { regex: value }
        : trimmed === ''
          ? undefined
          : { elements: trimmed }
  return condition({
    ...(uri ? { uri } : {}),
    ...named('headers', headers),
    ...named('queryParams', queryParams),
    ...(method ? { method: { exact: method } } : {}),
  })
}

function grpcMatch(match: Json | undefined): Json | undefined {
  if (!match) return undefined
  const { type = 'Exact', service, method } = match.method ?? {}
  const uri =
    service === undefined && method === undefined
      ? undefined
      : type === 'RegularExpression'
        ? { regex: `/${service ?? '[^/]+'}/${method ?? '.+'}` }
        : service !== undefined && method !== undefined
          ? { exact: `/${service}/${method}` }
          : service !== undefined
            ? { prefix: `/${service}/` }
            : { regex: `/[^/]+/${escapeRegex(method)}` }
  return condition({ ...(uri ? { uri } : {}), ...named('headers', match.headers ?? []) })
}

const condition = (match: Json): Json | undefined => (Object.keys(match).length > 0 ? match : undefined)
const escapeRegex = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Matches by name; of several for one name only the first counts. */
function named(field: string, list: readonly Json[]): Json {
  const found: Json = {}
  for (const { type, name, value } of list) {
    const key = field === 'headers' ? String(name).toLowerCase() : name
    found[key] ??= type === 'RegularExpression' ? { regex: value } : { exact: value }
  }
  return list.length > 0 ? { [field]: found } : {}
}

function headersOf(filters: readonly Json[]): Json | undefined {
  const side = (type: string, field: string): Json | undefined => {
    const of = filters.find((f) => f.type === type)?.[field]
    if (!of) return undefined
    const pairs = (list: Json[] | undefined) => Object.fromEntries((list ?? []).map((h) => [h.name, h.value]))
    return { set: pairs(of.set), add: pairs(of.add), remove: of.remove ?? [] }
  }
  const request = side('RequestHeaderModifier', 'requestHeaderModifier')
  const response = side('ResponseHeaderModifier', 'responseHeaderModifier')
  return request || response ? { ...(request ? { request } : {}), ...(response ? { response } : {}) } : undefined
}

/** Replaces a prefix of whole elements; "/foo" by "/" makes "/foo/bar" to "/bar", not to "//bar". */
function prefixRegex(prefix: string, replacement: string): Json {
  const to = replacement.replace(/\/+$/, '')
  return to === ''
    ? { match: `^${escapeRegex(prefix === '/' ? '' : prefix)}/*`, rewrite: '/' }
    : {
        match: `^${escapeRegex(prefix === '/' ? '' : prefix)}${prefix === '/' ? '/?' : ''}`,
        rewrite: prefix === '/' ? `${to}/` : to,
      }
}

function rewriteOf({ hostname, path }: Json, prefix: string): Json {
  return {
    ...(hostname ? { authority: hostname } : {}),
    ...(path?.type === 'ReplaceFullPath' ? { uriRegexRewrite: { match: '^/.*$', rewrite: path.replaceFullPath } } : {}),
    ...(path?.type === 'ReplacePrefixMatch'
      ? { uriRegexRewrite: prefixRegex(prefix, path.replacePrefixMatch ?? '/') }
      : {}),
  }
}

function redirectOf(r: Json, prefix: string): Json {
  return {
    ...(r.scheme ? { scheme: r.scheme } : {}),
    ...(r.hostname ? { authority: r.hostname } : {}),
    ...(r.port ? { port: r.port } : r.scheme ? {} : { listenerPort: true }),
    redirectCode: r.statusCode ?? 302,
    ...(r.path?.type === 'ReplaceFullPath' ? { uri: r.path.replaceFullPath } : {}),
    ...(r.path?.type === 'ReplacePrefixMatch'
      ? { uriRegexRewrite: prefixRegex(prefix, r.path.replacePrefixMatch ?? '/') }
      : {}),
  }
}

/** Whatever is an origin (RFC 6454, 6.1). */
const ANY_ORIGIN = '[a-zA-Z][a-zA-Z0-9+.-]*://[^/\\s?#]+'

function corsOf(c: Json): Json {
  return {
    allowOrigins: ((c.allowOrigins ?? []) as string[]).map((o) =>
      o.includes('*') ? { regex: o === '*' ? ANY_ORIGIN : o.split('*').map(escapeRegex).join('.*') } : { exact: o },
    ),
    ...(c.allowMethods ? { allowMethods: c.allowMethods } : {}),
    ...(c.allowHeaders ? { allowHeaders: c.allowHeaders } : {}),
    ...(c.exposeHeaders ? { exposeHeaders: c.exposeHeaders } : {}),
    ...(c.maxAge === undefined ? {} : { maxAge: `${c.maxAge}s` }),
    ...(c.allowCredentials === undefined ? {} : { allowCredentials: c.allowCredentials }),
    unmatchedPreflights: 'IGNORE',
  }
}

/**
 * Orders routes as the Gateway API asks: exact paths, the longer prefix, a method, more headers, more query
 * parameters (gateway-api, HTTPRouteMatch). Equal ones stay as they are: by age, then by name.
 */
export function byPrecedence(a: HttpEntry, b: HttpEntry): number {
  const uri = ({ match, anything }: HttpEntry): [number, number] => {
    const u = match?.uri
    if (anything) return [0, 0]
    if (u?.exact !== undefined) return [3, u.exact.length]
    if (u?.regex !== undefined) return [1, u.regex.length]
    // "/" is a prefix as any other: it goes before expressions, as Istio's does.
    return [2, (u?.elements ?? u?.prefix ?? '/').length]
  }
  const [kindA, lengthA] = uri(a)
  const [kindB, lengthB] = uri(b)
  const count = (field: string, e: HttpEntry) => Object.keys(e.match?.[field] ?? {}).length
  return (
    kindB - kindA ||
    lengthB - lengthA ||
    Number(Boolean(b.match?.method)) - Number(Boolean(a.match?.method)) ||
    count('headers', b) - count('headers', a) ||
    count('queryParams', b) - count('queryParams', a)
  )
}
