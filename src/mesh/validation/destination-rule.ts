// What Istio refuses in DestinationRules, in its wording. Pure.

import type { Json } from '#api'
import { type Check, durationAtLeast, exportTo, host, isPort, LABEL, type Problems, portMessage } from './problems.ts'

/** Checks the spec of a DestinationRule. */
export const destinationRule: Check = (spec, p) => {
  if (!spec.host) p.add('spec.host', 'destination rule must have a host')
  else host(spec.host, 'spec.host', p)
  const names = new Set<string>()
  for (const [i, subset] of ((spec.subsets ?? []) as Json[]).entries()) {
    const path = `spec.subsets[${i}]`
    if (!subset.name) p.add(`${path}.name`, 'subset name cannot be empty')
    else p.check(LABEL.test(subset.name), `${path}.name`, `subset name is invalid: ${JSON.stringify(subset.name)}`)
    p.check(!names.has(subset.name), `${path}.name`, `duplicate subset names: ${subset.name}`)
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
    // The client's own certificate may come from a Secret; its authority would be of no use.
    const names = tls.mode === 'SIMPLE' ? ['caCertificates', 'credentialName'] : ['caCertificates']
    const called = tls.mode === 'SIMPLE' ? 'CaCertificates or CredentialName' : 'CaCertificates'
    p.check(
      !tls.insecureSkipVerify || (!names.some((n) => tls[n]) && !tls.subjectAltNames?.length),
      `${path}.tls.insecureSkipVerify`,
      `cannot specify ${called} or SubjectAltNames when InsecureSkipVerify is set true`,
    )
    if (tls.credentialName)
      p.check(
        !tls.clientCertificate && !tls.privateKey && !tls.caCertificates,
        `${path}.tls`,
        'cannot specify client certificates, private keys or CA certificates if credentialName is set',
      )
  }
}
