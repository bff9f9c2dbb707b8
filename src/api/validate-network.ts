// Validation of Services, their endpoints, Ingresses and NetworkPolicies.

import { isIPv4, isIPv6 } from 'node:net'
import {
  cidrBlock,
  given,
  immutable,
  ipAddress,
  label,
  oneOf,
  portNumber,
  portNumberOrName,
  selectorProblems,
} from './checks.ts'
import { checkLabels, checkSubdomain } from './names.ts'
import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']
const PROTOCOLS = ['SCTP', 'TCP', 'UDP']

export function service(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  problems.push(...oneOf(spec.type, 'spec.type', TYPES))
  const external = spec.type === 'NodePort' || spec.type === 'LoadBalancer'
  if (spec.type === 'ExternalName') {
    if (!spec.externalName) problems.push(field.required('spec.externalName'))
    else
      for (const p of checkSubdomain(String(spec.externalName).replace(/\.$/, '')))
        problems.push(field.invalid('spec.externalName', spec.externalName, p))
  } else if (!spec.ports?.length && spec.clusterIP !== 'None') problems.push(field.required('spec.ports'))
  if (external && spec.clusterIP === 'None')
    problems.push(field.invalid('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`))
  else if (spec.clusterIP && spec.clusterIP !== 'None')
    problems.push(...ipAddress(spec.clusterIP, 'spec.clusterIPs[0]'))
  problems.push(...servicePorts(spec, external))
  problems.push(...checkLabels(spec.selector, 'spec.selector'))
  problems.push(...oneOf(spec.sessionAffinity, 'spec.sessionAffinity', ['ClientIP', 'None']))
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds
  if (seconds !== undefined && !(seconds > 0 && seconds <= 86400))
    problems.push(
      field.invalid(
        'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
        seconds,
        'must be greater than 0 and less than 86400',
      ),
    )
  for (const [i, ip] of ((spec.externalIPs ?? []) as unknown[]).entries())
    problems.push(...ipAddress(ip, `spec.externalIPs[${i}]`))
  for (const [i, range] of ((spec.loadBalancerSourceRanges ?? []) as unknown[]).entries())
    problems.push(...cidrBlock(String(range).trim(), `spec.loadBalancerSourceRanges[${i}]`))
  if (spec.loadBalancerSourceRanges?.length && spec.type !== 'LoadBalancer')
    problems.push(field.forbidden('spec.loadBalancerSourceRanges', "may only be used when `type` is 'LoadBalancer'"))
  if (spec.loadBalancerIP) problems.push(...ipAddress(spec.loadBalancerIP, 'spec.loadBalancerIP'))
  problems.push(...oneOf(spec.externalTrafficPolicy, 'spec.externalTrafficPolicy', ['Cluster', 'Local']))
  if (spec.externalTrafficPolicy && !external && !spec.externalIPs?.length)
    problems.push(
      field.invalid(
        'spec.externalTrafficPolicy',
        spec.externalTrafficPolicy,
        'may only be set for externally-accessible services',
      ),
    )
  problems.push(...oneOf(spec.internalTrafficPolicy, 'spec.internalTrafficPolicy', ['Cluster', 'Local']))
  problems.push(
    ...oneOf(spec.trafficDistribution, 'spec.trafficDistribution', ['PreferClose', 'PreferSameNode', 'PreferSameZone']),
  )
  problems.push(
    ...oneOf(spec.ipFamilyPolicy, 'spec.ipFamilyPolicy', ['SingleStack', 'PreferDualStack', 'RequireDualStack']),
  )
  if (spec.loadBalancerClass && spec.type !== 'LoadBalancer')
    problems.push(field.forbidden('spec.loadBalancerClass', "may only be used when `type` is 'LoadBalancer'"))
  if (
    old?.spec?.clusterIP &&
    old.spec.type !== 'ExternalName' &&
    spec.type !== 'ExternalName' &&
    spec.clusterIP !== old.spec.clusterIP
  )
    problems.push(
      field.invalid('spec.clusterIPs[0]', spec.clusterIP ? [spec.clusterIP] : null, 'may not change once set'),
    )
  return problems
}

function servicePorts(spec: Json, external: boolean): FieldError[] {
  const problems: FieldError[] = []
  const names = new Set<string>()
  const seen = new Set<string>()
  const nodePorts = new Set<string>()
  for (const [i, p] of ((spec.ports ?? []) as Json[]).entries()) {
    const at = `spec.ports[${i}]`
    if ((spec.ports as Json[]).length > 1 && !p.name) problems.push(field.required(`${at}.name`))
    if (p.name) {
      problems.push(...label(p.name, `${at}.name`))
      if (names.has(p.name)) problems.push(field.duplicate(`${at}.name`, p.name))
      names.add(p.name)
    }
    problems.push(...portNumber(p.port, `${at}.port`))
    problems.push(...oneOf(p.protocol, `${at}.protocol`, PROTOCOLS, true))
    if (p.targetPort !== undefined) problems.push(...portNumberOrName(p.targetPort, `${at}.targetPort`))
    if (p.nodePort && !external)
      problems.push(field.forbidden(`${at}.nodePort`, "may not be used when `type` is 'ClusterIP'"))
    const key = `${p.protocol}/${p.port}`
    if (seen.has(key)) problems.push(field.duplicate(at, { protocol: p.protocol, port: p.port }))
    seen.add(key)
    if (!p.nodePort) continue
    const node = `${p.protocol}/${p.nodePort}`
    if (nodePorts.has(node)) problems.push(field.duplicate(`${at}.nodePort`, p.nodePort))
    nodePorts.add(node)
  }
  return problems
}

/** Addresses that may not be endpoints: they would lead back into the node. */
function endpointAddress(ip: unknown, at: string): FieldError[] {
  const wrong = ipAddress(ip, at)
  if (wrong.length > 0) return wrong
  const text = String(ip)
  const bad = (why: string) => [field.invalid(at, ip, why)]
  if (text === '0.0.0.0' || text === '::') return bad('may not be unspecified (0.0.0.0 or ::)')
  if (text.startsWith('127.') || text === '::1') return bad('may not be in the loopback range (127.0.0.0/8, ::1/128)')
  if (text.startsWith('169.254.') || /^fe[89ab]/i.test(text))
    return bad('may not be in the link-local range (169.254.0.0/16, fe80::/10)')
  if (/^(22[4-9]|23\d)\./.test(text))
    return bad('may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)')
  return []
}

export function endpoints(o: Json): FieldError[] {
  const problems: FieldError[] = []
  for (const [i, s] of ((o.subsets ?? []) as Json[]).entries()) {
    const at = `subsets[${i}]`
    if (!s.addresses?.length && !s.notReadyAddresses?.length)
      problems.push(field.required(at, 'must specify `addresses` or `notReadyAddresses`'))
    for (const list of ['addresses', 'notReadyAddresses'])
      for (const [j, a] of ((s[list] ?? []) as Json[]).entries())
        problems.push(...endpointAddress(a.ip ?? '', `${at}.${list}[${j}].ip`))
    for (const [j, p] of ((s.ports ?? []) as Json[]).entries()) {
      if (s.ports.length > 1 && !p.name) problems.push(field.required(`${at}.ports[${j}].name`))
      if (p.name) problems.push(...label(p.name, `${at}.ports[${j}].name`))
      problems.push(...portNumber(p.port, `${at}.ports[${j}].port`))
      problems.push(...oneOf(p.protocol, `${at}.ports[${j}].protocol`, PROTOCOLS, true))
    }
  }
  return problems
}

export function endpointSlice(o: Json, old?: Json): FieldError[] {
  const problems = oneOf(o.addressType, 'addressType', ['FQDN', 'IPv4', 'IPv6'], true)
  if (old) problems.push(...immutable(o.addressType, old.addressType, 'addressType'))
  const list: Json[] = o.endpoints ?? []
  if (list.length > 1000)
    problems.push({
      path: 'endpoints',
      reason: 'FieldValueTooMany',
      message: `Too many: ${list.length}: must have at most 1000 items`,
    })
  for (const [i, e] of list.entries()) {
    const at = `endpoints[${i}].addresses`
    if (!e.addresses?.length) problems.push(field.required(at, 'must contain at least 1 address'))
    for (const [j, a] of ((e.addresses ?? []) as unknown[]).entries()) {
      if (o.addressType === 'IPv4' && !isIPv4(String(a)))
        problems.push(field.invalid(`${at}[${j}]`, a, 'must be an IPv4 address'))
      else if (o.addressType === 'IPv6' && !isIPv6(String(a)))
        problems.push(field.invalid(`${at}[${j}]`, a, 'must be an IPv6 address'))
      else if (o.addressType === 'FQDN') {
        for (const p of checkSubdomain(String(a))) problems.push(field.invalid(`${at}[${j}]`, a, p))
      } else problems.push(...endpointAddress(a, `${at}[${j}]`))
    }
  }
  const names = new Set<string>()
  for (const [i, p] of ((o.ports ?? []) as Json[]).entries()) {
    const name = p.name ?? ''
    if (name) problems.push(...label(name, `ports[${i}].name`))
    if (names.has(name)) problems.push(field.duplicate(`ports[${i}].name`, name))
    names.add(name)
    problems.push(...oneOf(p.protocol, `ports[${i}].protocol`, PROTOCOLS))
  }
  return problems
}

const PATH_TYPES = ['Exact', 'ImplementationSpecific', 'Prefix']

export function ingress(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  if (!spec.rules?.length && !spec.defaultBackend)
    problems.push(field.invalid('spec', spec.rules ?? null, 'either `defaultBackend` or `rules` must be specified'))
  if (spec.defaultBackend) problems.push(...backend(spec.defaultBackend, 'spec.defaultBackend'))
  for (const [i, t] of ((spec.tls ?? []) as Json[]).entries())
    for (const [j, h] of ((t.hosts ?? []) as string[]).entries())
      problems.push(...ingressHost(h, `spec.tls[${i}].hosts[${j}]`))
  for (const [i, r] of ((spec.rules ?? []) as Json[]).entries()) {
    if (r.host) problems.push(...ingressHost(r.host, `spec.rules[${i}].host`))
    const at = `spec.rules[${i}].http.paths`
    if (r.http && !r.http.paths?.length) problems.push(field.required(at))
    for (const [j, p] of ((r.http?.paths ?? []) as Json[]).entries()) {
      problems.push(
        ...(p.pathType === undefined
          ? [field.required(`${at}[${j}].pathType`, 'pathType must be specified')]
          : oneOf(p.pathType, `${at}[${j}].pathType`, PATH_TYPES)),
      )
      const path: string = p.path ?? ''
      if ((p.pathType === 'Exact' || p.pathType === 'Prefix' || path !== '') && !path.startsWith('/'))
        problems.push(field.invalid(`${at}[${j}].path`, path, 'must be an absolute path'))
      for (const bad of p.pathType === 'ImplementationSpecific' ? [] : ['//', '/./', '/../', '%2f', '%2F'])
        if (path.includes(bad)) problems.push(field.invalid(`${at}[${j}].path`, path, `must not contain '${bad}'`))
      problems.push(...backend(p.backend ?? {}, `${at}[${j}].backend`))
    }
  }
  return problems
}

function ingressHost(host: string, at: string): FieldError[] {
  if (isIPv4(host) || isIPv6(host)) return [field.invalid(at, host, 'must be a DNS name, not an IP address')]
  if (host.startsWith('*.')) {
    const rest = checkSubdomain(host.slice(2))
    return rest.length > 0
      ? [
          field.invalid(
            at,
            host,
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
          ),
        ]
      : []
  }
  return checkSubdomain(host).map((p) => field.invalid(at, host, p))
}

function backend(b: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  const kinds = given(b, ['service', 'resource'])
  if (kinds.length === 2) problems.push(field.invalid(at, '', 'cannot set both resource and service backends'))
  if (kinds.length === 0) problems.push(field.required(at, 'must specify either a service or a resource backend'))
  if (!b.service) return problems
  if (!b.service.name) problems.push(field.required(`${at}.service.name`))
  const { name, number } = b.service.port ?? {}
  if (name && number)
    problems.push(field.invalid(`${at}.service.port`, b.service.port, 'cannot set both port name & port number'))
  else if (name) problems.push(...portNumberOrName(name, `${at}.service.port.name`))
  else if (number) problems.push(...portNumber(number, `${at}.service.port.number`))
  else problems.push(field.required(`${at}.service.port`, 'port name or number is required'))
  return problems
}

export function ingressClass(o: Json, old?: Json): FieldError[] {
  const { controller } = o.spec ?? {}
  const problems = old ? immutable(controller, old.spec?.controller, 'spec.controller') : []
  if (!controller) problems.push(field.required('spec.controller'))
  else if (!String(controller).includes('/') || checkSubdomain(String(controller).split('/')[0]!).length > 0)
    problems.push(
      field.invalid('spec.controller', controller, 'must be a domain-prefixed path (such as "acme.io/foo")'),
    )
  return problems
}

export function networkPolicy(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = selectorProblems(spec.podSelector, 'spec.podSelector')
  for (const [direction, peers] of [
    ['ingress', 'from'],
    ['egress', 'to'],
  ] as const)
    for (const [i, rule] of ((spec[direction] ?? []) as Json[]).entries()) {
      const at = `spec.${direction}[${i}]`
      for (const [j, p] of ((rule.ports ?? []) as Json[]).entries()) {
        problems.push(...oneOf(p.protocol, `${at}.ports[${j}].protocol`, PROTOCOLS))
        if (p.port !== undefined) problems.push(...portNumberOrName(p.port, `${at}.ports[${j}].port`))
        if (p.endPort !== undefined && (typeof p.port !== 'number' || p.endPort < p.port))
          problems.push(
            field.invalid(`${at}.ports[${j}].endPort`, p.endPort, 'must be greater than or equal to `port`'),
          )
      }
      for (const [j, peer] of ((rule[peers] ?? []) as Json[]).entries()) {
        const path = `${at}.${peers}[${j}]`
        const kinds = given(peer, ['podSelector', 'namespaceSelector', 'ipBlock'])
        if (kinds.length === 0) problems.push(field.required(path, 'must specify a peer'))
        if (peer.ipBlock && kinds.length > 1)
          problems.push(field.forbidden(path, 'may not specify both ipBlock and another peer'))
        problems.push(...selectorProblems(peer.podSelector, `${path}.podSelector`))
        problems.push(...selectorProblems(peer.namespaceSelector, `${path}.namespaceSelector`))
        if (!peer.ipBlock) continue
        if (!peer.ipBlock.cidr) problems.push(field.required(`${path}.ipBlock.cidr`))
        else problems.push(...cidrBlock(peer.ipBlock.cidr, `${path}.ipBlock.cidr`))
        for (const [k, e] of ((peer.ipBlock.except ?? []) as string[]).entries())
          problems.push(...cidrBlock(e, `${path}.ipBlock.except[${k}]`))
      }
    }
  const types: string[] = spec.policyTypes ?? []
  for (const [i, t] of types.entries()) problems.push(...oneOf(t, `spec.policyTypes[${i}]`, ['Egress', 'Ingress']))
  if (types.length > 2)
    problems.push(field.invalid('spec.policyTypes', types, 'may not specify more than two policyTypes'))
  return problems
}

/** An IPAddress: its name is the address, in canonical form; it belongs to somebody. */
export function ipAddressObject(o: Json, old?: Json): FieldError[] {
  const name = String(o.metadata?.name)
  const problems: FieldError[] = []
  if (!isIPv4(name) && !isIPv6(name)) problems.push(...ipAddress(name, 'metadata.name'))
  else if (canonical(name) !== name)
    problems.push(field.invalid('metadata.name', name, 'must be a canonical format IP address'))
  const parent = o.spec?.parentRef
  if (!parent) problems.push(field.required('spec.parentRef'))
  else {
    if (!parent.resource) problems.push(field.required('spec.parentRef.resource'))
    if (!parent.name) problems.push(field.required('spec.parentRef.name'))
    if (parent.group)
      for (const p of checkSubdomain(parent.group))
        problems.push(field.invalid('spec.parentRef.group', parent.group, p))
  }
  return old ? [...problems, ...immutable(o.spec?.parentRef, old.spec?.parentRef, 'spec.parentRef')] : problems
}

/** An address as Go prints it. */
function canonical(ip: string): string {
  return isIPv6(ip) ? new URL(`http://[${ip}]/`).hostname.slice(1, -1) : ip.split('.').map(Number).join('.')
}

/** A ServiceCIDR: one range, or one of each family. */
export function addressRange(o: Json, old?: Json): FieldError[] {
  const cidrs = (o.spec?.cidrs ?? []) as string[]
  if (cidrs.length === 0) return [field.required('spec.cidrs', 'at least one CIDR required')]
  if (cidrs.length > 2) return [field.invalid('spec', o.spec, 'may only hold up to 2 values')]
  const problems = cidrs.flatMap((c, i) => cidrBlock(c, `spec.cidrs[${i}]`))
  if (cidrs.length === 2 && cidrs[0]!.includes(':') === cidrs[1]!.includes(':'))
    problems.push(
      field.invalid(
        'spec',
        o.spec,
        'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64',
      ),
    )
  return old ? [...problems, ...immutable(cidrs, old.spec?.cidrs, 'spec.cidrs')] : problems
}
