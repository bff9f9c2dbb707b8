// What Istio refuses in a VirtualService, DestinationRule or Gateway (pilot's validation), in its wording.

import type { FieldError, Json } from '#api'
import { compileRe2 } from '#base/re2'
import { shapeProblems } from './shape.ts'

const problem = (path: string, message: string): FieldError => ({ path, reason: 'FieldValueInvalid', message })

/** Problems of an Istio object's spec; empty for kinds that are not looked into yet. */
export function validateIstio(kind: string, spec: Json): FieldError[] {
  const misshapen = shapeProblems(kind, spec)
  if (misshapen.length > 0) return misshapen
  if (kind === 'Gateway') return gateway(spec)
  if (kind === 'VirtualService') return virtualService(spec)
  if (kind === 'DestinationRule') return destinationRule(spec)
  return []
}

function virtualService(spec: Json): FieldError[] {
  const problems: FieldError[] = []
  if (!Array.isArray(spec.hosts) || spec.hosts.length === 0) {
    if (!spec.gateways || spec.hosts)
      problems.push(problem('spec.hosts', 'virtual service must have at least one host'))
  } else
    for (const [i, h] of spec.hosts.entries())
      if (typeof h !== 'string' || !/^[*a-zA-Z0-9]([-a-zA-Z0-9_.*:]*[a-zA-Z0-9])?$/.test(h))
        problems.push(problem(`spec.hosts[${i}]`, `invalid host ${JSON.stringify(h)}`))
  if (!spec.http?.length && !spec.tcp?.length && !spec.tls?.length)
    problems.push(problem('spec', 'http, tcp or tls must be provided in virtual service'))
  for (const [i, route] of ((spec.http ?? []) as Json[]).entries())
    problems.push(...httpRoute(route, `spec.http[${i}]`))
  for (const kind of ['tcp', 'tls'] as const)
    for (const [i, route] of ((spec[kind] ?? []) as Json[]).entries())
      problems.push(...destinations(route.route, `spec.${kind}[${i}].route`))
  return problems
}

function httpRoute(route: Json, path: string): FieldError[] {
  const problems: FieldError[] = []
  const actions = [route.route?.length, route.redirect, route.directResponse, route.delegate].filter(Boolean).length
  if (actions === 0) problems.push(problem(path, 'HTTP route, redirect or direct_response is required'))
  if (route.redirect && route.route?.length)
    problems.push(problem(path, 'HTTP route cannot contain both route and redirect'))
  problems.push(...destinations(route.route, `${path}.route`))
  const rewrite = route.rewrite?.uriRegexRewrite
  if (rewrite) problems.push(...regex(rewrite.match ?? '', `${path}.rewrite.uriRegexRewrite.match`))
  for (const [i, m] of ((route.match ?? []) as Json[]).entries()) {
    for (const key of ['uri', 'scheme', 'method', 'authority'])
      if (m[key]) problems.push(...stringMatch(m[key], `${path}.match[${i}].${key}`))
    for (const key of ['headers', 'withoutHeaders', 'queryParams'])
      for (const [name, value] of Object.entries<Json>(m[key] ?? {})) {
        if (name === '') problems.push(problem(`${path}.match[${i}].${key}`, 'header match name cannot be empty'))
        problems.push(...stringMatch(value, `${path}.match[${i}].${key}[${name}]`))
      }
  }
  return problems
}

/** A regex longer than this is refused: it would be compiled in every proxy (Istio's own cap). */
const REGEX_LIMIT = 1024

function stringMatch(match: Json, path: string): FieldError[] {
  return match.regex === undefined ? [] : regex(match.regex, path)
}

function regex(pattern: string, path: string): FieldError[] {
  if (pattern.length > REGEX_LIMIT) return [problem(path, `regex must be at most ${REGEX_LIMIT} characters`)]
  try {
    compileRe2(pattern)
    return []
  } catch (error) {
    return [problem(path, `invalid regex: ${(error as Error).message}`)]
  }
}

function gateway(spec: Json): FieldError[] {
  const problems: FieldError[] = []
  const servers: Json[] = spec.servers ?? []
  if (servers.length === 0) problems.push(problem('spec.servers', 'gateway must have at least one server'))
  for (const [i, server] of servers.entries()) {
    const at = `spec.servers[${i}]`
    if (!server.hosts?.length) problems.push(problem(`${at}.hosts`, 'server config must contain at least one host'))
    const { number, protocol } = server.port ?? {}
    if (!server.port) problems.push(problem(`${at}.port`, 'server config must contain a port'))
    else {
      if (!(number > 0 && number < 65536))
        problems.push(problem(`${at}.port.number`, `port number ${number} must be in the range 1..65535`))
      if (!protocol)
        problems.push(
          problem(
            `${at}.port.protocol`,
            'invalid protocol "", supported protocols are HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS',
          ),
        )
    }
    const secure = ['HTTPS', 'TLS'].includes(String(protocol).toUpperCase())
    if (secure && !server.tls)
      problems.push(problem(`${at}.tls`, 'server must have TLS settings for HTTPS/TLS protocols'))
    const mode = server.tls?.mode
    if (
      ['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'].includes(mode) &&
      !server.tls.credentialName &&
      !server.tls.credentialNames?.length &&
      !server.tls.serverCertificate
    )
      problems.push(problem(`${at}.tls`, `${mode} TLS requires a server certificate: set credentialName`))
  }
  return problems
}

function destinations(routes: unknown, path: string): FieldError[] {
  if (routes === undefined) return []
  if (!Array.isArray(routes)) return [problem(path, 'must be a list')]
  const problems: FieldError[] = []
  let total = 0
  for (const [i, r] of routes.entries()) {
    const weight = r?.weight ?? 0
    if (!Number.isInteger(weight) || weight < 0) problems.push(problem(`${path}[${i}].weight`, `weight ${weight} < 0`))
    total += weight
    const host = r?.destination?.host
    if (!host) problems.push(problem(`${path}[${i}].destination.host`, 'destination must have a host'))
    const port = r?.destination?.port?.number
    if (port !== undefined && !(port > 0 && port < 65536))
      problems.push(
        problem(`${path}[${i}].destination.port.number`, `port number ${port} must be in the range 1..65535`),
      )
  }
  if (routes.length > 1 && total === 0 && problems.length === 0)
    problems.push(problem(path, 'total destination weight = 0'))
  return problems
}

const SIMPLE = ['UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST']

function destinationRule(spec: Json): FieldError[] {
  const problems: FieldError[] = []
  if (!spec.host) problems.push(problem('spec.host', 'destination rule must have a host'))
  const names = new Set<string>()
  for (const [i, subset] of ((spec.subsets ?? []) as Json[]).entries()) {
    if (!subset.name) problems.push(problem(`spec.subsets[${i}].name`, 'subset name cannot be empty'))
    if (names.has(subset.name))
      problems.push(problem(`spec.subsets[${i}].name`, `duplicate subset name: ${subset.name}`))
    names.add(subset.name)
    problems.push(...policy(subset.trafficPolicy, `spec.subsets[${i}].trafficPolicy`))
  }
  return [...problems, ...policy(spec.trafficPolicy, 'spec.trafficPolicy')]
}

function policy(p: Json | undefined, path: string): FieldError[] {
  const simple = p?.loadBalancer?.simple
  return simple === undefined || SIMPLE.includes(simple)
    ? []
    : [problem(`${path}.loadBalancer.simple`, `unknown load balancer ${JSON.stringify(simple)}`)]
}
