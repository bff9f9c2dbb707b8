// Analyzers of VirtualServices: what they refer to, and which of their rules are never used.

import type { Json, KubeObject } from '#api'
import { intersection, resolveHost } from '../model/host.ts'
import { matches } from '../model/view.ts'
import { gatewayName } from '../model/virtual-service.ts'
import { type FieldPath, type World, workloads } from './world.ts'

const namespaceOf = (o: KubeObject) => o.metadata.namespace ?? ''

/** Every destination of a rule, with where it stands. */
function* destinations(vs: KubeObject): Generator<{ destination: Json; path: FieldPath }> {
  for (const part of ['http', 'tcp', 'tls'] as const)
    for (const [i, route] of ((vs.spec?.[part] ?? []) as Json[]).entries()) {
      for (const [j, r] of ((route.route ?? []) as Json[]).entries())
        yield { destination: r?.destination ?? {}, path: ['spec', part, i, 'route', j, 'destination'] }
      if (route.mirror) yield { destination: route.mirror, path: ['spec', part, i, 'mirror'] }
      for (const [j, m] of ((route.mirrors ?? []) as Json[]).entries())
        yield { destination: m?.destination ?? {}, path: ['spec', part, i, 'mirrors', j, 'destination'] }
    }
}

/** Hosts, subsets and ports that are not there (IST0101, IST0112). */
export function references(world: World): void {
  for (const vs of world.of('VirtualService')) {
    const namespace = namespaceOf(vs)
    for (const { destination, path } of destinations(vs)) {
      const host: string = destination.host ?? ''
      const service = world.service(host, namespace)
      if (!service) {
        if (!host.startsWith('*'))
          world.report('REFERENCE', vs, `Referenced host not found: "${host}"`, [...path, 'host'])
        continue
      }
      if (destination.subset && !subsetsOf(world, service.host).has(destination.subset))
        world.report(
          'REFERENCE',
          vs,
          `Referenced host+subset in destinationrule not found: "${host}+${destination.subset}"`,
          [...path, 'subset'],
        )
      const number = destination.port?.number
      if (number !== undefined && !service.ports.some((p) => p.number === number))
        world.report('REFERENCE', vs, `Referenced host:port not found: "${host}:${number}"`, [
          ...path,
          'port',
          'number',
        ])
      if (number === undefined && service.ports.length > 1)
        world.report(
          'PORT_REQUIRED',
          vs,
          `This VirtualService routes to a service "${host}" that exposes multiple ports [${service.ports
            .map((p) => p.number)
            .join(' ')}]. Specifying a port in the destination is required to disambiguate.`,
          path,
        )
    }
  }
}

function subsetsOf(world: World, host: string): Set<string> {
  return new Set(
    world
      .of('DestinationRule')
      .filter((r) => resolveHost(r.spec?.host ?? '', namespaceOf(r)) === host)
      .flatMap((r) => ((r.spec?.subsets ?? []) as Json[]).map((s) => s.name)),
  )
}

/** Gateways that are not there, or do not serve the rule's hosts (IST0101, IST0132). */
export function gateways(world: World): void {
  for (const vs of world.of('VirtualService'))
    for (const [i, text] of ((vs.spec?.gateways ?? []) as string[]).entries()) {
      if (text === 'mesh') continue
      const [namespace = '', name = ''] = gatewayName(text, namespaceOf(vs)).split('/')
      const gateway = world.get('Gateway', namespace, name)
      if (!gateway) {
        world.report('REFERENCE', vs, `Referenced gateway not found: "${text}"`, ['spec', 'gateways', i])
        continue
      }
      const served = ((gateway.spec?.servers ?? []) as Json[])
        .flatMap((s) => (s.hosts ?? []) as string[])
        .filter((h) => {
          const from = h.includes('/') ? h.split('/')[0] : '*'
          return from === '*' || from === namespaceOf(vs) || (from === '.' && namespace === namespaceOf(vs))
        })
        .map((h) => h.split('/').at(-1) ?? '')
      const hosts: string[] = (vs.spec?.hosts ?? []) as string[]
      if (hosts.length > 0 && !hosts.some((h) => served.some((s) => intersection(s, h) !== undefined)))
        world.report(
          'HOST_NOT_IN_GATEWAY',
          vs,
          `one or more host [${hosts.join(' ')}] defined in VirtualService ${namespaceOf(vs)}/${vs.metadata.name} not found in Gateway ${namespace}/${name}.`,
          ['spec', 'hosts'],
        )
    }
}

