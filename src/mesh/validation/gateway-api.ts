// What the Gateway API's own definitions refuse beyond the shape of fields: its rules of validation
// (kubernetes-sigs/gateway-api v1.5, config/crd), in their words. Pure.

import type { FieldError, Json } from '#api'
import { parseDuration } from '#base'
import { type Check, Problems } from './problems.ts'

/** Adds problems of one place. */
type Say = (ok: boolean, message: string) => void

const at =
  (p: Problems, path: string, type: 'object' | 'array' | 'string' = 'object'): Say =>
  (ok, message) =>
    p.check(ok, path, `Invalid value: "${type}": ${message}`)

const list = (value: unknown): Json[] => (Array.isArray(value) ? value : [])
const unique = (values: readonly unknown[]) => new Set(values).size === values.length

/** Which field of a filter each type has. */
const FILTER_FIELDS: Readonly<Record<string, string>> = {
  RequestHeaderModifier: 'requestHeaderModifier',
  ResponseHeaderModifier: 'responseHeaderModifier',
  RequestMirror: 'requestMirror',
  RequestRedirect: 'requestRedirect',
  URLRewrite: 'urlRewrite',
  ExtensionRef: 'extensionRef',
  CORS: 'cors',
  ExternalAuth: 'externalAuth',
}
/** Types of which a rule may have several. */
const REPEATED = ['RequestMirror', 'ExtensionRef', 'ExternalAuth']

function backend(ref: Json, path: string, p: Problems): void {
  const service = (ref.group ?? '') === '' && (ref.kind ?? 'Service') === 'Service'
  at(p, path)(!service || ref.port !== undefined, 'Must have port for Service reference')
}

function filters(all: Json[], path: string, p: Problems): void {
  const types = all.map((f) => f.type)
  const whole = at(p, path, 'array')
  whole(
    !(types.includes('RequestRedirect') && types.includes('URLRewrite')),
    'May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both',
  )
  for (const type of Object.keys(FILTER_FIELDS))
    if (!REPEATED.includes(type))
      whole(types.filter((t) => t === type).length <= 1, `${type} filter cannot be repeated`)
  for (const [i, f] of all.entries()) {
    const here = `${path}[${i}]`
    const say = at(p, here)
    for (const [type, field] of Object.entries(FILTER_FIELDS)) {
      say(f[field] === undefined || f.type === type, `filter.${field} must be nil if the filter.type is not ${type}`)
      say(f[field] !== undefined || f.type !== type, `filter.${field} must be specified for ${type} filter.type`)
    }
    const { requestMirror: mirror, cors, externalAuth: auth } = f
    if (mirror) {
      at(p, `${here}.requestMirror`)(
        mirror.percent === undefined || mirror.fraction === undefined,
        'Only one of percent or fraction may be specified in HTTPRequestMirrorFilter',
      )
      const { numerator = 0, denominator = 100 } = mirror.fraction ?? {}
      at(p, `${here}.requestMirror.fraction`)(
        numerator <= denominator,
        'numerator must be less than or equal to denominator',
      )
      if (mirror.backendRef) backend(mirror.backendRef, `${here}.requestMirror.backendRef`, p)
    }
    for (const field of ['requestRedirect', 'urlRewrite'])
      if (f[field]?.path) tagged(f[field].path, 'type', MODIFIERS, at(p, `${here}.${field}.path`))
    if (cors)
      for (const [field, name, others] of [
        ['allowOrigins', 'AllowOrigins', 'origins'],
        ['allowMethods', 'AllowMethods', 'methods'],
        ['allowHeaders', 'AllowHeaders', 'methods'],
      ] as const) {
        const values: unknown[] = list(cors[field])
        at(
          p,
          `${here}.cors.${field}`,
          'array',
        )(!values.includes('*') || values.length === 1, `${name} cannot contain '*' alongside other ${others}`)
      }
    if (auth) externalAuth(auth, `${here}.externalAuth`, p)
  }
}

/** A value whose tag says which of its fields it has: that one, and no other. */
function tagged(value: Json, tag: string, fields: Readonly<Record<string, string>>, say: Say): void {
  for (const [name, field] of Object.entries(fields)) {
    const has = value[field] !== undefined
    say(value[tag] !== name || has, `${field} must be specified when ${tag} is set to '${name}'`)
    say(!has || value[tag] === name, `${tag} must be '${name}' when ${field} is set`)
  }
}

