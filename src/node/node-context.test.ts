import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { resolverOf } from './node-context.ts'

const pod = (spec: object) => ({ metadata: { namespace: 'shop' }, spec }) as unknown as KubeObject
const of = (spec: object) =>
  resolverOf(pod(spec), { dnsIp: '10.96.0.10' }, { servers: ['192.0.2.53'], searches: ['lan'] })

test('a pod resolves in its namespace first, and repeats a lost query soon', () => {
  assert.deepEqual(of({}), {
    servers: ['10.96.0.10'],
    searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'lan'],
    options: ['ndots:5', 'timeout:2', 'attempts:5'],
  })
})

test('options of a pod stand in for those of the same name', () => {
  const { options } = of({ dnsConfig: { options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }] } })
  assert.deepEqual(options, ['timeout:2', 'attempts:5', 'ndots:2', 'edns0'])
})

test('without the cluster’s DNS there is what the pod names, or the host’s', () => {
  assert.deepEqual(of({ dnsPolicy: 'None', dnsConfig: { nameservers: ['1.2.3.4'] } }).servers, ['1.2.3.4'])
  assert.deepEqual(of({ dnsPolicy: 'Default' }), { servers: ['192.0.2.53'], searches: ['lan'], options: [] })
})
