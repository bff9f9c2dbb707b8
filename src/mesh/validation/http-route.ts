// What Istio refuses in HTTP routes of VirtualServices, in its wording. Pure.

import type { Json } from '#api'
import { compileRe2 } from '#base/re2'
import { destinations } from './destinations.ts'
import { durationAtLeast, host, isPort, type Problems, portMessage } from './problems.ts'

/** Checks an HTTP route; `delegate`: its VirtualService has no hosts. */
export function httpRoute(route: Json, path: string, delegate: boolean, p: Problems): void {
  const routes: Json[] = route.route ?? []
  if (route.redirect) {
    p.check(routes.length === 0, path, 'HTTP route cannot contain both route and redirect')
    p.check(!route.directResponse, path, 'HTTP route cannot contain both redirect and direct_response')
    p.check(!route.fault, path, 'HTTP route cannot contain both fault and redirect')
    p.check(!route.rewrite, path, 'HTTP route rule cannot contain both rewrite and redirect')
    p.check(
      route.redirect.uri ||
        route.redirect.authority ||
        route.redirect.scheme ||
        route.redirect.port !== undefined ||
        route.redirect.derivePort ||
        route.redirect.prefixRewrite ||
        route.redirect.redirectCode,
      `${path}.redirect`,
      'redirect must specify URI, authority, scheme, or port',
    )
    const code = route.redirect.redirectCode
    if (code)
      p.check(code >= 300 && code <= 399, `${path}.redirect.redirectCode`, `${code} is not a redirect status code`)
  } else if (route.directResponse) {
    p.check(routes.length === 0, path, 'HTTP route cannot contain both route and direct_response')
    const { status, body } = route.directResponse
    const size = (body?.string?.length ?? 0) + Math.floor(((body?.bytes?.length ?? 0) * 3) / 4)
    const large = 'large direct_responses may impact control plane performance'
    p.check(size <= 1024 * 1024, `${path}.directResponse.body`, `${large}, must be less than 1MB`)
    p.warn(size <= 100 * 1024 || size > 1024 * 1024, large)
    p.check(status >= 200 && status <= 599, `${path}.directResponse.status`, `invalid HTTP status: ${status}`)
  } else if (route.delegate) {
    p.check(!delegate, `${path}.delegate`, 'delegate virtual service cannot delegate')
    p.check(routes.length === 0, path, 'http route cannot have both route and delegate')
    p.check(route.delegate.name, `${path}.delegate.name`, 'delegate must have a name')
  } else p.check(routes.length > 0, path, 'HTTP route, redirect or direct_response is required')
  destinations(route.route, `${path}.route`, p)
  for (const [i, r] of routes.entries()) headers(r.headers, `${path}.route[${i}].headers`, p)
  headers(route.headers, `${path}.headers`, p)
  for (const [i, m] of ((route.match ?? []) as Json[]).entries()) httpMatch(m, `${path}.match[${i}]`, p)
  if (route.rewrite) {
    const { uri, authority, uriRegexRewrite } = route.rewrite
    const { set = {}, add = {} } = route.headers?.request ?? {}
    for (const [name, value] of Object.entries({ ...add, ...set }))
      if (authority && (name === ':authority' || name.toLowerCase() === 'host'))
        p.add(
          `${path}.headers.request`,
          `authority header cannot be set multiple times: have ${JSON.stringify(authority)}, attempting to set ${JSON.stringify(value)}`,
        )
    p.check(
      uri || authority || uriRegexRewrite,
      `${path}.rewrite`,
      'rewrite must specify at least one of URI, authority, or uri_regex_rewrite',
    )
    p.check(
      !(uri && uriRegexRewrite),
      `${path}.rewrite`,
      'rewrite may only contain one of prefix rewrite or regex rewrite',
    )
    if (uriRegexRewrite) regex(uriRegexRewrite.match ?? '', `${path}.rewrite.uriRegexRewrite.match`, p)
  }
  if (route.retries) {
    const { attempts = 0, perTryTimeout, retryOn } = route.retries
    p.check(attempts >= 0, `${path}.retries.attempts`, 'attempts cannot be negative')
    p.check(
      !(attempts === 0 && (perTryTimeout || retryOn)) || route.retries.attempts === undefined,
      `${path}.retries`,
      'http retry policy configured when attempts are set to 0 (disabled)',
    )
    durationAtLeast(perTryTimeout, 1, `${path}.retries.perTryTimeout`, p)
    for (const word of String(retryOn ?? '')
      .split(',')
      .map((w) => w.trim())
      .filter(Boolean))
      p.check(
        RETRY_ON.has(word) || /^[1-5]\d\d$/.test(word),
        `${path}.retries.retryOn`,
        `${JSON.stringify(word)} is not a valid retryOn policy`,
      )
  }
  const copies: [Json | undefined, string][] = [
    ...(route.mirror ? [[route.mirror, `${path}.mirror`] as [Json, string]] : []),
    ...((route.mirrors ?? []) as Json[]).map((m, i): [Json | undefined, string] => [
      m?.destination,
      `${path}.mirrors[${i}].destination`,
    ]),
  ]
  for (const [destination, at] of copies) {
    if (!destination?.host) p.add(`${at}.host`, 'mirror destination must have a host')
    else host(destination.host, `${at}.host`, p)
  }
  p.warn(route.mirrorPercent === undefined, 'using deprecated setting "mirrorPercent", use "mirrorPercentage" instead')
  if (route.mirror && route.mirrors?.length) p.add(path, 'HTTP route cannot contain both mirror and mirrors')
  for (const [name, value] of [
    ['mirrorPercentage', route.mirrorPercentage?.value],
    ['mirrorPercent', route.mirrorPercent],
  ] as const)
    if (value !== undefined)
      p.check(value >= 0 && value <= 100, `${path}.${name}`, `${value} must be in range [0..100]`)
  fault(route.fault, `${path}.fault`, p)
  cors(route.corsPolicy, `${path}.corsPolicy`, p)
  durationAtLeast(route.timeout, 0, `${path}.timeout`, p)
}

