// Route tables out of xDS.

import { fromDuration, RequireTls, unpackAny } from '#api/xds'
import { type Message, utf8 } from '#wire'
import { decodeFilterSettings } from '../filters/registry.ts'
import { compileFormat } from '../telemetry/formatter.ts'
import { ANY, compileHeader, compileRegex, compileString, dataOf, fractionOf, re2, refuse } from './matchers.ts'
import type {
  HashPolicy,
  HeaderEdits,
  MirrorPolicy,
  Redirect,
  RetryPolicy,
  Rewrite,
  Route,
  RouteTable,
  StringMatch,
  VirtualHost,
  WeightedCluster,
} from './model.ts'

function decodePath(match: Message, what: string): StringMatch {
  const fold = match.case_sensitive?.value === false ? (s: string) => s.toLowerCase() : (s: string) => s
  if (match.connect_matcher) return ANY
  if (match.path !== undefined) {
    const wanted = fold(match.path)
    return { test: (v) => fold(v) === wanted }
  }
  if (match.safe_regex) return compileRegex(match.safe_regex.regex, what)
  if (match.path_separated_prefix) {
    const base = fold(match.path_separated_prefix)
    return { test: (v) => fold(v) === base || fold(v).startsWith(`${base}/`) }
  }
  const prefix = fold(match.prefix ?? refuse(what, 'has no path specifier'))
  return prefix === '/' || prefix === '' ? ANY : { test: (v) => fold(v).startsWith(prefix) }
}

const ACTIONS = ['append', 'addIfAbsent', 'set', 'setIfPresent'] as const

/** Edits out of a message's request_ or response_ fields; undefined when there are none. */
function decodeEdits(m: Message, side: 'request' | 'response', what: string): HeaderEdits | undefined {
  const options = (m[`${side}_headers_to_add`] ?? []) as Message[]
  const remove = (m[`${side}_headers_to_remove`] ?? []) as string[]
  if (options.length === 0 && remove.length === 0) return undefined
  return {
    remove: remove.map((n) => n.toLowerCase()),
    edits: options.map((o) => {
      const name = String(o.header?.key ?? '').toLowerCase()
      if (!name) refuse(what, 'a header to add has no name')
      // The older field, when it is there, decides.
      const action = o.append ? (o.append.value === false ? 'set' : 'append') : ACTIONS[o.append_action ?? 0]
      const text = o.header?.raw_value
        ? Buffer.from(o.header.raw_value).toString('latin1')
        : utf8(o.header?.value ?? '')
      return { name, value: compileFormat(text), action: action ?? 'append', keepEmpty: o.keep_empty_value ?? false }
    }),
  }
}

/** The edits a message has, as properties to spread. */
function editsOf(m: Message, what: string): { request?: HeaderEdits; response?: HeaderEdits } {
  const request = decodeEdits(m, 'request', what)
  const response = decodeEdits(m, 'response', what)
  return { ...(request ? { request } : {}), ...(response ? { response } : {}) }
}

/** Replaces the matched part of a path; the query stays. */
function decodeRewrite(action: Message | undefined, match: Message, what: string): Rewrite | undefined {
  if (!action) return undefined
  const { host_rewrite_literal: host, host_rewrite_header: hostField, auto_host_rewrite: auto } = action
  const path = pathRewrite(action, match, what)
  if (!host && !hostField && !auto?.value && !path) return undefined
  return {
    ...(host ? { host } : {}),
    ...(hostField ? { hostField: String(hostField).toLowerCase() } : {}),
    ...(auto?.value ? { autoHost: true } : {}),
    ...(path ? { path } : {}),
  }
}

function pathRewrite(action: Message, match: Message, what: string): ((path: string) => string) | undefined {
  const { prefix_rewrite: prefix, regex_rewrite: regex, path_redirect: whole } = action
  if (whole) return () => whole
  const matched: string = match.path ?? match.path_separated_prefix ?? match.prefix ?? ''
  if (prefix) return (p) => absolute(prefix + p.slice(match.safe_regex ? p.length : matched.length))
  if (!regex) return undefined
  const pattern = re2(regex.pattern?.regex ?? '', what)
  return (p) => pattern.replaceAll(p, String(regex.substitution ?? ''))
}

const absolute = (path: string) => (path.startsWith('/') ? path : `/${path}`)

const REDIRECT_STATUS = [301, 302, 303, 307, 308]

function decodeRedirect(m: Message | undefined, match: Message, what: string): Redirect | undefined {
  if (!m) return undefined
  const path = pathRewrite(m, match, what)
  return {
    status: REDIRECT_STATUS[m.response_code ?? 0] ?? 301,
    ...(m.https_redirect ? { scheme: 'https' } : m.scheme_redirect ? { scheme: m.scheme_redirect } : {}),
    ...(m.host_redirect ? { host: m.host_redirect } : {}),
    ...(m.port_redirect ? { port: m.port_redirect } : {}),
    stripQuery: m.strip_query ?? false,
    ...(path ? { path } : {}),
  }
}

