// From Gateways and Ingresses to what the gateway does with a request: translated, encoded, decoded, routed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '#api'
import { Listener, RouteConfiguration } from '#api/xds'
import { meshObject } from '#kit'
import { emptyResources, type MeshView, translate, unservedReason, viewOf, type XdsResources } from '#mesh'
import { clusterOf, decodeListener, decodeRoutes, findHost, findRoute, type HttpRequest } from '#proxy'

const object = (kind: string, name: string, spec: object, namespace = 'default'): KubeObject =>
  meshObject(kind, name, { spec }, namespace)
const labels = { app: 'istio-ingressgateway', istio: 'ingressgateway' }
const service = (name: string, port: number, namespace = 'default') =>
  object('Service', name, { clusterIP: '10.0.0.1', ports: [{ name: 'http', port, targetPort: 8080 }] }, namespace)
const front = object(
  'Service',
  'istio-ingressgateway',
  {
    selector: labels,
    ports: [
      { port: 80, targetPort: 8080 },
      { port: 443, targetPort: 8443 },
    ],
  },
  'istio-system',
)
const secret = (namespace: string, name: string): KubeObject => ({
  ...object('Secret', name, {}, namespace),
  data: { 'tls.crt': Buffer.from('CERT').toString('base64'), 'tls.key': Buffer.from('KEY').toString('base64') },
})

function gateway(view: Partial<MeshView>, readsSecrets = true, servesIngresses = true): XdsResources {
  return translate(viewOf({ services: [front, service('kubia', 80), service('reviews', 9080)], ...view }), {
    role: 'router',
    locality: '',
    trusted: true,
    namespace: 'istio-system',
    labels,
    ip: '10.1.0.1',
    ports: [],
    readsSecrets,
    servesIngresses,
    config: {},
  })
}

const REQUEST: HttpRequest = {
  authority: '',
  path: '/',
  method: 'GET',
  scheme: 'http',
  fields: [],
  hasBody: false,
  protocol: 'HTTP/1.1',
  upgrade: '',
  trailers: false,
}

/** Where a request goes: a cluster, "redirect", or undefined for 404. */
function where(resources: XdsResources, table: string, authority: string, path: string): string | undefined {
  const message = resources.routes.get(table)
  if (!message) return undefined
  const routes = decodeRoutes(RouteConfiguration.decode(RouteConfiguration.encode(message)))
  const host = findHost(routes, authority)
  if (host?.requireTls) return 'redirect'
  const request: HttpRequest = { ...REQUEST, authority, path }
  const route = host && findRoute(host, request, () => 0)
  return route && (route.redirect ? 'redirect' : clusterOf(route, request, 0)?.name)
}

const backend = (name: string) => ({ service: { name, port: { number: name === 'kubia' ? 80 : 9080 } } })
const KUBIA = 'outbound|80||kubia.default.svc.cluster.local'
const REVIEWS = 'outbound|9080||reviews.default.svc.cluster.local'

test('an Ingress goes by host, whole elements of the path, and the longest match', () => {
  const ingress = object('Ingress', 'web', {
    rules: [
      {
        host: 'shop.example.com',
        http: {
          paths: [
            { path: '/', pathType: 'Prefix', backend: backend('kubia') },
            { path: '/reviews', pathType: 'Prefix', backend: backend('reviews') },
            { path: '/exact', pathType: 'Exact', backend: backend('reviews') },
          ],
        },
      },
    ],
  })
  const made = gateway({ ingresses: [ingress] })
  const to = (path: string, host = 'shop.example.com') => where(made, 'http.8080', host, path)
  assert.equal(to('/'), KUBIA)
  assert.equal(to('/reviews/1?x=/'), REVIEWS)
  assert.equal(to('/reviewsandmore'), KUBIA, 'a prefix ends at a slash')
  assert.equal(to('/exact'), REVIEWS)
  assert.equal(to('/exact/'), KUBIA)
  assert.equal(to('/', 'shop.example.com:8080'), KUBIA, 'the port does not count')
  assert.equal(to('/', 'other.example.com'), undefined)
})

test('a default backend takes what no rule does', () => {
  const ingress = object('Ingress', 'd', {
    defaultBackend: backend('kubia'),
    rules: [
      { host: 'a.example.com', http: { paths: [{ path: '/r', pathType: 'Prefix', backend: backend('reviews') }] } },
    ],
  })
  const made = gateway({ ingresses: [ingress] })
  assert.equal(where(made, 'http.8080', 'a.example.com', '/r'), REVIEWS)
  assert.equal(where(made, 'http.8080', 'a.example.com', '/other'), KUBIA)
  assert.equal(where(made, 'http.8080', 'unknown', '/'), KUBIA)
})

