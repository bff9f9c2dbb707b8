// Analyzers of Gateways: who serves them, with which certificates, and whether they contradict one another.

import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { Json, KubeObject } from '#api'
import { keyPair } from '../model/key-pair.ts'
import { matches } from '../model/view.ts'
import { type World, workloads } from './world.ts'

const selectorText = (selector: Record<string, string>) =>
  Object.entries(selector)
    .map(([k, v]) => `${k}=${v}`)
    .join(',')

const servers = (g: KubeObject): Json[] => g.spec?.servers ?? []

/** Selectors without pods, certificates that are not there, ports nobody can reach (IST0101, IST0161, IST0162). */
export function serving(world: World): void {
  for (const gateway of world.of('Gateway')) {
    const selector: Record<string, string> = gateway.spec?.selector ?? {}
    const pods = [...workloads(world, undefined)].filter((p) => matches(selector, p.metadata?.labels))
    if (Object.keys(selector).length > 0 && pods.length === 0) {
      world.report('REFERENCE', gateway, `Referenced selector not found: "${selectorText(selector)}"`, [
        'spec',
        'selector',
      ])
      continue
    }
    certificates(world, gateway, new Set(pods.map((p) => p.metadata?.namespace)))
    const front = world
      .of('Service')
      .filter(
        (s) =>
          s.spec?.selector &&
          pods.some(
            (p) => p.metadata?.namespace === s.metadata.namespace && matches(s.spec.selector, p.metadata?.labels),
          ),
      )
    if (front.length === 0) continue
    const open = new Set(
      front.flatMap((s) => ((s.spec.ports ?? []) as Json[]).flatMap((p) => [p.port, p.targetPort ?? p.port])),
    )
    for (const [i, server] of servers(gateway).entries()) {
      const number = server.port?.number
      if (number !== undefined && !open.has(number))
        world.report(
          'GATEWAY_PORT',
          gateway,
          `The gateway is listening on a target port (port ${number}) that is not defined in the Service associated with its workload instances (Pod selector ${selectorText(selector)}). If you need to access the gateway port through the gateway Service, it will not be available.`,
          ['spec', 'servers', i, 'port'],
        )
    }
  }
}

/** Between which moments a Secret's key pair may be used; read once of each Secret, as it is dear. */
const lifetimes = new WeakMap<KubeObject, { from: number; to: number }>()
const NEVER = { from: 0, to: 0 }

/** Whether a Secret bears a key pair that fits together and whose certificate is in force. */
function isUsable(secret: KubeObject): boolean {
  const known = lifetimes.get(secret) ?? lifetimeOf(secret)
  lifetimes.set(secret, known)
  const now = Date.now()
  return known.from <= now && now < known.to
}

function lifetimeOf(secret: KubeObject): { from: number; to: number } {
  const pair = keyPair(secret)
  if (!pair) return NEVER
  try {
    const pem = (base64: string) => Buffer.from(base64, 'base64').toString()
    const certificate = new X509Certificate(pem(pair.chain))
    if (!certificate.checkPrivateKey(createPrivateKey(pem(pair.key)))) return NEVER
    return { from: Date.parse(certificate.validFrom), to: Date.parse(certificate.validTo) }
  } catch {
    return NEVER
  }
}

function certificates(world: World, gateway: KubeObject, namespaces: ReadonlySet<string>): void {
  for (const [i, server] of servers(gateway).entries()) {
    const name: string | undefined = server.tls?.credentialName
    if (!name) continue
    const secret = [...namespaces].map((n) => world.get('Secret', n, name)).find((s) => s !== undefined)
    const path = ['spec', 'servers', i, 'tls', 'credentialName'] as const
    if (!secret) world.report('REFERENCE', gateway, `Referenced credentialName not found: "${name}"`, path)
    else if (secret.data && !isUsable(secret))
      world.report(
        'CREDENTIAL',
        gateway,
        `The credential referenced by the Gateway ${gateway.metadata.name} in namespace ${gateway.metadata.namespace} is invalid, which can cause the traffic not to work as expected.`,
        path,
      )
  }
}

/** Servers of different Gateways for the same workload, port and host (IST0145). */
export function conflicts(world: World): void {
  const all = world.of('Gateway')
  for (const gateway of all) {
    const selector: Record<string, string> = gateway.spec?.selector ?? {}
    for (const server of servers(gateway)) {
      const others = all.filter(
        (o) =>
          o !== gateway &&
          samePods(world, o.spec?.selector ?? {}, selector) &&
          servers(o).some((s) => s.port?.number === server.port?.number && sameHost(s, server)),
      )
      if (others.length > 0)
        world.report(
          'CONFLICTING_GATEWAYS',
          gateway,
          `Conflict with gateways ${others
            .map((o) => `${o.metadata.namespace}/${o.metadata.name}`)
            .sort()
            .join(
              ',',
            )} (workload selector ${selectorText(selector)}, port ${server.port?.number}, hosts ${(server.hosts ?? []).join(',')}).`,
        )
    }
  }
}

/** One certificate in several Gateways, where the pods of the others are among a Gateway's own (IST0138). */
export function certificatesTwice(world: World): void {
  const all = world.of('Gateway')
  const key = (server: Json): string =>
    server.tls?.credentialName ||
    (server.tls?.serverCertificate && server.tls.privateKey
      ? `${server.tls.serverCertificate} ${server.tls.privateKey}`
      : '')
  for (const gateway of all)
    for (const other of all) {
      if (other === gateway || !matches(gateway.spec?.selector, other.spec?.selector)) continue
      for (const a of servers(gateway))
        for (const b of servers(other))
          if (key(a) && key(a) === key(b))
            world.report(
              'DUPLICATE_CERTIFICATE',
              gateway,
              `Duplicate certificate in multiple gateways [${gateway.metadata.namespace}/${gateway.metadata.name} ${other.metadata.namespace}/${other.metadata.name}] may cause 404s if clients re-use HTTP2 connections.`,
              ['metadata', 'name'],
            )
    }
}

/** Whether two selectors are the same, or one is a part of the other and a pod bears both. */
function samePods(world: World, a: Record<string, string>, b: Record<string, string>): boolean {
  if (sameSelector(a, b)) return true
  if (!matches(a, b) && !matches(b, a)) return false
  return world.of('Pod').some((p) => matches(a, p.metadata.labels) && matches(b, p.metadata.labels))
}

const sameSelector = (a: object, b: object) =>
  JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())

/** True when two servers name the same host at the same address, as both are written. */
const sameHost = (a: Json, b: Json): boolean =>
  (a.bind ?? '') === (b.bind ?? '') && ((a.hosts ?? []) as string[]).some((h) => (b.hosts ?? []).includes(h))
