// The nftables transaction between two states of Services.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { exec } from '#base'
import { renderRuleset, servicePorts, transaction } from '#netproxy'

const options = {
  table: 't',
  podCidr: '10.244.0.0/22',
  serviceCidr: '10.96.0.0/22',
  bridge: 'b',
  gatewayIp: '10.244.0.1',
  ownPorts: [6443],
}
const service = (spec: object): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's', namespace: 'd', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
  spec: { clusterIP: '10.96.0.5', ports: [{ port: 80, protocol: 'TCP', nodePort: 30080 }], ...spec },
})
const slice = (...ips: string[]) =>
  ({
    ports: [{ port: 8080, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
  }) as unknown as KubeObject
const ruleset = (spec: object, ...ips: string[]) =>
  renderRuleset(
    servicePorts([service(spec)], () => [slice(...ips)]),
    options,
  )

test('clients with affinity stay known when another endpoint comes', () => {
  const spec = { sessionAffinity: 'ClientIP' }
  const before = ruleset(spec, '10.244.0.7')
  const after = ruleset(spec, '10.244.0.7', '10.244.0.8')
  const script = transaction('t', before, after)
  assert.doesNotMatch(script, /delete set ip t aff-\S*-10-244-0-7-8080/)
  assert.match(script, /delete map ip t service-ips/)
  assert.match(transaction('t', after, before), /delete set ip t aff-\S*-10-244-0-8-8080/)
})

test('without a known state the table is made anew', () => {
  assert.match(transaction('t', undefined, ruleset({})), /^table ip t\ndelete table ip t\n/)
})

test('a load balancer has its port on the host, and keeps clients’ addresses when asked to', () => {
  const lb = ruleset({ type: 'LoadBalancer' }, '10.244.0.7')
  assert.match(lb, /tcp \. 80 : goto ext-svc-/)
  assert.match(lb, /tcp \. 30080 : goto ext-svc-/)
  assert.match(lb, /chain ext-svc-\w+ \{\n {4}meta mark set meta mark or 0x4000/)
  const local = ruleset(
    { type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerSourceRanges: ['192.0.2.0/24'] },
    '10.244.0.7',
  )
  assert.match(local, /chain ext-svc-\w+ \{\n {4}ip saddr 192\.0\.2\.0\/24 goto in-svc-\w+\n {4}drop/)
})

// Source ranges, external addresses and endpoints went into nft's script as they were: a Service could add
// tables of its own, and one odd object stopped the rules of all.
test('only addresses, ranges and ports reach the script, and nothing stands in it twice', async () => {
  const evil = '10.0.0.0/8 } drop\n }\n}\ntable inet pwned {\n chain x {\n'
  const odd = service({
    type: 'LoadBalancer',
    externalIPs: ['10.96.0.5', '192.0.2.1', '192.0.2.1', '2001:db8::1', evil],
    loadBalancerSourceRanges: [evil, '10.0.0.0/8', '10.1.0.0/16', '::/0'],
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: -5 } },
  })
  const twin = {
    ...service({ clusterIP: '10.96.0.6', type: 'LoadBalancer', externalIPs: ['192.0.2.1', '10.96.0.5'] }),
    metadata: { ...odd.metadata, name: 'twin' },
  }
  const endpoints = [
    slice('10.244.0.7', evil, 'fd00::1'),
    { ports: [{ port: 8080, protocol: 'TCP' }], endpoints: [{}, null] } as unknown as KubeObject,
  ]
  const rules = renderRuleset(
    servicePorts([odd, twin], () => endpoints),
    options,
  )
  assert.doesNotMatch(rules, /pwned|::/)
  assert.equal(rules.match(/192\.0\.2\.1 \. tcp \. 80 :/g)?.length, 1)
  assert.equal(rules.match(/10\.96\.0\.5 \. tcp \. 80 :/g)?.length, 1)
  assert.match(rules, /ip saddr 10\.1\.0\.0\/16 goto in-svc-/)
  const { code, stderr } = await exec('unshare', ['-n', 'nft', '-f', '-'], { stdin: rules })
  assert.equal(code, 0, stderr)
})
