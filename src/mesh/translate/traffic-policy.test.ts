// DestinationRules and VirtualServices as the data plane reads them: breakers, ejection, hashing, faults, copies.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { Cluster } from '#api/xds'
import { decodeCluster, decodeRoutes } from '#proxy'
import { httpOptions } from './clusters.ts'
import { filterSettings, mirrors } from './route-filters.ts'
import { clusterSettings, hashPolicies, policyFor } from './traffic-policy.ts'

const cluster = (policy: Json) =>
  decodeCluster(
    Cluster.decode(
      Cluster.encode({
        name: 'c',
        type: 3,
        ...clusterSettings(policy),
        typed_extension_protocol_options: httpOptions('http', policy),
      }),
    ),
  )

test('connection pools become breakers and limits; without them nothing is bounded', () => {
  const open = cluster({})
  assert.equal(open.breakers.connections, 2 ** 32 - 1)
  assert.equal(open.connectTimeout, 10_000)
  assert.equal(open.outlier, undefined)
  assert.deepEqual(open.balancer, { kind: 'leastRequest', choices: 2 })
  const tight = cluster({
    connectionPool: {
      tcp: { maxConnections: 1, connectTimeout: '30ms' },
      http: {
        http1MaxPendingRequests: 2,
        http2MaxRequests: 3,
        maxRetries: 4,
        maxRequestsPerConnection: 5,
        idleTimeout: '6s',
      },
    },
  })
  assert.deepEqual(tight.breakers, { connections: 1, pending: 2, requests: 3, retries: 4, retryBudget: undefined })
  assert.deepEqual([tight.connectTimeout, tight.maxRequestsPerConnection, tight.idleTimeout], [30, 5, 6000])
})

test('outlier detection keeps Istio’s meanings: what is zero is off, panic only from minHealthPercent on', () => {
  const { outlier, panicPercent } = cluster({
    outlierDetection: {
      consecutive5xxErrors: 7,
      consecutiveGatewayErrors: 0,
      interval: '5m',
      baseEjectionTime: '15m',
      maxEjectionPercent: 50,
      minHealthPercent: 20,
    },
  })
  assert.equal(outlier?.consecutive5xx, 7)
  assert.equal(outlier?.consecutiveGateway, 0)
  assert.equal(outlier?.interval, 300_000)
  assert.equal(outlier?.baseEjection, 900_000)
  assert.equal(outlier?.maxPercent, 50)
  assert.equal(panicPercent, 20)
  assert.equal(cluster({ outlierDetection: {} }).panicPercent, 0)
})

test('policies of a subset and of a port come before those around them', () => {
  const r = {
    host: 'a',
    trafficPolicy: {
      loadBalancer: { simple: 'RANDOM' },
      connectionPool: { tcp: { maxConnections: 9 } },
      portLevelSettings: [{ port: { number: 90 }, loadBalancer: { simple: 'ROUND_ROBIN' } }],
    },
    subsets: [
      { name: 'v1', labels: {}, trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: 'x-user' } } } },
    ],
  }
  assert.equal(cluster(policyFor(r, '', 80)).balancer.kind, 'random')
  assert.equal(cluster(policyFor(r, '', 90)).balancer.kind, 'roundRobin')
  assert.equal(cluster(policyFor(r, '', 90)).breakers.connections, 2 ** 32 - 1)
  const v1 = policyFor(r, 'v1', 80)
  assert.equal(cluster(v1).balancer.kind, 'ringHash')
  assert.equal(cluster(v1).breakers.connections, 9)
  assert.deepEqual(hashPolicies(v1), [{ header: { header_name: 'x-user' } }])
})

test('faults, cross-origin rules and copies reach the data plane', () => {
  const http = {
    fault: {
      delay: { fixedDelay: '7s', percentage: { value: 0.1 } },
      abort: { httpStatus: 500, percentage: { value: 100 } },
    },
    corsPolicy: {
      allowOrigins: [{ exact: 'https://a.test' }],
      allowMethods: ['GET', 'POST'],
      maxAge: '24h',
      allowCredentials: true,
    },
    mirrors: [{ destination: { host: 'b' }, percentage: { value: 25 } }],
  }
  const table = decodeRoutes({
    name: 'r',
    virtual_hosts: [
      {
        name: 'h',
        domains: ['*'],
        routes: [
          {
            match: { prefix: '/' },
            route: { cluster: 'c', ...mirrors(http, (d) => `to ${d.host}`) },
            ...filterSettings(http),
          },
        ],
      },
    ],
  })
  const route = table.any!.routes[0]!
  assert.deepEqual(route.mirrors, [{ cluster: 'to b', fraction: 0.25, shadowSuffix: false }])
  const fault = route.perFilter.get('envoy.filters.http.fault') as Json
  assert.deepEqual(fault.delay, { ms: 7000, fraction: 0.001, byField: false })
  assert.equal(fault.abort.status, 500)
  const cors = route.perFilter.get('envoy.filters.http.cors') as Json
  assert.equal(cors.maxAge, '86400')
  assert.equal(cors.methods, 'GET,POST')
  assert.equal(cors.origins[0].test('https://a.test'), true)
})