/** Two rules for one host in the mesh (IST0109). */
export function conflictingHosts(world: World): void {
  const claims = new Map<string, KubeObject[]>()
  for (const vs of world.of('VirtualService')) {
    const gateways: string[] = vs.spec?.gateways ?? []
    if (gateways.length > 0 && !gateways.includes('mesh')) continue
    const exportTo: string[] = vs.spec?.exportTo ?? []
    // What is kept to a namespace is at odds only with others there.
    const scope = exportTo.length === 1 && exportTo[0] === '.' ? namespaceOf(vs) : '*'
    for (const h of (vs.spec?.hosts ?? []) as string[]) {
      const key = `${scope} ${resolveHost(h, namespaceOf(vs))}`
      claims.set(key, [...(claims.get(key) ?? []), vs])
    }
  }
  for (const [key, all] of claims) {
    if (all.length < 2) continue
    const names = all.map((v) => `${namespaceOf(v)}/${v.metadata.name}`).sort()
    for (const vs of all)
      world.report(
        'CONFLICTING_HOSTS',
        vs,
        `The VirtualServices ${names.join(',')} associated with mesh gateway define the same host ${key.split(' ')[1]} which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.`,
        ['spec', 'hosts'],
      )
  }
}

/** Rules that follow one which takes everything, and conditions said twice (IST0130, IST0131). */
export function unreachable(world: World): void {
  for (const vs of world.of('VirtualService')) {
    const seen = new Map<string, string>()
    let all: string | undefined
    for (const [i, route] of ((vs.spec?.http ?? []) as Json[]).entries()) {
      const rule = route.name ? `"${route.name}"` : `#${i}`
      const path: FieldPath = ['spec', 'http', i]
      if (all !== undefined) {
        world.report(
          'UNREACHABLE',
          vs,
          `VirtualService rule ${rule} not used (only the last rule can have no matches).`,
          path,
        )
        continue
      }
      const conditions: Json[] = route.match ?? []
      if (conditions.length === 0) {
        all = rule
        continue
      }
      const twice = conditions.map((m) => seen.get(key(m)))
      if (twice.every((t) => t !== undefined))
        world.report('UNREACHABLE', vs, `VirtualService rule ${rule} not used (all matches used by prior rules).`, path)
      else
        for (const [j, other] of twice.entries())
          if (other !== undefined)
            world.report(
              'INEFFECTIVE_MATCH',
              vs,
              `VirtualService rule ${rule} match #${j} is not used (duplicate/overlapping match in rule ${other}).`,
              [...path, 'match', j],
            )
      for (const m of conditions) if (!seen.has(key(m))) seen.set(key(m), rule)
    }
  }
}

/** A condition as text that is the same for the same condition. */
function key(match: Json): string {
  const { name: _, ...rest } = match
  return JSON.stringify(rest, (_k, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  )
}

/** DestinationRules: hosts nobody bears, subsets without pods, TLS without verification (IST0174, 0173, 0128, 0129). */
export function destinationRules(world: World): void {
  for (const rule of world.of('DestinationRule')) {
    const namespace = namespaceOf(rule)
    const host: string = rule.spec?.host ?? ''
    const full = resolveHost(host, namespace)
    const known = host.startsWith('*')
      ? [...world.hosts.keys()].some((h) => intersection(full, h) !== undefined)
      : world.service(host, namespace) !== undefined
    if (!known)
      world.report(
        'UNKNOWN_RULE_HOST',
        rule,
        `The host ${host} defined in the DestinationRule does not match any services in the mesh.`,
        ['spec', 'host'],
      )
    verification(world, rule)
    const service = world.service(host, namespace)
    const selector: Record<string, string> | undefined = service?.object.spec?.selector
    if (!service || !selector) continue
    const behind = [...workloads(world, service.namespace)].filter((p) => matches(selector, p.metadata?.labels))
    if (behind.length === 0) continue
    for (const [i, subset] of ((rule.spec?.subsets ?? []) as Json[]).entries())
      if (!behind.some((p) => matches(subset.labels, p.metadata?.labels)))
        world.report(
          'SUBSET_WITHOUT_PODS',
          rule,
          `The Subset ${subset.name} defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream).`,
          ['spec', 'subsets', i],
        )
  }
}

const unverified = (tls: Json | undefined, selected: boolean) =>
  ['SIMPLE', 'MUTUAL'].includes(tls?.mode) &&
  !tls?.caCertificates &&
  !(tls?.credentialName && selected) &&
  !tls?.insecureSkipVerify

function verification(world: World, rule: KubeObject): void {
  const { name, namespace } = rule.metadata
  const host = rule.spec?.host
  const policy: Json = rule.spec?.trafficPolicy ?? {}
  // A credential is had by gateways, and by the workloads that a selector names.
  const selected = rule.spec?.workloadSelector !== undefined
  const text = (mode: string) =>
    `DestinationRule ${namespace}/${name} in namespace ${namespace} has TLS mode set to ${mode} but no caCertificates are set to validate server identity for host: ${host}`
  if (unverified(policy.tls, selected))
    world.report('NO_CA', rule, text(policy.tls.mode), ['spec', 'trafficPolicy', 'tls'])
  for (const [i, p] of ((policy.portLevelSettings ?? []) as Json[]).entries())
    if (unverified(p.tls, selected))
      world.report('NO_CA_PORT', rule, `${text(p.tls.mode)} at port number:${p.port?.number}`, [
        'spec',
        'trafficPolicy',
        'portLevelSettings',
        i,
        'tls',
      ])
}