/** What each word of retry_on may be; others are refused by name. */
const RETRY_ON = new Set(
  '5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream retriable-status-codes retriable-headers http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable'.split(
    ' ',
  ),
)

function decodeRetry(m: Message | undefined, what: string): RetryPolicy | undefined {
  if (!m) return undefined
  const on = new Set<string>()
  const statuses = new Set<number>((m.retriable_status_codes ?? []) as number[])
  for (const word of String(m.retry_on ?? '').split(',')) {
    const name = word.trim()
    // Istio lets statuses stand among the words.
    if (/^\d{3}$/.test(name)) statuses.add(Number(name)).size && on.add('retriable-status-codes')
    else if (RETRY_ON.has(name)) on.add(name)
    else if (name) refuse(what, `retry_on ${name} is not known`)
  }
  const backoff = m.retry_back_off ?? {}
  const priority = m.retry_priority
  if (priority && !String(priority.name).includes('previous_priorities'))
    refuse(what, `retry_priority ${priority.name} is not supported`)
  const base = fromDuration(backoff.base_interval) ?? 25
  return {
    on,
    statuses,
    headers: ((m.retriable_headers ?? []) as Message[]).map((h) => compileHeader(h, `${what}: retriable_headers`)),
    retries: m.num_retries ? (m.num_retries.value ?? 0) : 1,
    perTryTimeout: fromDuration(m.per_try_timeout) ?? 0,
    perTryIdle: fromDuration(m.per_try_idle_timeout) ?? 0,
    hostAttempts: m.host_selection_retry_max_attempts ?? 1,
    avoidPrevious: ((m.retry_host_predicate ?? []) as Message[]).some((p) => String(p.name).includes('previous_hosts')),
    prioritiesAfter: priority ? (unpackAny(priority.typed_config ?? {}).value.update_frequency ?? 1) : 0,
    base,
    max: fromDuration(backoff.max_interval) ?? base * 10,
  }
}

function decodeMirror(m: Message): MirrorPolicy {
  return {
    cluster: m.cluster ?? '',
    fraction: m.runtime_fraction ? fractionOf(m.runtime_fraction.default_value) : 1,
    shadowSuffix: !(m.disable_shadow_host_suffix_append ?? false),
  }
}

function decodeHash(m: Message, what: string): HashPolicy {
  const terminal: boolean = m.terminal ?? false
  if (m.header) return { kind: 'header', name: String(m.header.header_name).toLowerCase(), terminal }
  if (m.query_parameter) return { kind: 'query', name: m.query_parameter.name, terminal }
  if (m.cookie)
    return {
      kind: 'cookie',
      name: m.cookie.name,
      path: m.cookie.path ?? '',
      ttl: fromDuration(m.cookie.ttl),
      attributes: ((m.cookie.attributes ?? []) as Message[])
        .map((a) => (a.value ? `; ${a.name}=${a.value}` : `; ${a.name}`))
        .join(''),
      terminal,
    }
  if (m.connection_properties?.source_ip) return { kind: 'sourceIp', terminal }
  return refuse(what, 'a hash policy is not supported')
}

/** What a route takes over from its host and its table. */
interface Outer {
  readonly request: readonly HeaderEdits[]
  readonly response: readonly HeaderEdits[]
  readonly perFilter: ReadonlyMap<string, unknown>
  readonly retry: RetryPolicy | undefined
  readonly limits: readonly Message[]
  readonly attemptCount: boolean
  readonly attemptCountInResponse: boolean
}

function perFilterOf(m: Message, outer: ReadonlyMap<string, unknown>, what: string): ReadonlyMap<string, unknown> {
  const own = Object.entries((m.typed_per_filter_config ?? {}) as Record<string, Message>)
  if (own.length === 0) return outer
  return new Map([...outer, ...own.map(([name, any]) => [name, decodeFilterSettings(any, what)] as const)])
}

const own = (edits: HeaderEdits | undefined): readonly HeaderEdits[] => (edits ? [edits] : [])