const istioGateway = (servers: object[], name = 'gw') =>
  object('Gateway', name, { selector: { istio: 'ingressgateway' }, servers })
const rule = (hosts: string[], gateways: string[], http: object[], name = 'vs') =>
  object('VirtualService', name, { hosts, gateways, http })
const toReviews = [{ route: [{ destination: { host: 'reviews' } }] }]

test('a VirtualService is served by the gateways it names, at the hosts both have', () => {
  const http = { number: 80, name: 'http', protocol: 'HTTP' }
  const made = gateway({
    gateways: [istioGateway([{ port: http, hosts: ['*.example.com'] }])],
    virtualServices: [
      rule(['shop.example.com', 'elsewhere.org'], ['gw'], toReviews),
      rule(['unbound.example.com'], ['mesh'], toReviews, 'inside'),
    ],
  })
  assert.equal(where(made, 'http.8080', 'shop.example.com', '/'), REVIEWS)
  assert.equal(where(made, 'http.8080', 'elsewhere.org', '/'), undefined, 'the gateway does not serve that host')
  assert.equal(where(made, 'http.8080', 'unbound.example.com', '/'), undefined, 'not bound to the gateway')
})

test('a port that is not one of the Service is the port of the pod', () => {
  const server = { port: { number: 8080, name: 'http', protocol: 'HTTP' }, hosts: ['*'] }
  const made = gateway({
    gateways: [istioGateway([server])],
    virtualServices: [rule(['*'], ['default/gw'], toReviews)],
  })
  assert.equal(where(made, 'http.8080', 'any', '/'), REVIEWS)
})

test('a server restricted to a namespace takes rules of that namespace only', () => {
  const server = { port: { number: 80, name: 'http', protocol: 'HTTP' }, hosts: ['team-a/*'] }
  const made = gateway({ gateways: [istioGateway([server])], virtualServices: [rule(['*'], ['gw'], toReviews)] })
  assert.equal(where(made, 'http.8080', 'any', '/'), undefined)
})

test('httpsRedirect sends plain requests on', () => {
  const server = {
    port: { number: 80, name: 'http', protocol: 'HTTP' },
    hosts: ['a.example.com'],
    tls: { httpsRedirect: true },
  }
  assert.equal(where(gateway({ gateways: [istioGateway([server])] }), 'http.8080', 'a.example.com', '/'), 'redirect')
})

const https = {
  port: { number: 443, name: 'https', protocol: 'HTTPS' },
  hosts: ['secure.example.com'],
  tls: { mode: 'SIMPLE', credentialName: 'cert' },
}

test('HTTPS is ended with the Secret of the gateway’s namespace, which is delivered by name', () => {
  const made = gateway({
    gateways: [istioGateway([https])],
    virtualServices: [rule(['secure.example.com'], ['gw'], toReviews)],
    secret: (namespace, name) => (namespace === 'istio-system' ? secret(namespace, name) : undefined),
  })
  const message = made.listeners.get('0.0.0.0_8443')
  const listener = decodeListener(Listener.decode(Listener.encode(message!)), () => {})
  assert.equal(listener.bind, true)
  assert.deepEqual(listener.chains[0]?.match.serverNames, ['secure.example.com'])
  assert.equal(listener.chains[0]?.tls?.certificate, 'kubernetes://istio-system/cert')
  assert.ok(made.secrets.has('kubernetes://istio-system/cert'))
  assert.equal(where(made, 'https.443.https.gw.default', 'secure.example.com', '/'), REVIEWS)
})

test('a proxy whose account may not read Secrets is given none', () => {
  const made = gateway(
    { gateways: [istioGateway([https])], secret: (namespace, name) => secret(namespace, name) },
    false,
  )
  assert.equal(made.secrets.size, 0)
  assert.deepEqual([...made.listeners.keys()], [])
  assert.equal(emptyResources().secrets.size, 0)
})

test('an Ingress of a class that does not exist is told so; of another controller’s class it is left alone', () => {
  const classes = [
    object('IngressClass', 'istio', { controller: 'istio.io/ingress-controller' }),
    object('IngressClass', 'nginx', { controller: 'k8s.io/ingress-nginx' }),
  ]
  const reason = (ingressClassName?: string) => unservedReason(object('Ingress', 'i', { ingressClassName }), classes)
  assert.match(reason('nginxx') ?? '', /no IngressClass "nginxx".*Set it to "istio"/)
  assert.equal(reason('nginx'), undefined)
  assert.equal(reason(), undefined)
})