const MODIFIERS = { ReplaceFullPath: 'replaceFullPath', ReplacePrefixMatch: 'replacePrefixMatch' }
const PROTOCOLS = { GRPC: 'grpc', HTTP: 'http' }
const PATH = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$/

function externalAuth(auth: Json, path: string, p: Problems): void {
  p.check(auth.backendRef !== undefined, `${path}.backendRef`, 'Required value')
  if (auth.protocol === undefined) p.add(`${path}.protocol`, 'Required value')
  else
    p.check(
      Object.hasOwn(PROTOCOLS, String(auth.protocol)),
      `${path}.protocol`,
      `Unsupported value: ${JSON.stringify(auth.protocol)}: supported values: "GRPC", "HTTP"`,
    )
  tagged(auth, 'protocol', PROTOCOLS, at(p, path))
  const to = auth.http?.path
  p.check(
    to === undefined || (PATH.test(to) && to.length <= 1024),
    `${path}.http.path`,
    `Invalid value: ${JSON.stringify(to)}: spec.rules.filters.externalAuth.http.path in body should match '${PATH.source}'`,
  )
  if (auth.backendRef) backend(auth.backendRef, `${path}.backendRef`, p)
}

const NOT_IN_PATHS = ['//', '/./', '/../', '%2f', '%2F', '#']

function pathMatch({ type = 'PathPrefix', value = '/' }: Json, path: string, p: Problems): void {
  if (type === 'RegularExpression') return
  const say = at(p, path)
  const which = "['Exact', 'PathPrefix']"
  say(value.startsWith('/'), `value must be an absolute path and start with '/' when type one of ${which}`)
  for (const bad of NOT_IN_PATHS) say(!value.includes(bad), `must not contain '${bad}' when type one of ${which}`)
  for (const bad of ['/..', '/.']) say(!value.endsWith(bad), `must not end with '${bad}' when type one of ${which}`)
  say(PATH.test(value), `must only contain valid characters (matching ${PATH.source}) for types ${which}`)
}

function sessionPersistence(session: Json, path: string, p: Problems): void {
  const say = at(p, path)
  const { type = 'Cookie', cookie, header } = session
  say(
    cookie?.lifetimeType !== 'Permanent' || session.absoluteTimeout !== undefined,
    'AbsoluteTimeout must be specified when cookie lifetimeType is Permanent',
  )
  say(!cookie || type === 'Cookie', 'cookie must be nil if type is not Cookie')
  say(!header || type === 'Header', 'header must be nil if type is not Header')
}

/** Rules of HTTP and gRPC routes. */
function rules(spec: Json, p: Problems): void {
  const all = list(spec.rules)
  const whole = at(p, 'spec.rules', 'array')
  whole(
    all.reduce((sum, rule) => sum + list(rule.matches).length, 0) <= 128,
    'While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less than 128',
  )
  whole(unique(all.map((r) => r.name).filter(Boolean)), 'Rule name must be unique within the route')
  for (const [i, rule] of all.entries()) {
    const path = `spec.rules[${i}]`
    const say = at(p, path)
    const backends = list(rule.backendRefs)
    const own = list(rule.filters)
    filters(own, `${path}.filters`, p)
    say(
      backends.length === 0 || !own.some((f) => f.requestRedirect),
      'RequestRedirect filter must not be used together with backendRefs',
    )
    const matches = list(rule.matches)
    const onePrefix = matches.length === 1 && (matches[0]?.path?.type ?? 'PathPrefix') === 'PathPrefix'
    for (const [name, field] of [
      ['RequestRedirect', 'requestRedirect'],
      ['URLRewrite', 'urlRewrite'],
    ] as const) {
      const replaces = (f: Json) => f[field]?.path?.replacePrefixMatch !== undefined
      const message = `using ${name} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified`
      say(onePrefix || !own.some(replaces), `When ${message}`)
      say(
        onePrefix || !backends.some((b) => list(b.filters).some(replaces)),
        `Within backendRefs, ${name === 'URLRewrite' ? 'When' : 'when'} ${message}`,
      )
    }
    for (const [j, b] of backends.entries()) {
      backend(b, `${path}.backendRefs[${j}]`, p)
      filters(list(b.filters), `${path}.backendRefs[${j}].filters`, p)
    }
    const { request, backendRequest } = rule.timeouts ?? {}
    const [most = 0, each = 0] = [parseDuration(request), parseDuration(backendRequest)]
    at(p, `${path}.timeouts`)(
      !request || !backendRequest || most === 0 || each <= most,
      'backendRequest timeout cannot be longer than request timeout',
    )
    if (rule.sessionPersistence) sessionPersistence(rule.sessionPersistence, `${path}.sessionPersistence`, p)
    for (const [j, match] of matches.entries()) {
      if (match.path) pathMatch(match.path, `${path}.matches[${j}].path`, p)
      if (typeof match.method === 'object') grpcMethod(match.method, `${path}.matches[${j}].method`, p)
    }
  }
}

