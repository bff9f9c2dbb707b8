// What Istio refuses in its own kinds (istio: pkg/config/validation), in its wording. Pure.

import { type FieldError, type Json, parseDuration } from '#api'
import { compileRe2 } from '#base/re2'
import { shapeProblems } from './shape.ts'

/** Gathers problems with where they are. */
class Problems {
  readonly found: FieldError[] = []

  add(path: string, message: string): void {
    this.found.push({ path, reason: 'FieldValueInvalid', message })
  }

  check(ok: boolean, path: string, message: string): void {
    if (!ok) this.add(path, message)
  }
}

type Check = (spec: Json, problems: Problems) => void

/** Problems of an Istio object's spec; empty for kinds that are not looked into. */
export function validateIstio(kind: string, spec: Json): FieldError[] {
  const misshapen = shapeProblems(kind, spec)
  if (misshapen.length > 0) return misshapen
  const problems = new Problems()
  CHECKS[kind]?.(spec, problems)
  return problems.found
}

const HOST = /^(\*|\*?[a-zA-Z0-9*]([-a-zA-Z0-9_.:]*[a-zA-Z0-9])?)$/
const LABEL = /^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/
const IP = /^(\d{1,3}\.){3}\d{1,3}$|:/
const isPort = (n: unknown): boolean => typeof n === 'number' && n > 0 && n < 65536
const portMessage = (n: unknown) => `port number ${n} must be in the range 1..65535`

/** A host, which may begin with a wildcard. */
function host(text: string, path: string, p: Problems): void {
  p.check(
    HOST.test(text) && !/\*.*\*/.test(text),
    path,
    `invalid host ${JSON.stringify(text)}: a name, or a name that begins with "*", is wanted`,
  )
}

function exportTo(list: string[] | undefined, path: string, p: Problems): void {
  const seen = new Set<string>()
  for (const [i, to] of (list ?? []).entries()) {
    p.check(
      ['.', '*', '~'].includes(to) || LABEL.test(to),
      `${path}[${i}]`,
      `invalid namespace ${JSON.stringify(to)}; ".", "*", "~" or a name is wanted`,
    )
    p.check(!seen.has(to), `${path}[${i}]`, `duplicate entries in exportTo for entry ${to}`)
    seen.add(to)
  }
  if (seen.size > 1)
    for (const only of ['*', '~']) p.check(!seen.has(only), path, `cannot have both public (*) and other entries`)
}

const cidr = (text: string): boolean => {
  const [address = '', length] = text.split('/')
  const bits = Number(length ?? 32)
  return (
    (address.includes(':') && (length === undefined || bits <= 128)) ||
    (/^(\d{1,3}\.){3}\d{1,3}$/.test(address) &&
      address.split('.').every((n) => Number(n) < 256) &&
      bits >= 0 &&
      bits <= 32)
  )
}

function durationAtLeast(text: string | undefined, least: number, path: string, p: Problems): void {
  const ms = text === undefined ? undefined : parseDuration(text)
  if (ms !== undefined) p.check(ms >= least, path, `duration must be greater than ${least}ms`)
}

