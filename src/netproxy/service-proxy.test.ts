// Who of several Services has a port of the host.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { servicePorts } from './ruleset.ts'
import { byRight } from './service-proxy.ts'

const balancer = (name: string, creationTimestamp: string, ip?: string) =>
  ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'd', uid: name, resourceVersion: '1', creationTimestamp },
    spec: { type: 'LoadBalancer', clusterIP: '10.96.0.5', ports: [{ port: 80 }] },
    status: { loadBalancer: ip ? { ingress: [{ ip }] } : {} },
  }) as KubeObject

// After a restart of the server the first by name had port 80, and the gateway that was reached there lost it.
test('after a restart who was reached at a port of the host has it again, else the older', () => {
  const order = (...services: KubeObject[]) =>
    byRight(
      servicePorts(services, () => []),
      services,
    ).map((p) => p.key)
  const [old, later] = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']
  assert.deepEqual(order(balancer('a', old), balancer('b', later, '192.0.2.1')), ['d/b:80', 'd/a:80'])
  assert.deepEqual(order(balancer('a', later), balancer('b', old)), ['d/b:80', 'd/a:80'])
  assert.deepEqual(order(balancer('b', old), balancer('a', old)), ['d/a:80', 'd/b:80'])
})