function grpcMethod({ type = 'Exact', service, method }: Json, path: string, p: Problems): void {
  const say = at(p, path)
  say(service !== undefined || method !== undefined, "One or both of 'service' or 'method' must be specified")
  if (type !== 'Exact') return
  say(
    service === undefined || /^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i.test(service),
    'service must only contain valid characters (matching ^(?i)\\.?[a-z_][a-z_0-9]*(\\.[a-z_][a-z_0-9]*)*$)',
  )
  say(
    method === undefined || /^[A-Za-z_][A-Za-z_0-9]*$/.test(method),
    'method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)',
  )
}

/** References to one object twice are told apart by section or port. */
function parents(spec: Json, p: Problems): void {
  const refs = list(spec.parentRefs)
  const say = at(p, 'spec.parentRefs', 'array')
  const same = Map.groupBy(refs, (r) =>
    JSON.stringify([r.group ?? 'gateway.networking.k8s.io', r.kind ?? 'Gateway', r.namespace ?? '', r.name]),
  )
  for (const of of same.values()) {
    if (of.length < 2) continue
    const section = of.map((r) => r.sectionName ?? '')
    const port = of.map((r) => r.port ?? 0)
    const told = (values: readonly unknown[]) => values.every(Boolean) || !values.some(Boolean)
    if (!(section.some(Boolean) || port.some(Boolean)) || !told(section) || !told(port))
      say(
        false,
        'sectionName or port must be specified when parentRefs includes 2 or more references to the same parent',
      )
    else
      say(
        unique(of.map((r) => `${r.sectionName ?? ''}/${r.port ?? ''}`)),
        'sectionName or port must be unique when parentRefs includes 2 or more references to the same parent',
      )
  }
}

const IP = /^(\d{1,3}\.){3}\d{1,3}$|:/

const route: Check = (spec, p) => {
  parents(spec, p)
  rules(spec, p)
}

const l4: Check = (spec, p) => {
  parents(spec, p)
  at(
    p,
    'spec.hostnames',
    'array',
  )(!list(spec.hostnames).some((h) => IP.test(String(h))), 'Hostnames cannot contain an IP')
  for (const [i, rule] of list(spec.rules).entries())
    for (const [j, b] of list(rule.backendRefs).entries()) backend(b, `spec.rules[${i}].backendRefs[${j}]`, p)
}

const HOSTNAME = /^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const KEY =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$/

/** Listeners of a Gateway or a ListenerSet. */
const checkListeners: Check = (spec, p) => {
  const listeners = list(spec.listeners)
  const say = at(p, 'spec.listeners', 'array')
  const each = (ok: (l: Json) => boolean, message: string) => say(listeners.every(ok), message)
  each(
    (l) => !['HTTP', 'TCP', 'UDP'].includes(l.protocol) || !l.tls,
    "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
  )
  each(
    (l) => l.protocol !== 'HTTPS' || (l.tls?.mode ?? 'Terminate') === 'Terminate',
    'tls mode must be Terminate for protocol HTTPS',
  )
  each((l) => l.protocol !== 'TLS' || l.tls !== undefined, 'tls mode must be set for protocol TLS')
  each(
    (l) => !['TCP', 'UDP'].includes(l.protocol) || !l.hostname,
    "hostname must not be specified for protocols ['TCP', 'UDP']",
  )
  say(
    unique(listeners.map((l) => JSON.stringify([l.port, l.protocol, l.hostname ?? null]))),
    'Combination of port, protocol and hostname must be unique for each listener',
  )
  for (const [i, { tls }] of listeners.entries())
    at(p, `spec.listeners[${i}].tls`)(
      !tls ||
        (tls.mode ?? 'Terminate') !== 'Terminate' ||
        list(tls.certificateRefs).length > 0 ||
        Object.keys(tls.options ?? {}).length > 0,
      'certificateRefs or options must be specified when mode is Terminate',
    )
}

