// What Istio refuses in Sidecars, in its wording. Pure.

import type { Json } from '#api'
import { type Check, host, isPort, LABEL, portMessage } from './problems.ts'

/** Checks the spec of a Sidecar. */
export const sidecar: Check = (spec, p) => {
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
