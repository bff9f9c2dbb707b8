// What Istio refuses in DestinationRules, in its wording. Pure.

import { isIP } from 'node:net'
import type { Json } from '#api'
import { connectionPool } from './connection-pool.ts'
import { loadBalancer } from './load-balancer.ts'
import {
  type Check,
  durationAtLeast,
  exportTo,
  HOST,
  host,
  isPort,
  LABEL,
  type Problems,
  portMessage,
} from './problems.ts'

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

const PORT_PARTS = ['outlierDetection', 'connectionPool', 'loadBalancer', 'tls']
const PARTS = [...PORT_PARTS, 'portLevelSettings', 'tunnel', 'proxyProtocol', 'retryBudget']

function trafficPolicy(policy: Json | undefined, path: string, p: Problems): void {
  if (!policy) return
  if (!PARTS.some((part) => policy[part])) return p.add(path, 'traffic policy must have at least one field')
  if (policy.tunnel && policy.proxyProtocol) return p.add(path, 'tunnel and proxyProtocol must not be set together')
  policyPart(policy, path, p)
  const ports = new Set<number>()
  for (const [i, s] of ((policy.portLevelSettings ?? []) as Json[]).entries()) {
    const at = `${path}.portLevelSettings[${i}]`
    p.check(
      PORT_PARTS.some((part) => s[part]),
      at,
      'port traffic policy must have at least one field',
    )
    p.check(isPort(s.port?.number), `${at}.port`, portMessage(s.port?.number))
    p.check(!ports.has(s.port?.number), `${at}.port`, `duplicate port ${s.port?.number} in portLevelSettings`)
    ports.add(s.port?.number)
    policyPart(s, at, p)
  }
  if (policy.tunnel) tunnel(policy.tunnel, `${path}.tunnel`, p)
}

function tunnel({ protocol, targetHost = '', targetPort }: Json, path: string, p: Problems): void {
  p.check(
    !protocol || ['CONNECT', 'POST'].includes(protocol),
    `${path}.protocol`,
    'tunnel protocol must be "CONNECT" or "POST"',
  )
  p.check(
    isIP(targetHost) > 0 || (HOST.test(targetHost.replace(/\.$/, '')) && !targetHost.includes('*')),
    `${path}.targetHost`,
    `tunnel target host must be valid FQDN or IP address: ${JSON.stringify(targetHost)}`,
  )
  p.check(isPort(targetPort), `${path}.targetPort`, `tunnel target port is invalid: ${portMessage(targetPort)}`)
}

function policyPart(policy: Json, path: string, p: Problems): void {
  outlierDetection(policy.outlierDetection, `${path}.outlierDetection`, p)
  connectionPool(policy.connectionPool, `${path}.connectionPool`, p)
  loadBalancer(policy.loadBalancer, Boolean(policy.outlierDetection), `${path}.loadBalancer`, p)
  clientTls(policy.tls, `${path}.tls`, p)
}

function outlierDetection(outlier: Json | undefined, path: string, p: Problems): void {
  if (!outlier) return
  for (const field of ['interval', 'baseEjectionTime']) durationAtLeast(outlier[field], 1, `${path}.${field}`, p)
  for (const field of ['maxEjectionPercent', 'minHealthPercent']) {
    const value = outlier[field] ?? 0
    p.check(value >= 0 && value <= 100, `${path}.${field}`, `percentage ${value} is not in range 0..100`)
  }
  p.warn(
    !outlier.consecutiveErrors,
    'outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead',
  )
  p.check(
    outlier.splitExternalLocalOriginErrors || !(outlier.consecutiveLocalOriginFailures > 0),
    `${path}.consecutiveLocalOriginFailures`,
    'outlier detection consecutive local origin failures is specified, but split external local origin errors is set to false',
  )
}

function clientTls(tls: Json | undefined, path: string, p: Problems): void {
  if (!tls) return
  const { mode, credentialName, clientCertificate, privateKey, caCertificates, caCrl } = tls
  // The client's own certificate may come from a Secret; its authority would be of no use.
  const simple = mode === 'SIMPLE'
  if (tls.insecureSkipVerify && (simple || mode === 'MUTUAL'))
    p.check(
      !caCertificates && !tls.subjectAltNames?.length && !(simple && credentialName),
      `${path}.insecureSkipVerify`,
      `cannot specify CaCertificates ${simple ? 'or CredentialName ' : ''}or SubjectAltNames when InsecureSkipVerify is set true`,
    )
  if (credentialName && (simple || mode === 'MUTUAL'))
    return p.check(
      !clientCertificate && !privateKey && !caCertificates && !caCrl,
      path,
      'cannot specify client certificates or CA certificate or CA CRL If credentialName is set',
    )
  if (mode !== 'MUTUAL') return
  p.check(clientCertificate, `${path}.clientCertificate`, 'client certificate required for mutual tls')
  p.check(privateKey, `${path}.privateKey`, 'private key required for mutual tls')
}
