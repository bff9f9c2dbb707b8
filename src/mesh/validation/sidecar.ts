// What Istio refuses in Sidecars, in its wording. Pure.

import type { Json } from '#api'
import { isSocket } from '../model/unix-socket.ts'
import { connectionPool } from './connection-pool.ts'
import { tlsOptions } from './gateway.ts'
import {
  type Check,
  HOST,
  isPort,
  LABEL,
  type Problems,
  portMessage,
  socket,
  unlabelled,
  wholeHost,
} from './problems.ts'

/** Checks the spec of a Sidecar. */
export const sidecar: Check = (spec, p) => {
  const { ingress = [], egress = [], outboundTrafficPolicy: policy } = spec
  p.check(
    ingress.length + egress.length > 0 || policy || spec.inboundConnectionPool,
    'spec',
    'sidecar: empty configuration provided',
  )
  p.warn(...unlabelled(spec.workloadSelector, 'sidecar'))
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
    ingressTls(l, at, p)
    connectionPool(l.connectionPool, `${at}.connectionPool`, p)
    const { defaultEndpoint: to } = l
    if (isSocket(to)) socket(to, `${at}.defaultEndpoint`, p)
    else if (to)
      p.check(
        /^(127\.0\.0\.1|0\.0\.0\.0|\[::1?\])?:\d+$/.test(to),
        `${at}.defaultEndpoint`,
        'sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset',
      )
  }
  connectionPool(spec.inboundConnectionPool, 'spec.inboundConnectionPool', p)
  let catchAll = false
  const taken = new Set<number | string>()
  for (const [i, l] of (egress as Json[]).entries()) {
    const at = `spec.egress[${i}]`
    if (!l.port) {
      p.check(!catchAll, at, 'sidecar: egress can have only one listener with empty port')
      p.check(
        i === egress.length - 1,
        at,
        'sidecar: the egress listener with empty port should be the last listener in the list',
      )
      catchAll = true
    } else {
      // A listener at a socket has no number.
      const local = isSocket(l.bind)
      p.check(
        local || isPort(l.port.number),
        `${at}.port`,
        l.port.number
          ? portMessage(l.port.number)
          : 'sidecar: ports with 0 value must have a unix domain socket bind address',
      )
      p.check(
        !(local && l.captureMode === 'IPTABLES'),
        `${at}.captureMode`,
        'sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners',
      )
      const place = local ? l.bind : l.port.number
      p.check(
        !taken.has(place),
        `${at}.port`,
        local
          ? 'sidecar: unix domain socket values for listeners must be unique'
          : 'sidecar: ports on IP bound listeners must be unique',
      )
      taken.add(place)
    }
    p.check(l.hosts?.length > 0, `${at}.hosts`, 'sidecar: egress listener must contain at least one host')
    egressOverlap(l.hosts ?? [], p)
    for (const [j, h] of ((l.hosts ?? []) as string[]).entries()) {
      const parts = h.split('/')
      p.check(
        parts.length === 2,
        `${at}.hosts[${j}]`,
        `short names (non FQDN) are not allowed: host must be of form namespace/dnsName, not ${JSON.stringify(h)}`,
      )
      if (parts.length === 2) {
        p.check(
          ['*', '.', '~'].includes(parts[0]!) || LABEL.test(parts[0]!.replace(/^~/, '')),
          `${at}.hosts[${j}]`,
          `invalid namespace value ${JSON.stringify(parts[0])} in sidecar`,
        )
        wholeHost(parts[1]!, `${at}.hosts[${j}]`, p)
      }
    }
  }
  const proxy: Json | undefined = policy?.egressProxy
  if (!proxy) return
  const at = 'spec.outboundTrafficPolicy.egressProxy'
  p.check(
    policy.mode === 'ALLOW_ANY',
    at,
    'sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode',
  )
  p.check(proxy.host && proxy.port, at, `sidecar: egress_proxy ${proxy.host ? 'port' : 'host'} must be non-nil`)
  p.check(
    !proxy.host || (HOST.test(proxy.host) && !/.\*/.test(proxy.host)),
    `${at}.host`,
    `domain name ${JSON.stringify(proxy.host)} invalid`,
  )
}

/** Checks the TLS that a sidecar itself ends. */
function ingressTls(l: Json, at: string, p: Problems): void {
  const { tls } = l
  if (!tls) return
  const no = (given: unknown, message: string) => p.check(!given, `${at}.tls`, message)
  no(tls.subjectAltNames?.length, 'sidecar: subjectAltNames is not supported in ingress tls')
  no(tls.httpsRedirect, 'sidecar: httpsRedirect is not supported')
  no(tls.credentialName, 'sidecar: credentialName is not currently supported')
  no(tls.credentialNames?.length, 'sidecar: credentialNames is not currently supported')
  no(tls.tlsCertificates?.length, 'sidecar: tls_certificates is not currently supported')
  no(
    ['ISTIO_MUTUAL', 'AUTO_PASSTHROUGH'].includes(tls.mode),
    `configuration is invalid: cannot set mode to ${tls.mode} in sidecar ingress tls`,
  )
  no(!/^(https|tls)$/i.test(l.port?.protocol ?? ''), 'server cannot have TLS settings for non HTTPS/TLS ports')
  tlsOptions(tls, at, p)
}

/** Warns of hosts that others before them have taken. */
function egressOverlap(hosts: readonly string[], p: Problems): void {
  const known = new Map<string, Set<string>>()
  for (const text of hosts) {
    const [namespace = '', host] = text.split('/')
    if (host === undefined || namespace.startsWith('~')) continue
    const here = known.get(namespace) ?? new Set()
    known.set(namespace, here)
    p.warn(host === '*' ? here.size === 0 : !here.has(host) && !here.has('*'), `duplicated egress host: ${text}`)
    here.add(host)
  }
  p.warn(!known.get('*')?.has('*') || known.size === 1, '`*/*` host select all resources, no other hosts can be added')
}