const gateway: Check = (spec, p) => {
  checkListeners(spec, p)
  const addresses = list(spec.addresses)
  for (const type of ['IPAddress', 'Hostname'])
    at(
      p,
      'spec.addresses',
      'array',
    )(
      unique(addresses.filter((a) => (a.type ?? 'IPAddress') === type && a.value).map((a) => a.value)),
      `${type} values must be unique`,
    )
  for (const [i, a] of addresses.entries())
    at(p, `spec.addresses[${i}]`)(
      a.type !== 'Hostname' || a.value === undefined || HOSTNAME.test(a.value),
      `Hostname value must be empty or contain only valid characters (matching ${HOSTNAME.source})`,
    )
  for (const [field, what] of [
    ['labels', 'Label'],
    ['annotations', 'Annotation'],
  ] as const)
    at(p, `spec.infrastructure.${field}`)(
      Object.keys(spec.infrastructure?.[field] ?? {}).every((key) => KEY.test(key)),
      `${what} keys must be in the form of an optional DNS subdomain prefix followed by a required name segment of up to 63 characters.`,
    )
}

const backendTlsPolicy: Check = (spec, p) => {
  const { caCertificateRefs, wellKnownCACertificates: known, subjectAltNames } = spec.validation ?? {}
  const say = at(p, 'spec.validation')
  const own = list(caCertificateRefs).length > 0
  say(!(own && known), 'must not contain both CACertificateRefs and WellKnownCACertificates')
  say(own || Boolean(known), 'must specify either CACertificateRefs or WellKnownCACertificates')
  for (const [i, name] of list(subjectAltNames).entries()) {
    const here = at(p, `spec.validation.subjectAltNames[${i}]`)
    for (const [type, field, what] of [
      ['Hostname', 'hostname', 'Hostname'],
      ['URI', 'uri', 'URI'],
    ] as const) {
      here(
        name.type !== type || Boolean(name[field]),
        `SubjectAltName element must contain ${what}, if Type is set to ${type}`,
      )
      here(
        name.type === type || !name[field],
        `SubjectAltName element must not contain ${what}, if Type is not set to ${type}`,
      )
    }
  }
  const targets = Map.groupBy(list(spec.targetRefs), (r) => JSON.stringify([r.group, r.kind, r.name]))
  for (const of of targets.values()) {
    if (of.length < 2) continue
    const sections = of.map((r) => r.sectionName ?? '')
    const all = at(p, 'spec.targetRefs', 'array')
    if (sections.some(Boolean) !== sections.every(Boolean))
      all(false, 'sectionName must be specified when targetRefs includes 2 or more references to the same target')
    else
      all(
        unique(sections),
        'sectionName must be unique when targetRefs includes 2 or more references to the same target',
      )
  }
}

const CHECKS: Readonly<Record<string, Check>> = {
  Gateway: gateway,
  ListenerSet: checkListeners,
  HTTPRoute: route,
  GRPCRoute: route,
  TLSRoute: l4,
  TCPRoute: l4,
  UDPRoute: l4,
  BackendTLSPolicy: backendTlsPolicy,
}

/** Problems of the spec of an object of the Gateway API, which has the shape of its kind; `old` is what it was. */
export function validateGatewayApi(kind: string, spec: Json, old?: Json): FieldError[] {
  const problems = new Problems()
  CHECKS[kind]?.(spec, problems)
  if (kind === 'GatewayClass' && old && old.controllerName !== spec.controllerName)
    at(problems, 'spec.controllerName', 'string')(false, 'field is immutable')
  return problems.found
}
