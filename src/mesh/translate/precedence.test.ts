// Which rule, which entry and which Secret counts where several could.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json, KubeObject } from '#api'
import { meshObject } from '#kit'
import { type MeshView, type ProxyNode, viewOf, type XdsResources } from '../model/view.ts'
import { validateIstio } from '../validation/validate.ts'
import { translate } from './translate.ts'

const object = (kind: string, name: string, spec: Json, namespace = 'default', more: Json = {}): KubeObject =>
  meshObject(kind, name, { spec, ...more }, namespace)
const SERVICE = object('Service', 'web', {
  clusterIP: '10.0.0.1',
  ports: [
    { name: 'http', port: 80 },
    { name: 'http-b', port: 8080 },
  ],
})
const NODE: ProxyNode = {
  role: 'sidecar',
  namespace: 'default',
  labels: { app: 'client' },
  ip: '10.1.0.1',
  locality: '',
  ports: [],
  trusted: true,
  readsSecrets: true,
  servesIngresses: false,
  config: {},
}
const made = (view: Partial<MeshView>, node: Partial<ProxyNode> = {}): XdsResources =>
  translate(viewOf({ services: [SERVICE], ...view }), { ...NODE, ...node })
const to = (subset: string) => ({
  route: [{ destination: { host: 'web.default.svc.cluster.local', subset, port: { number: 80 } } }],
})
const routesOf = (r: XdsResources, table = '80', host = 'web.default.svc.cluster.local'): Json[] =>
  (r.routes.get(table)?.virtual_hosts as Json[] | undefined)?.find((h) => h.domains.includes(host))?.routes ?? []

test('a rule kept to the client’s namespace comes before an older one for all', () => {
  const virtualServices = [
    object('VirtualService', 'public', { hosts: ['web.default.svc.cluster.local'], http: [to('v1')] }),
    object(
      'VirtualService',
      'private',
      { hosts: ['web.default.svc.cluster.local'], exportTo: ['.'], http: [to('v2')] },
      'team',
    ),
  ]
  assert.match(routesOf(made({ virtualServices }, { namespace: 'team' }))[0]?.route.cluster, /\|v2\|/)
  assert.match(routesOf(made({ virtualServices }))[0]?.route.cluster, /\|v1\|/)
})

// No route of the rule was for here, and the host answered 404.
test('a rule none of whose routes is for a client leaves the host as it was', () => {
  const rule = object('VirtualService', 'v', {
    hosts: ['web'],
    http: [
      { match: [{ port: 8080 }], ...to('v1') },
      { match: [{ sourceLabels: { app: 'tester' } }], ...to('v2') },
    ],
  })
  assert.deepEqual(
    routesOf(made({ virtualServices: [rule] })).map((r) => r.route.cluster),
    ['outbound|80||web.default.svc.cluster.local'],
  )
  assert.match(routesOf(made({ virtualServices: [rule] }, { labels: { app: 'tester' } }))[0]?.route.cluster, /\|v2\|/)
})

test('entries of one host in one namespace add up; the older has a port that both name', () => {
  const entry = (name: string, ports: Json[]) =>
    object('ServiceEntry', name, { hosts: ['api.example.com'], resolution: 'DNS', ports })
  const r = made({
    serviceEntries: [
      entry('a', [{ number: 80, name: 'http', protocol: 'HTTP' }]),
      entry('b', [
        { number: 80, name: 'http', protocol: 'HTTP', targetPort: 9 },
        { number: 443, name: 'tls', protocol: 'TLS' },
      ]),
    ],
  })
  const names = [...r.clusters.keys()].filter((n) => n.includes('api.example.com')).sort()
  assert.deepEqual(names, ['outbound|443||api.example.com', 'outbound|80||api.example.com'])
  const [group] = r.clusters.get('outbound|80||api.example.com')!.load_assignment.endpoints
  assert.equal(group.lb_endpoints[0].endpoint.address.socket_address.port_value, 80)
})

const GATEWAY = { role: 'router', labels: { istio: 'gw' } } as const
const server = (number: number, protocol: string, hosts: string[], more: Json = {}) => ({
  port: { number, name: `${protocol}-${number}`.toLowerCase(), protocol },
  hosts,
  ...more,
})
const gateway = (name: string, servers: Json[], namespace = 'default') =>
  object('Gateway', name, { selector: { istio: 'gw' }, servers }, namespace)

test('labels of clients do not match at a gateway, unless the condition names it', () => {
  const virtualServices = [
    object('VirtualService', 'v', {
      hosts: ['a.com'],
      gateways: ['g', 'mesh'],
      http: [
        { match: [{ sourceLabels: { app: 'tester' } }], ...to('v2') },
        { match: [{ gateways: ['g'], sourceLabels: { app: 'x' }, uri: { prefix: '/x' } }], ...to('v3') },
        to('v1'),
      ],
    }),
  ]
  const r = made({ virtualServices, gateways: [gateway('g', [server(80, 'HTTP', ['a.com'])])] }, GATEWAY)
  assert.deepEqual(
    routesOf(r, 'http.80', 'a.com').map((x) => x.route.cluster.split('|')[2]),
    ['v3', 'v1'],
  )
})

test('a server that redirects does so for its own hosts only', () => {
  const virtualServices = [object('VirtualService', 'v', { hosts: ['b.com'], gateways: ['acme'], http: [to('v1')] })]
  const gateways = [
    gateway('all', [server(80, 'HTTP', ['*'], { tls: { httpsRedirect: true } })]),
    gateway('acme', [server(80, 'HTTP', ['b.com'])]),
  ]
  const hosts = made({ virtualServices, gateways }, GATEWAY).routes.get('http.80')!.virtual_hosts as Json[]
  assert.deepEqual(hosts.map((h) => [h.domains[0], h.require_tls]).sort(), [
    ['*', 2],
    ['b.com', undefined],
  ])
})

const SECRET = (namespace: string): KubeObject =>
  object('Secret', 's', {}, namespace, { data: { 'tls.crt': 'QQ==', 'tls.key': 'QQ==' } })

test('keys are given to proxies that have shown a token, out of their own namespace', () => {
  const https = (credentialName: string) => server(443, 'HTTPS', ['a.com'], { tls: { mode: 'SIMPLE', credentialName } })
  const secrets = (credentialName: string, node: Partial<ProxyNode> = {}) => [
    ...made(
      {
        gateways: [gateway('g', [https(credentialName)])],
        secret: (ns, name) => (name === 's' ? SECRET(ns) : undefined),
      },
      { ...GATEWAY, ...node },
    ).secrets.keys(),
  ]
  assert.deepEqual(secrets('s'), ['kubernetes://default/s'])
  assert.deepEqual(secrets('s', { trusted: false }), [])
  assert.deepEqual(secrets('s', { readsSecrets: false }), [])
  assert.deepEqual(secrets('victim/s', { servesIngresses: true }), [], 'not another namespace’s by its name')
})

// A mirror without a host was admitted, and translation threw for every sidecar that imported the rule.
test('copies without a host are refused, and do no harm where they are', () => {
  for (const more of [{ mirror: { subset: 'v2' } }, { mirror: {} }, { mirrors: [{ percentage: { value: 10 } }] }]) {
    const spec = { hosts: ['web'], http: [{ ...to('v1'), ...more }] }
    assert.ok(validateIstio('VirtualService', spec).some((p) => p.path.startsWith('spec.http[0].mirror')))
    assert.equal(routesOf(made({ virtualServices: [object('VirtualService', 'v', spec)] })).length, 1)
  }
})