const virtualService: Check = (spec, p) => {
  const { hosts = [], gateways = [], http = [], tcp = [], tls = [] } = spec
  if (hosts.length === 0) {
    // What has no hosts is delegated to by others.
    p.check(gateways.length === 0, 'spec.gateways', 'delegate virtual service must have no gateways specified')
    p.check(tcp.length === 0, 'spec.tcp', 'delegate virtual service must have no tcp routes specified')
    p.check(tls.length === 0, 'spec.tls', 'delegate virtual service must have no tls routes specified')
  }
  const mesh = gateways.length === 0 || gateways.includes('mesh')
  const seen = new Set<string>()
  for (const [i, h] of (hosts as string[]).entries()) {
    const path = `spec.hosts[${i}]`
    if (IP.test(h) && !/^\*/.test(h)) p.check(cidr(h), path, `invalid host ${JSON.stringify(h)}`)
    else host(h, path, p)
    p.check(!(h === '*' && mesh), path, `wildcard host * is not allowed for virtual services bound to the mesh gateway`)
    p.check(!seen.has(h), path, `duplicate hosts in virtual service: ${h}`)
    seen.add(h)
  }
  p.check(http.length + tcp.length + tls.length > 0, 'spec', 'http, tcp or tls must be provided in virtual service')
  for (const [i, g] of (gateways as string[]).entries())
    p.check(
      /^([-a-z0-9.]+\/)?[-a-zA-Z0-9.]+$/.test(g),
      `spec.gateways[${i}]`,
      `invalid value for gateway name: ${JSON.stringify(g)}`,
    )
  for (const [i, r] of (http as Json[]).entries()) httpRoute(r, `spec.http[${i}]`, hosts.length === 0, p)
  for (const [i, r] of (tcp as Json[]).entries()) {
    p.check(r.route?.length > 0, `spec.tcp[${i}].route`, 'TCP route is required')
    destinations(r.route, `spec.tcp[${i}].route`, p)
    for (const [j, m] of ((r.match ?? []) as Json[]).entries()) l4Match(m, `spec.tcp[${i}].match[${j}]`, p)
  }
  for (const [i, r] of (tls as Json[]).entries()) {
    p.check(r.route?.length > 0, `spec.tls[${i}].route`, 'TLS route is required')
    p.check(r.match?.length > 0, `spec.tls[${i}].match`, 'TLS route must have at least one match condition')
    destinations(r.route, `spec.tls[${i}].route`, p)
    for (const [j, m] of ((r.match ?? []) as Json[]).entries()) {
      const path = `spec.tls[${i}].match[${j}]`
      l4Match(m, path, p)
      p.check(m.sniHosts?.length > 0, `${path}.sniHosts`, 'TLS match must have at least one SNI host')
      for (const [k, sni] of ((m.sniHosts ?? []) as string[]).entries()) {
        host(sni, `${path}.sniHosts[${k}]`, p)
        p.check(
          (hosts as string[]).some((h) => within(sni, h)),
          `${path}.sniHosts[${k}]`,
          `SNI host ${JSON.stringify(sni)} is not a compatible subset of any of the virtual service hosts: [${hosts.join(' ')}]`,
        )
      }
    }
  }
  exportTo(spec.exportTo, 'spec.exportTo', p)
}

/** True when a host is one of those a pattern covers. A short name may be any host that begins with it. */
const within = (name: string, pattern: string): boolean =>
  pattern === '*' ||
  name === pattern ||
  (pattern.startsWith('*') && name.replace(/^\*/, '').endsWith(pattern.slice(1))) ||
  (!pattern.includes('.') && name.startsWith(`${pattern}.`))

function l4Match(m: Json, path: string, p: Problems): void {
  for (const [i, subnet] of ((m.destinationSubnets ?? []) as string[]).entries())
    p.check(cidr(subnet), `${path}.destinationSubnets[${i}]`, `invalid CIDR address: ${subnet}`)
  if (m.sourceSubnet) p.check(cidr(m.sourceSubnet), `${path}.sourceSubnet`, `invalid CIDR address: ${m.sourceSubnet}`)
  if (m.port !== undefined) p.check(isPort(m.port), `${path}.port`, portMessage(m.port))
}