function decodeRoute(m: Message, outer: Outer, what: string): Route {
  const action = m.route
  const match = m.match ?? {}
  if (!action && !m.direct_response && !m.redirect && !m.non_forwarding_action)
    refuse(what, 'its action is not supported')
  const perFilter = perFilterOf(m, outer.perFilter, what)
  const clusters = action ? clustersOf(action, what) : []
  const edits = editsOf(m, what)
  const total = action?.weighted_clusters?.total_weight?.value
  const mirrors = [
    ...(action?.request_mirror_policies ?? []),
    ...(action?.request_mirror_policy ? [action.request_mirror_policy] : []),
  ]
  const max = action?.max_stream_duration
  const grpcMax = fromDuration(max?.grpc_timeout_header_max) ?? fromDuration(action?.max_grpc_timeout)
  return {
    name: m.name ?? '',
    path: decodePath(match, `${what}.match`),
    connect: match.connect_matcher !== undefined,
    grpc: match.grpc !== undefined,
    headers: ((match.headers ?? []) as Message[]).map((h) => compileHeader(h, `${what}.match`)),
    query: ((match.query_parameters ?? []) as Message[]).map((q) => ({
      name: q.name,
      match: q.string_match ? compileString(q.string_match, `${what}.match.query_parameters[${q.name}]`) : undefined,
    })),
    fraction: match.runtime_fraction ? fractionOf(match.runtime_fraction.default_value) : 1,
    clusters,
    clusterField: String(action?.cluster_header ?? '').toLowerCase(),
    totalWeight: total ?? clusters.reduce((n, c) => n + c.weight, 0),
    notFoundStatus:
      action?.cluster_not_found_response_code === 1 ? 404 : action?.cluster_not_found_response_code === 2 ? 500 : 503,
    directStatus: m.direct_response?.status ?? (m.non_forwarding_action ? 404 : 0),
    directBody: dataOf(m.direct_response?.body),
    redirect: decodeRedirect(m.redirect, match, what),
    rewrite: decodeRewrite(action, match, `${what}.route`),
    tellsHost: action?.append_x_forwarded_host ?? false,
    request: [...own(edits.request), ...outer.request],
    response: [...own(edits.response), ...outer.response],
    timeout: fromDuration(action?.timeout) ?? 15_000,
    idleTimeout: fromDuration(action?.idle_timeout),
    maxStream: fromDuration(max?.max_stream_duration) ?? 0,
    grpcTimeoutMax: grpcMax,
    retry: decodeRetry(action?.retry_policy, `${what}.retry_policy`) ?? outer.retry,
    mirrors: mirrors.map(decodeMirror),
    hash: ((action?.hash_policy ?? []) as Message[]).map((h) => decodeHash(h, what)),
    limits: [
      ...((action?.rate_limits ?? []) as Message[]),
      ...(action?.include_vh_rate_limits?.value || !action?.rate_limits?.length ? outer.limits : []),
    ].map((l) => ({ stage: l.stage?.value ?? 0, actions: l.actions ?? [] })),
    perFilter,
    decorator: m.decorator?.operation ?? '',
    attemptCount: outer.attemptCount,
    attemptCountInResponse: outer.attemptCountInResponse,
    upgrades: new Map(
      ((action?.upgrade_configs ?? []) as Message[]).map((u) => [
        String(u.upgrade_type).toLowerCase(),
        u.enabled?.value ?? true,
      ]),
    ),
  }
}

function clustersOf(action: Message, what: string): WeightedCluster[] {
  if (action.cluster_header) return []
  if (action.cluster) return [{ name: action.cluster, weight: 1 }]
  const weighted = ((action.weighted_clusters?.clusters ?? []) as Message[]).map((c) => ({
    name: c.name,
    weight: c.weight?.value ?? 0,
    ...(c.host_rewrite_literal ? { host: c.host_rewrite_literal } : {}),
    ...editsOf(c, what),
  }))
  return weighted.length > 0 ? weighted : refuse(what, 'names no cluster')
}

/** envoy.config.route.v3.RouteConfiguration. Fails with BadResource. */
export function decodeRoutes(m: Message): RouteTable {
  const exact = new Map<string, VirtualHost>()
  const suffixes: { suffix: string; host: VirtualHost }[] = []
  const prefixes: { prefix: string; host: VirtualHost }[] = []
  let any: VirtualHost | undefined
  const table = editsOf(m, `routes ${m.name}`)
  const tablePerFilter = perFilterOf(m, new Map(), `routes ${m.name}`)
  for (const h of (m.virtual_hosts ?? []) as Message[]) {
    const what = `routes ${m.name}, host ${h.name}`
    const edits = editsOf(h, what)
    const outer: Outer = {
      request: [...own(edits.request), ...own(table.request)],
      response: [...own(edits.response), ...own(table.response)],
      perFilter: perFilterOf(h, tablePerFilter, what),
      retry: decodeRetry(h.retry_policy, `${what}.retry_policy`),
      limits: h.rate_limits ?? [],
      attemptCount: h.include_request_attempt_count ?? false,
      attemptCountInResponse: h.include_attempt_count_in_response ?? false,
    }
    const host: VirtualHost = {
      name: h.name,
      requireTls: h.require_tls === RequireTls.all,
      routes: ((h.routes ?? []) as Message[]).map((r, i) => decodeRoute(r, outer, `${what}, route ${i}`)),
    }
    for (const domain of (h.domains ?? []) as string[]) {
      const name = domain.toLowerCase()
      if (name === '*') any ??= host
      else if (name.startsWith('*')) suffixes.push({ suffix: name.slice(1), host })
      else if (name.endsWith('*')) prefixes.push({ prefix: name.slice(0, -1), host })
      else if (exact.has(name)) refuse(what, `domain ${domain} stands in two hosts`)
      else exact.set(name, host)
    }
  }
  suffixes.sort((a, b) => b.suffix.length - a.suffix.length)
  prefixes.sort((a, b) => b.prefix.length - a.prefix.length)
  return {
    name: m.name,
    exact,
    suffixes,
    prefixes,
    any,
    ignorePort: m.ignore_port_in_host_matching ?? false,
    onDemand: m.vhds !== undefined,
  }
}