/** Words of retryOn (envoyproxy.io, x-envoy-retry-on and x-envoy-retry-grpc-on). */
const RETRY_ON = new Set(
  '5xx gateway-error reset reset-before-request connect-failure retriable-4xx refused-stream retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable'.split(
    ' ',
  ),
)

function httpMatch(m: Json, path: string, p: Problems): void {
  for (const key of ['uri', 'scheme', 'method', 'authority']) if (m[key]) stringMatch(m[key], `${path}.${key}`, p)
  for (const key of ['headers', 'withoutHeaders', 'queryParams'])
    for (const [name, value] of Object.entries<Json>(m[key] ?? {})) {
      p.check(name !== '', `${path}.${key}`, `header match name cannot be empty`)
      if (key !== 'queryParams')
        p.check(
          /^[-_A-Za-z0-9]+$|^$|^@request\.auth\.claims[.[]/.test(name),
          `${path}.${key}`,
          `header name ${JSON.stringify(name)} is not a valid header name`,
        )
      // "*" says that there is no such header, whatever its value.
      if (key !== 'withoutHeaders' || value?.regex !== '*') stringMatch(value ?? {}, `${path}.${key}[${name}]`, p)
    }
  if (m.port !== undefined) p.check(isPort(m.port), `${path}.port`, portMessage(m.port))
}

/** A regex longer than this is refused: it would be compiled in every proxy (Istio's own cap). */
const REGEX_LIMIT = 1024

function stringMatch(match: Json, path: string, p: Problems): void {
  p.check(
    ['exact', 'prefix', 'regex'].filter((k) => match[k] !== undefined).length <= 1,
    path,
    'only one of exact, prefix and regex may be set',
  )
  if (match.regex !== undefined) regex(match.regex, path, p)
}

function regex(pattern: string, path: string, p: Problems): void {
  if (pattern.length > REGEX_LIMIT) return p.add(path, `regex is too large, max length allowed is ${REGEX_LIMIT}`)
  try {
    compileRe2(pattern)
  } catch (error) {
    p.add(path, `invalid regex: ${(error as Error).message}`)
  }
}

function headers(h: Json | undefined, path: string, p: Problems): void {
  for (const side of ['request', 'response'] as const) {
    for (const verb of ['set', 'add'] as const)
      for (const name of Object.keys(h?.[side]?.[verb] ?? {}))
        p.check(
          /^(:authority|[-_A-Za-z0-9!#$%&'*+.^`|~]+)$/.test(name),
          `${path}.${side}.${verb}`,
          `header name ${JSON.stringify(name)} is not a valid header name`,
        )
    for (const name of (h?.[side]?.remove ?? []) as string[])
      p.check(
        !/^(host|:)/i.test(name) && name !== '',
        `${path}.${side}.remove`,
        `header name ${JSON.stringify(name)} cannot be removed`,
      )
  }
}

function fault(f: Json | undefined, path: string, p: Problems): void {
  if (!f) return
  p.check(f.delay || f.abort, path, 'HTTP fault injection must have an abort and/or a delay')
  if (f.delay) {
    p.check(f.delay.fixedDelay || f.delay.exponentialDelay, `${path}.delay`, 'duration must be set for a delay')
    durationAtLeast(f.delay.fixedDelay, 1, `${path}.delay.fixedDelay`, p)
  }
  if (f.abort) {
    const { httpStatus, grpcStatus } = f.abort
    p.check(
      httpStatus !== undefined || grpcStatus || f.abort.http2Error,
      `${path}.abort`,
      'abort must specify an HTTP status or a gRPC status',
    )
    if (httpStatus !== undefined)
      p.check(httpStatus >= 200 && httpStatus <= 599, `${path}.abort.httpStatus`, `invalid HTTP status: ${httpStatus}`)
    if (grpcStatus)
      p.check(GRPC.test(grpcStatus), `${path}.abort.grpcStatus`, `gRPC status ${grpcStatus} is not supported`)
  }
  for (const part of ['delay', 'abort'] as const) {
    const percent = f[part]?.percentage?.value
    if (percent !== undefined)
      p.check(
        percent >= 0 && percent <= 100,
        `${path}.${part}.percentage`,
        `percentage ${percent} is not in range [0..100]`,
      )
  }
}

const GRPC =
  /^(OK|CANCELLED|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ALREADY_EXISTS|PERMISSION_DENIED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|ABORTED|OUT_OF_RANGE|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS|UNAUTHENTICATED)$/

function cors(c: Json | undefined, path: string, p: Problems): void {
  for (const [i, o] of ((c?.allowOrigins ?? []) as Json[]).entries()) stringMatch(o, `${path}.allowOrigins[${i}]`, p)
  for (const [i, m] of ((c?.allowMethods ?? []) as string[]).entries())
    p.check(
      /^(GET|HEAD|POST|PUT|PATCH|DELETE|CONNECT|OPTIONS|TRACE|\*)$/.test(m),
      `${path}.allowMethods[${i}]`,
      `${JSON.stringify(m)} is not a supported HTTP method`,
    )
}