function httpRoute(route: Json, path: string, delegate: boolean, p: Problems): void {
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
    const { status } = route.directResponse
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
      stringMatch(value ?? {}, `${path}.${key}[${name}]`, p)
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

function destinations(routes: Json[] | undefined, path: string, p: Problems): void {
  let total = 0
  for (const [i, r] of (routes ?? []).entries()) {
    const weight = r?.weight ?? 0
    p.check(weight >= 0, `${path}[${i}].weight`, `weight ${weight} < 0`)
    total += weight
    const { host: name, port, subset } = r?.destination ?? {}
    if (!r?.destination) p.add(`${path}[${i}].destination`, 'destination is required')
    else if (!name) p.add(`${path}[${i}].destination.host`, 'destination must have a host')
    else {
      p.check(name !== '*', `${path}[${i}].destination.host`, `invalid destination host ${name}`)
      host(name, `${path}[${i}].destination.host`, p)
    }
    if (subset)
      p.check(LABEL.test(subset), `${path}[${i}].destination.subset`, `invalid subset name ${JSON.stringify(subset)}`)
    if (port?.number !== undefined)
      p.check(isPort(port.number), `${path}[${i}].destination.port.number`, portMessage(port.number))
  }
  if ((routes?.length ?? 0) > 1) p.check(total > 0, path, 'total destination weight = 0')
}

const destinationRule: Check = (spec, p) => {
  if (!spec.host) p.add('spec.host', 'destination rule must have a host')
  else host(spec.host, 'spec.host', p)
  const names = new Set<string>()
  for (const [i, subset] of ((spec.subsets ?? []) as Json[]).entries()) {
    const path = `spec.subsets[${i}]`
    if (!subset.name) p.add(`${path}.name`, 'subset name cannot be empty')
    else p.check(LABEL.test(subset.name), `${path}.name`, `subset name is invalid: ${JSON.stringify(subset.name)}`)
    p.check(!names.has(subset.name), `${path}.name`, `duplicate subset name: ${subset.name}`)
    names.add(subset.name)
    trafficPolicy(subset.trafficPolicy, `${path}.trafficPolicy`, p)
  }
  trafficPolicy(spec.trafficPolicy, 'spec.trafficPolicy', p)
  exportTo(spec.exportTo, 'spec.exportTo', p)
}

function trafficPolicy(policy: Json | undefined, path: string, p: Problems): void {
  if (!policy) return
  policyPart(policy, path, p)
  const ports = new Set<number>()
  for (const [i, s] of ((policy.portLevelSettings ?? []) as Json[]).entries()) {
    const at = `${path}.portLevelSettings[${i}]`
    p.check(isPort(s.port?.number), `${at}.port`, portMessage(s.port?.number))
    p.check(!ports.has(s.port?.number), `${at}.port`, `duplicate port ${s.port?.number} in portLevelSettings`)
    ports.add(s.port?.number)
    policyPart(s, at, p)
  }
  if (policy.tunnel) {
    p.check(
      !policy.tunnel.protocol || ['CONNECT', 'POST'].includes(String(policy.tunnel.protocol).toUpperCase()),
      `${path}.tunnel.protocol`,
      'tunnel protocol must be "CONNECT" or "POST"',
    )
    p.check(isPort(policy.tunnel.targetPort), `${path}.tunnel.targetPort`, portMessage(policy.tunnel.targetPort))
  }
}

const DURATIONS: Readonly<Record<string, readonly string[]>> = {
  'connectionPool.tcp': ['connectTimeout', 'maxConnectionDuration'],
  'connectionPool.http': ['idleTimeout'],
  outlierDetection: ['interval', 'baseEjectionTime'],
}

function policyPart(policy: Json, path: string, p: Problems): void {
  const { connectionPool: pool, outlierDetection: outlier, loadBalancer: lb, tls } = policy
  for (const [part, fields] of Object.entries(DURATIONS)) {
    const of = part.split('.').reduce<Json | undefined>((o, k) => o?.[k], policy)
    for (const f of fields) durationAtLeast(of?.[f], 1, `${path}.${part}.${f}`, p)
  }
  if (pool && !pool.tcp && !pool.http) p.add(`${path}.connectionPool`, 'connection pool must have at least one field')
  for (const [name, value] of Object.entries({ ...pool?.tcp, ...pool?.http }))
    if (typeof value === 'number') p.check(value >= 0, `${path}.connectionPool`, `${name} must be non-negative`)
  if (pool?.http?.useClientProtocol && pool.http.h2UpgradePolicy === 'UPGRADE')
    p.add(`${path}.connectionPool.http`, 'use client protocol must not be true when H2UpgradePolicy is UPGRADE')
  for (const f of ['maxEjectionPercent', 'minHealthPercent'])
    if (outlier?.[f] !== undefined)
      p.check(
        outlier[f] >= 0 && outlier[f] <= 100,
        `${path}.outlierDetection.${f}`,
        `percentage ${outlier[f]} is not in range 0..100`,
      )
  if (
    outlier?.consecutiveErrors !== undefined &&
    (outlier.consecutive5xxErrors !== undefined || outlier.consecutiveGatewayErrors !== undefined)
  )
    p.add(
      `${path}.outlierDetection`,
      'consecutiveErrors is deprecated and may not be set beside consecutive5xxErrors or consecutiveGatewayErrors',
    )
  if (lb?.simple && lb.consistentHash) p.add(`${path}.loadBalancer`, 'only one of simple and consistentHash may be set')
  const hash: Json | undefined = lb?.consistentHash
  if (hash) {
    const keys = ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'].filter((k) => hash[k])
    p.check(
      keys.length === 1,
      `${path}.loadBalancer.consistentHash`,
      'exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName must be set',
    )
    if (hash.httpCookie)
      p.check(
        hash.httpCookie.name,
        `${path}.loadBalancer.consistentHash.httpCookie.name`,
        'name required for HttpCookie',
      )
    p.check(
      !(hash.ringHash && hash.maglev),
      `${path}.loadBalancer.consistentHash`,
      'only one of ringHash and maglev may be set',
    )
  }
  const setting: Json | undefined = lb?.localityLbSetting
  if (setting) {
    const used = ['distribute', 'failover', 'failoverPriority'].filter((k) => setting[k]?.length)
    p.check(
      !(setting.distribute?.length && used.length > 1),
      `${path}.loadBalancer.localityLbSetting`,
      "can not simultaneously specify 'distribute' and 'failover' or 'failoverPriority'",
    )
    for (const [i, d] of ((setting.distribute ?? []) as Json[]).entries()) {
      const sum = Object.values<number>(d.to ?? {}).reduce((a, b) => a + b, 0)
      p.check(
        sum === 100,
        `${path}.loadBalancer.localityLbSetting.distribute[${i}]`,
        `total locality weight ${sum} != 100`,
      )
    }
    for (const [i, f] of ((setting.failover ?? []) as Json[]).entries())
      p.check(
        f.from !== f.to,
        `${path}.loadBalancer.localityLbSetting.failover[${i}]`,
        `locality lb failover settings must specify different regions`,
      )
  }
  if (tls) {
    if (tls.mode === 'MUTUAL' && !tls.credentialName) {
      p.check(tls.clientCertificate, `${path}.tls.clientCertificate`, 'client certificate required for mutual tls')
      p.check(tls.privateKey, `${path}.tls.privateKey`, 'private key required for mutual tls')
    }
    if (tls.credentialName)
      p.check(
        !tls.clientCertificate && !tls.privateKey && !tls.caCertificates,
        `${path}.tls`,
        'cannot specify client certificates, private keys or CA certificates if credentialName is set',
      )
  }
}

const PROTOCOLS = ['HTTP', 'HTTPS', 'GRPC', 'GRPC-WEB', 'HTTP2', 'MONGO', 'TCP', 'TLS']

const gateway: Check = (spec, p) => {
  const servers: Json[] = spec.servers ?? []
  if (servers.length === 0) p.add('spec.servers', 'gateway must have at least one server')
  const names = new Set<string>()
  for (const [i, server] of servers.entries()) {
    const at = `spec.servers[${i}]`
    if (!server.hosts?.length) p.add(`${at}.hosts`, 'server config must contain at least one host')
    for (const [j, h] of ((server.hosts ?? []) as string[]).entries()) {
      const [namespace, name] = h.includes('/') ? [h.slice(0, h.indexOf('/')), h.slice(h.indexOf('/') + 1)] : ['*', h]
      p.check(
        ['*', '.'].includes(namespace!) || LABEL.test(namespace!),
        `${at}.hosts[${j}]`,
        `invalid namespace value ${JSON.stringify(namespace)} in host`,
      )
      host(name!, `${at}.hosts[${j}]`, p)
    }
    if (!server.port) p.add(`${at}.port`, 'port is required')
    else {
      p.check(isPort(server.port.number), `${at}.port.number`, portMessage(server.port.number))
      p.check(
        PROTOCOLS.includes(String(server.port.protocol ?? '').toUpperCase()),
        `${at}.port.protocol`,
        `invalid protocol ${JSON.stringify(server.port.protocol ?? '')}, supported protocols are ${PROTOCOLS.join(', ')}`,
      )
      p.check(server.port.name, `${at}.port.name`, 'port name must be set')
      p.check(
        !names.has(server.port.name),
        `${at}.port.name`,
        `port names in servers must be unique: duplicate name ${server.port.name}`,
      )
      names.add(server.port.name)
    }
    serverTls(server, at, p)
  }
}

function serverTls(server: Json, at: string, p: Problems): void {
  const protocol = String(server.port?.protocol ?? '').toUpperCase()
  const tls: Json | undefined = server.tls
  const secure = protocol === 'HTTPS' || protocol === 'TLS'
  if (secure && !tls) return p.add(`${at}.tls`, 'server must have TLS settings for HTTPS/TLS protocols')
  if (!tls) return
  const {
    mode = 'PASSTHROUGH',
    credentialName,
    credentialNames,
    serverCertificate,
    privateKey,
    caCertificates,
    tlsCertificates,
  } = tls
  const given = credentialName || credentialNames?.length || tlsCertificates?.length
  if (!secure && protocol !== 'TCP') {
    if (tls.httpsRedirect !== true)
      p.check(
        !tls.mode || tls.mode === 'PASSTHROUGH',
        `${at}.tls`,
        `server cannot have TLS settings for plain text ${protocol} ports`,
      )
    return
  }
  p.check(!tls.httpsRedirect, `${at}.tls.httpsRedirect`, 'tls.httpsRedirect should only be used with http servers')
  if (['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'].includes(mode) && !given) {
    p.check(serverCertificate, `${at}.tls`, `${mode} TLS requires a server certificate: set credentialName`)
    p.check(!serverCertificate || privateKey, `${at}.tls.privateKey`, `${mode} TLS requires a private key`)
    if (mode !== 'SIMPLE')
      p.check(
        !serverCertificate || caCertificates,
        `${at}.tls.caCertificates`,
        `${mode} TLS requires a client CA bundle`,
      )
  }
  if (mode === 'ISTIO_MUTUAL')
    for (const [field, value] of Object.entries({ serverCertificate, privateKey, caCertificates, credentialName }))
      p.check(!value, `${at}.tls.${field}`, `ISTIO_MUTUAL TLS cannot have associated ${field}`)
}

const serviceEntry: Check = (spec, p) => {
  const { hosts = [], addresses = [], ports = [], resolution = 'NONE', endpoints = [], workloadSelector } = spec
  p.check(hosts.length > 0, 'spec.hosts', 'service entry must have at least one host')
  for (const [i, h] of (hosts as string[]).entries()) {
    p.check(h !== '*', `spec.hosts[${i}]`, `invalid host ${h}`)
    host(h, `spec.hosts[${i}]`, p)
  }
  for (const [i, a] of (addresses as string[]).entries())
    p.check(cidr(a), `spec.addresses[${i}]`, `invalid IP address or CIDR: ${a}`)
  const wide = (addresses as string[]).some((a) => a.includes('/') && !a.endsWith('/32'))
  p.check(
    !(wide && !['NONE', 'STATIC'].includes(resolution)),
    'spec.addresses',
    'CIDR addresses are allowed only for NONE/STATIC resolution types',
  )
  p.check(ports.length > 0, 'spec.ports', 'service entry must have at least one port')
  const [names, numbers] = [new Set<string>(), new Set<number>()]
  for (const [i, port] of (ports as Json[]).entries()) {
    p.check(isPort(port.number), `spec.ports[${i}].number`, portMessage(port.number))
    p.check(port.name, `spec.ports[${i}].name`, 'name is required')
    p.check(
      !names.has(port.name),
      `spec.ports[${i}].name`,
      `service entry port name ${JSON.stringify(port.name)} already defined`,
    )
    p.check(!numbers.has(port.number), `spec.ports[${i}].number`, `service entry port ${port.number} already defined`)
    if (port.targetPort !== undefined)
      p.check(isPort(port.targetPort), `spec.ports[${i}].targetPort`, portMessage(port.targetPort))
    names.add(port.name)
    numbers.add(port.number)
  }
  p.check(
    !(workloadSelector && endpoints.length > 0),
    'spec.workloadSelector',
    'only one of WorkloadSelector or Endpoints is allowed in Service Entry',
  )
  p.check(
    !(
      workloadSelector &&
      (hosts as string[]).some((h) => h.startsWith('*')) &&
      resolution !== 'NONE' &&
      resolution !== 'STATIC'
    ),
    'spec.workloadSelector',
    'workload selector may not be used with wildcard hosts',
  )
  if (resolution === 'NONE')
    p.check(endpoints.length === 0, 'spec.endpoints', 'no endpoints should be provided for resolution type none')
  if (resolution === 'STATIC')
    for (const [i, e] of (endpoints as Json[]).entries())
      p.check(
        IP.test(e.address ?? '') || String(e.address).startsWith('unix:/'),
        `spec.endpoints[${i}].address`,
        `endpoint address ${JSON.stringify(e.address ?? '')} is not a valid IP address`,
      )
  if (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN') {
    if (endpoints.length === 0)
      for (const [i, h] of (hosts as string[]).entries())
        p.check(
          !h.startsWith('*'),
          `spec.hosts[${i}]`,
          `hosts must be FQDN if no endpoints are provided for resolution mode ${resolution}`,
        )
    p.check(
      !(resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1),
      'spec.endpoints',
      `there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN`,
    )
  }
  for (const [i, e] of (endpoints as Json[]).entries())
    for (const name of Object.keys(e.ports ?? {}))
      p.check(
        names.has(name),
        `spec.endpoints[${i}].ports`,
        `endpoint port ${name} is not defined by the service entry`,
      )
  p.check(
    resolution !== 'DYNAMIC_DNS',
    'spec.resolution',
    "DYNAMIC_DNS is not supported; use DNS, or NONE with the host's own addresses",
  )
  exportTo(spec.exportTo, 'spec.exportTo', p)
}

const sidecar: Check = (spec, p) => {
  const { ingress = [], egress = [], outboundTrafficPolicy: policy } = spec
  p.check(
    ingress.length + egress.length > 0 || policy || spec.inboundConnectionPool,
    'spec',
    'sidecar: empty configuration provided',
  )
  const seen = new Set<number>()
  for (const [i, l] of (ingress as Json[]).entries()) {
    const at = `spec.ingress[${i}]`
    p.check(
      isPort(l.port?.number),
      `${at}.port`,
      l.port ? portMessage(l.port?.number) : 'sidecar: port is required for ingress listeners',
    )
    p.check(!seen.has(l.port?.number), `${at}.port`, `sidecar: ports on IP bound listeners must be unique`)
    seen.add(l.port?.number)
    const { defaultEndpoint: to } = l
    if (to)
      p.check(
        /^(127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):\d+$|^unix:\/\//.test(to),
        `${at}.defaultEndpoint`,
        `sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>, [::1]:port,[::]:port, unix:///filepath or unix://@abstract`,
      )
  }
  let catchAll = false
  for (const [i, l] of (egress as Json[]).entries()) {
    const at = `spec.egress[${i}]`
    if (!l.port) {
      p.check(!catchAll, at, 'sidecar: egress can have only one catch all listener')
      catchAll = true
    } else p.check(isPort(l.port.number), `${at}.port`, portMessage(l.port.number))
    p.check(l.hosts?.length > 0, `${at}.hosts`, 'sidecar: egress listener must contain at least one host')
    for (const [j, h] of ((l.hosts ?? []) as string[]).entries()) {
      const parts = h.split('/')
      p.check(
        parts.length === 2,
        `${at}.hosts[${j}]`,
        `short names (non FQDN) are not allowed: host must be of form namespace/dnsName, not ${JSON.stringify(h)}`,
      )
      if (parts.length === 2) {
        p.check(
          ['*', '.', '~'].includes(parts[0]!) || LABEL.test(parts[0]!),
          `${at}.hosts[${j}]`,
          `invalid namespace value ${JSON.stringify(parts[0])}`,
        )
        host(parts[1]!, `${at}.hosts[${j}]`, p)
      }
    }
  }
  if (policy?.egressProxy)
    p.check(
      policy.egressProxy.host && policy.egressProxy.port,
      'spec.outboundTrafficPolicy.egressProxy',
      'sidecar: egress_proxy must have a host and a port',
    )
}

const workloadEntry: Check = (spec, p) => {
  p.check(spec.address || spec.network, 'spec.address', 'address is required')
  for (const [name, n] of Object.entries(spec.ports ?? {})) p.check(isPort(n), `spec.ports[${name}]`, portMessage(n))
}

const workloadGroup: Check = (spec, p) => {
  if (!spec.template) return p.add('spec.template', 'template is required')
  const probe: Json | undefined = spec.probe
  if (probe)
    p.check(
      ['httpGet', 'tcpSocket', 'exec', 'grpc'].filter((k) => probe[k]).length === 1,
      'spec.probe',
      'exactly one of httpGet, tcpSocket, exec and grpc must be set',
    )
}

const envoyFilter: Check = (spec, p) => {
  for (const [i, patch] of ((spec.configPatches ?? []) as Json[]).entries()) {
    const at = `spec.configPatches[${i}]`
    p.check(patch.patch, `${at}.patch`, 'Envoy filter: missing patch')
    p.check(patch.applyTo && patch.applyTo !== 'INVALID', `${at}.applyTo`, 'Envoy filter: missing applyTo')
    p.check(
      !patch.patch || (patch.patch.operation && patch.patch.operation !== 'INVALID'),
      `${at}.patch.operation`,
      'Envoy filter: missing patch operation',
    )
    p.check(
      !patch.patch || patch.patch.operation === 'REMOVE' || patch.patch.value,
      `${at}.patch.value`,
      'Envoy filter: missing patch value for non-remove operation',
    )
  }
}

/** Kinds for which a selector and a targetRef may not stand together. */
const targeted: Check = (spec, p) => {
  p.check(
    !(spec.selector && (spec.targetRef || spec.targetRefs?.length)),
    'spec',
    'only one of targetRefs or workloadSelector can be set',
  )
}

const authorizationPolicy: Check = (spec, p) => {
  targeted(spec, p)
  for (const [i, rule] of ((spec.rules ?? []) as Json[]).entries()) {
    for (const [j, f] of ((rule.from ?? []) as Json[]).entries())
      p.check(
        f.source && Object.keys(f.source).length > 0,
        `spec.rules[${i}].from[${j}]`,
        `\`from.source\` must not be nil, found at rule ${i}`,
      )
    for (const [j, t] of ((rule.to ?? []) as Json[]).entries())
      p.check(
        t.operation && Object.keys(t.operation).length > 0,
        `spec.rules[${i}].to[${j}]`,
        `\`to.operation\` must not be nil, found at rule ${i}`,
      )
    for (const [j, c] of ((rule.when ?? []) as Json[]).entries()) {
      p.check(c.key, `spec.rules[${i}].when[${j}].key`, '`key` must not be empty')
      p.check(
        c.values?.length || c.notValues?.length,
        `spec.rules[${i}].when[${j}]`,
        'at least one of `values` or `notValues` must be set for key',
      )
    }
  }
  if (spec.action === 'CUSTOM') p.check(spec.provider?.name, 'spec.provider.name', '`provider.name` must not be empty')
}

const peerAuthentication: Check = (spec, p) => {
  const ports = Object.keys(spec.portLevelMtls ?? {})
  p.check(
    !(ports.length > 0 && !spec.selector),
    'spec.portLevelMtls',
    'mesh/namespace peer authentication cannot have port level mTLS',
  )
  for (const port of ports) p.check(isPort(Number(port)), 'spec.portLevelMtls', `invalid port ${port}`)
}

const requestAuthentication: Check = (spec, p) => {
  targeted(spec, p)
  for (const [i, r] of ((spec.jwtRules ?? []) as Json[]).entries()) {
    p.check(r.issuer, `spec.jwtRules[${i}].issuer`, 'issuer must be set')
    if (r.jwksUri)
      p.check(
        /^https?:\/\//.test(r.jwksUri),
        `spec.jwtRules[${i}].jwksUri`,
        `URI scheme of ${r.jwksUri} is not supported`,
      )
  }
}

const CHECKS: Readonly<Record<string, Check>> = {
  VirtualService: virtualService,
  DestinationRule: destinationRule,
  Gateway: gateway,
  ServiceEntry: serviceEntry,
  Sidecar: sidecar,
  WorkloadEntry: workloadEntry,
  WorkloadGroup: workloadGroup,
  EnvoyFilter: envoyFilter,
  AuthorizationPolicy: authorizationPolicy,
  PeerAuthentication: peerAuthentication,
  RequestAuthentication: requestAuthentication,
  Telemetry: targeted,
  WasmPlugin: targeted,
}
