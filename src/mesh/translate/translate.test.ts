// From Istio's rules to what the data plane does with a request: translated, encoded, decoded, routed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { RouteConfiguration } from '#api/xds'
import { translate, viewOf } from '#mesh'
import { clusterOf, decodeRoutes, findHost, findRoute, type HttpRequest } from '#proxy'

const object = (kind: string, name: string, rest: object): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, namespace: 'default', uid: name, resourceVersion: '1', creationTimestamp: '' },
  ...rest,
})
const service = object('Service', 'greeter', {
  spec: { clusterIP: '10.0.0.1', ports: [{ name: 'grpc', port: 50051, targetPort: 50051 }] },
})
const rule = object('DestinationRule', 'greeter', {
  spec: {
    host: 'greeter',
    subsets: [
      { name: 'v1', labels: { version: 'v1' } },
      { name: 'v2', labels: { version: 'v2' } },
    ],
  },
})
const virtualService = (http: object[]) => object('VirtualService', 'greeter', { spec: { hosts: ['greeter'], http } })
const to = (subset: string, weight?: number) => ({
  destination: { host: 'greeter', subset },
  ...(weight === undefined ? {} : { weight }),
})
const pod = (name: string, version: string, ip: string): KubeObject => ({
  ...object('Pod', name, { status: { podIP: ip } }),
  metadata: { ...object('Pod', name, {}).metadata, labels: { version } },
})
const pods = [pod('a', 'v1', '10.1.0.1'), pod('b', 'v2', '10.1.0.2')]
const slice = object('EndpointSlice', 'greeter', {
  ports: [{ name: 'grpc', port: 50051 }],
  endpoints: pods.map((p) => ({ addresses: [p.status.podIP], conditions: { ready: true } })),
})

const resources = (http: object[]) =>
  translate(
    viewOf({
      services: [service],
      slices: () => [slice],
      podByIp: (ip) => pods.find((p) => p.status.podIP === ip),
      virtualServices: http.length > 0 ? [virtualService(http)] : [],
      destinationRules: [rule],
    }),
    {
      role: 'sidecar',
      locality: '',
      trusted: true,
      readsSecrets: false,
      servesIngresses: false,
      config: {},
      namespace: 'default',
      labels: { app: 'client' },
      ip: '10.1.0.9',
      ports: [],
    },
  )

/** The cluster a request goes to; `random` decides between weights. */
function where(
  http: object[],
  request: { path?: string; headers?: Record<string, string>; method?: string; authority?: string },
  random = 0,
): string | undefined {
  const table = decodeRoutes(RouteConfiguration.decode(RouteConfiguration.encode(resources(http).routes.get('50051')!)))
  const host = findHost(table, request.authority ?? 'greeter:50051')
  const sent: HttpRequest = {
    authority: request.authority ?? 'greeter:50051',
    path: request.path ?? '/',
    method: request.method ?? 'POST',
    scheme: 'http',
    fields: Object.entries(request.headers ?? {}).flat(),
    hasBody: false,
    protocol: 'HTTP/1.1',
    upgrade: '',
    trailers: false,
  }
  const route = host && findRoute(host, sent, () => 0)
  return route && clusterOf(route, sent, random)?.name
}

const cluster = (subset: string) => `outbound|50051|${subset}|greeter.default.svc.cluster.local`

test('headers choose the subset, the first route that matches wins', () => {
  const http = [
    { match: [{ headers: { version: { exact: '100' } } }], route: [to('v1')] },
    { match: [{ headers: { version: { regex: '2.*' } } }], route: [to('v2')] },
    { route: [to('v1')] },
  ]
  assert.equal(where(http, { headers: { version: '100' } }), cluster('v1'))
  assert.equal(where(http, { headers: { version: '200' } }), cluster('v2'))
  assert.equal(where(http, { headers: { version: '1200' } }), cluster('v1'), 'a regex matches the whole value')
  assert.equal(where(http, {}), cluster('v1'))
})

test('paths and methods match exactly, by prefix and by regex', () => {
  const http = [
    { match: [{ uri: { exact: '/a' } }], route: [to('v1')] },
    { match: [{ uri: { prefix: '/b' }, method: { exact: 'GET' } }], route: [to('v2')] },
    { match: [{ uri: { regex: '/c/[0-9]+' } }], route: [to('v2')] },
  ]
  assert.equal(where(http, { path: '/a?x=1' }), cluster('v1'))
  assert.equal(where(http, { path: '/a/b' }), undefined)
  assert.equal(where(http, { path: '/bc', method: 'GET' }), cluster('v2'))
  assert.equal(where(http, { path: '/bc', method: 'PUT' }), undefined)
  assert.equal(where(http, { path: '/c/17' }), cluster('v2'))
  assert.equal(where(http, { path: '/c/17/d' }), undefined)
})

test('weights share the requests out', () => {
  const http = [{ route: [to('v1', 10), to('v2', 90)] }]
  const share = Array.from({ length: 1000 }, (_, i) => where(http, {}, i / 1000)).filter(
    (c) => c === cluster('v2'),
  ).length
  assert.equal(share, 900)
  assert.equal(where([{ route: [to('v1', 100), to('v2', 0)] }], {}, 0.999), cluster('v1'))
})

test('a Service is known by every name it is called by; other hosts pass through', () => {
  for (const name of [
    'greeter',
    'greeter.default',
    'greeter.default.svc',
    'greeter.default.svc.cluster.local',
    '10.0.0.1',
  ])
    for (const authority of [name, `${name}:50051`]) assert.equal(where([], { authority }), cluster(''), authority)
  assert.equal(where([], { authority: 'example.com' }), 'PassthroughCluster')
})

test('a subset has the endpoints whose pods carry its labels', () => {
  const { endpoints } = resources([])
  const addresses = (subset: string) =>
    endpoints
      .get(cluster(subset))!
      .endpoints[0].lb_endpoints.map(
        (e: { endpoint: { address: { socket_address: { address: string } } } }) =>
          e.endpoint.address.socket_address.address,
      )
  assert.deepEqual(addresses('v1'), ['10.1.0.1'])
  assert.deepEqual(addresses('v2'), ['10.1.0.2'])
  assert.deepEqual(addresses(''), ['10.1.0.1', '10.1.0.2'])
})
