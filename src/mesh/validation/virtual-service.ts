// What Istio refuses in VirtualServices (istio: pkg/config/validation), in its wording. Pure.

import { isIP } from 'node:net'
import type { Json } from '#api'
import { destinations } from './destinations.ts'
import { httpRoute } from './http-route.ts'
import { type Check, cidr, exportTo, host, IP, isPort, type Problems, portMessage } from './problems.ts'
import { unreachableRules } from './reachability.ts'

/** Checks the spec of a VirtualService. */
export const virtualService: Check = (spec, p) => {
  const { hosts = [], gateways = [], http = [], tcp = [], tls = [] } = spec
  if (hosts.length === 0) {
    // What has no hosts is delegated to by others.
    p.check(gateways.length === 0, 'spec.gateways', 'delegate virtual service must have no gateways specified')
    p.check(tcp.length === 0, 'spec.tcp', 'delegate virtual service must have no tcp route specified')
    p.check(tls.length === 0, 'spec.tls', 'delegate virtual service must have no tls route specified')
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
  for (const [i, wide] of (hosts as string[]).entries())
    for (const narrow of hosts as string[])
      if (wide.startsWith('*') && narrow.startsWith('*') && wide !== narrow && narrow.endsWith(wide.slice(1)))
        p.add(`spec.hosts[${i}]`, `duplicate hosts in virtual service: ${narrow} & ${wide}`)
  p.check(http.length + tcp.length + tls.length > 0, 'spec', 'http, tcp or tls must be provided in virtual service')
  for (const [i, g] of (gateways as string[]).entries())
    p.check(
      /^([-a-z0-9.]+\/)?[-a-zA-Z0-9.]+$/.test(g),
      `spec.gateways[${i}]`,
      `invalid value for gateway name: ${JSON.stringify(g)}`,
    )
  const served = gateways.length > 0 ? gateways : ['mesh']
  for (const [i, r] of (http as Json[]).entries())
    for (const [j, m] of ((r.match ?? []) as Json[]).entries())
      for (const key of [...Object.keys(m.headers ?? {}), ...Object.keys(m.withoutHeaders ?? {})])
        if (key.startsWith('@request.auth.claims') && (served as string[]).every((g) => g === 'mesh'))
          p.add(
            `spec.http[${i}].match[${j}]`,
            `JWT claim based routing (key: ${key}) is only supported for gateway, found no gateways: [${served.join(' ')}]`,
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
        p.warn(
          isIP(sni) === 0,
          `using an IP address (${JSON.stringify(sni)}) goes against SNI spec and most clients do not support this`,
        )
        p.check(
          isIP(sni) > 0 || (hosts as string[]).some((h) => within(sni, h)),
          `${path}.sniHosts[${k}]`,
          `SNI host ${JSON.stringify(sni)} is not a compatible subset of any of the virtual service hosts: [${hosts.join(' ')}]`,
        )
      }
    }
  }
  exportTo(spec.exportTo, 'spec.exportTo', p)
  for (const g of gateways as string[]) {
    const [name, namespace] = g.split('.')
    p.warn(
      g.includes('/') || namespace === undefined,
      `using legacy gatewayName format ${JSON.stringify(g)}; prefer the <namespace>/<name> format: ${JSON.stringify(`${namespace}/${name}`)}`,
    )
  }
  unreachableRules(spec, {
    unused: (rule, why) => p.warn(false, `virtualService rule ${rule} not used (${why})`),
    ineffective: (rule, match, other) =>
      p.warn(
        false,
        `virtualService rule ${rule} match ${match} is not used (duplicate/overlapping match in rule ${other})`,
      ),
  })
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
