// Each of Istio's analyzer codes that is reported: what brings it about, and that what is right does not.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import type { Json, KubeObject } from '#api'
import { createAuthority } from '#wire'
import { analyzeObjects } from './analyze.ts'

const objects = (text: string): KubeObject[] =>
  (parseAllDocuments(text) as { toJS(): Json | null }[]).flatMap((d) => {
    const o = d.toJS()
    if (!o) return []
    const spaced = o.kind === 'Namespace' ? {} : { namespace: 'default' }
    return {
      apiVersion: 'v1',
      ...o,
      metadata: { uid: '', resourceVersion: '', creationTimestamp: '', ...spaced, ...o.metadata },
    } as KubeObject
  })

const codes = (text: string): string[] => [...new Set(analyzeObjects(objects(text)).map((f) => f.code))].sort()

const [pair, other] = [await createAuthority('one'), await createAuthority('two')]
const base64 = (pem: string) => Buffer.from(pem).toString('base64')
const secret = (name: string, cert: string, key: string) =>
  `{kind: Secret, metadata: {name: ${name}, namespace: istio-system}, data: {tls.crt: ${base64(cert)}, tls.key: ${base64(key)}}}\n---\n`

const MESH = `
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
---
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: many}
spec: {selector: {app: many}, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
---
kind: Pod
metadata: {name: web-1, labels: {app: web, version: v1}}
spec: {containers: [{name: a}], initContainers: [{name: istio-proxy}]}
---
kind: Pod
metadata: {name: gw-1, namespace: istio-system, labels: {istio: gw}}
spec: {containers: [{name: istio-proxy}]}
---
kind: Secret
metadata: {name: good, namespace: istio-system}
data: {tls.crt: ${base64(pair.cert)}, tls.key: ${base64(pair.key)}}
---
kind: Secret
metadata: {name: bad, namespace: istio-system}
data: {tls.crt: QQ==}
---
kind: Service
metadata: {name: gw, namespace: istio-system}
spec: {selector: {istio: gw}, ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
`
const vs = (spec: string, name = 'v') => `{kind: VirtualService, metadata: {name: ${name}}, spec: ${spec}}\n---\n`
const dr = (spec: string) => `{kind: DestinationRule, metadata: {name: d}, spec: ${spec}}\n---\n`
const gw = (spec: string, name = 'g') =>
  `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: ${name}}, spec: ${spec}}\n---\n`
const toWeb = '[{route: [{destination: {host: web}}]}]'
const http = (hosts: string, tls = '') => `{port: {number: 80, name: http, protocol: HTTP}, hosts: ${hosts}${tls}}`

const CASES: readonly [what: string, text: string, found: readonly string[]][] = [
  ['nothing wrong', vs(`{hosts: [web], http: ${toWeb}}`), []],
  ['an unknown host', vs('{hosts: [web], http: [{route: [{destination: {host: nosuch}}]}]}'), ['IST0101']],
  [
    'an unknown host of a copy',
    vs('{hosts: [web], http: [{mirror: {host: nosuch}, route: [{destination: {host: web}}]}]}'),
    ['IST0101'],
  ],
  ['an unknown subset', vs('{hosts: [web], http: [{route: [{destination: {host: web, subset: v9}}]}]}'), ['IST0101']],
  [
    'an unknown port',
    vs('{hosts: [web], http: [{route: [{destination: {host: web, port: {number: 9}}}]}]}'),
    ['IST0101'],
  ],
  ['an unknown gateway', vs(`{hosts: [web], gateways: [nosuch], http: ${toWeb}}`), ['IST0101', 'IST0132']],
  ['a port that must be chosen', vs('{hosts: [web], http: [{route: [{destination: {host: many}}]}]}'), ['IST0112']],
  [
    'two rules for a host',
    vs(`{hosts: [web], http: ${toWeb}}`) + vs(`{hosts: [web.default.svc.cluster.local], http: ${toWeb}}`, 'w'),
    ['IST0109'],
  ],
  [
    'a rule after one that takes all',
    vs('{hosts: [web], http: [{route: [{destination: {host: web}}]}, {route: [{destination: {host: web}}]}]}'),
    ['IST0130'],
  ],
  [
    'a condition said twice',
    vs(
      '{hosts: [web], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]}, {match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], route: [{destination: {host: web}}]}]}',
    ),
    ['IST0131'],
  ],
  [
    'a prefix that a shorter one before it takes',
    vs(
      '{hosts: [web], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]}, {match: [{uri: {prefix: /ab}}], route: [{destination: {host: web}}]}]}',
    ),
    ['IST0131'],
  ],
  [
    'rules for bytes after one that takes all',
    vs(
      '{hosts: [web], tcp: [{route: [{destination: {host: web}}]}, {match: [{port: 80}], route: [{destination: {host: web}}]}]}',
    ),
    ['IST0130'],
  ],
  [
    'subsets that a rule at a gateway passes by',
    gw(`{selector: {istio: gw}, servers: [${http('[web]')}]}`) +
      '{kind: DestinationRule, metadata: {name: d}, spec: {host: web, subsets: [{name: v1, labels: {app: web}}]}}\n---\n' +
      vs('{hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]}') +
      vs(`{hosts: [web], gateways: [g], http: ${toWeb}}`, 'edge'),
    ['IST0140'],
  ],
  [
    'hosts the gateway does not serve',
    gw(`{selector: {istio: gw}, servers: [${http('[a.example]')}]}`) +
      vs(`{hosts: [b.example], gateways: [g], http: ${toWeb}}`),
    ['IST0132'],
  ],
  ['a spec that is refused', vs('{hosts: [web], http: [{route: []}]}'), ['IST0106']],
  ['a field that is not known', vs(`{hosts: [web], http: ${toWeb}, htttp: []}`), ['IST0106']],
  ['a rule for nobody', dr('{host: nosuch}'), ['IST0174']],
  [
    'a rule exported only to those who do not see its service',
    vs(`{hosts: [web], exportTo: [elsewhere], http: ${toWeb}}`) +
      '\n---\n{kind: Service, metadata: {name: web, annotations: {networking.istio.io/exportTo: .}}, spec: {ports: [{name: http, port: 80}]}}',
    ['IST0101'],
  ],
  ['a subset without pods', dr('{host: web, subsets: [{name: v9, labels: {version: v9}}]}'), ['IST0173']],
  ['TLS that verifies nothing', dr('{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}'), ['IST0128']],
  [
    'the same at a port',
    dr('{host: web, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}'),
    ['IST0129'],
  ],
  ['a gateway nobody serves', gw(`{selector: {istio: nobody}, servers: [${http('["*"]')}]}`), ['IST0101']],
  [
    'a certificate that is not there',
    gw(
      '{selector: {istio: gw}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: nosuch}}]}',
    ),
    ['IST0101'],
  ],
  [
    'a certificate without a key',
    gw(
      '{selector: {istio: gw}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: bad}}]}',
    ),
    ['IST0161'],
  ],
  [
    'a port the gateway’s Service has not',
    gw('{selector: {istio: gw}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]}'),
    ['IST0162'],
  ],
  [
    'two gateways for a host',
    gw(`{selector: {istio: gw}, servers: [${http('[a.example]')}]}`) +
      gw(`{selector: {istio: gw}, servers: [${http('[b.example, a.example]')}]}`, 'h'),
    ['IST0145'],
  ],
  [
    'two gateways, one for all hosts and one for one of them',
    gw(`{selector: {istio: gw}, servers: [${http('["*"]')}]}`) +
      gw(`{selector: {istio: gw}, servers: [${http('[a.example]')}]}`, 'h'),
    [],
  ],
  [
    'a certificate in two gateways',
    ['g', 'h']
      .map((n) =>
        gw(
          `{selector: {istio: gw}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [${n}.example], tls: {mode: SIMPLE, credentialName: good}}]}`,
          n,
        ),
      )
      .join(''),
    ['IST0138'],
  ],
  [
    'a port name outside the convention',
    '{kind: Service, metadata: {name: x}, spec: {ports: [{name: foo, port: 1}]}}',
    ['IST0118'],
  ],
  [
    'a port of an ExternalName',
    '{kind: Service, metadata: {name: x}, spec: {type: ExternalName, externalName: a.b, ports: [{name: foo, port: 1}]}}',
    ['IST0150'],
  ],
  [
    'services that disagree about a port',
    '{kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}}\n---\n{kind: Service, metadata: {name: x}, spec: {selector: {app: web}, ports: [{name: udp, protocol: UDP, port: 80}]}}',
    ['IST0116'],
  ],
  [
    'services of one port that are named for different protocols',
    '{kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}}\n---\n{kind: Service, metadata: {name: x}, spec: {selector: {app: web}, ports: [{name: tcp, port: 80}]}}',
    [],
  ],
  [
    'services that disagree about a port outside the mesh',
    '{kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: {app: web, sidecar.istio.io/inject: "false"}}, spec: {containers: []}}}}\n---\n{kind: Service, metadata: {name: x}, spec: {selector: {app: web}, ports: [{name: udp, protocol: UDP, port: 80}]}}',
    [],
  ],
  [
    'services that disagree about a target',
    '{kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: {app: web}}, spec: {containers: []}}}}\n---\n{kind: Service, metadata: {name: x}, spec: {selector: {app: web}, ports: [{name: http, port: 8000, targetPort: 80}]}}',
    ['IST0137'],
  ],
  [
    'bytes without an address',
    '{kind: ServiceEntry, metadata: {name: s}, spec: {hosts: [a.b], ports: [{number: 9, name: tcp, protocol: TCP}], resolution: NONE}}',
    ['IST0134'],
  ],
  [
    'a port with two protocols',
    ['HTTP', 'TCP']
      .map(
        (p, i) =>
          `{kind: ServiceEntry, metadata: {name: s${i}}, spec: {hosts: [a.b], addresses: [192.0.2.1], ports: [{number: 9, name: x, protocol: ${p}}], resolution: DNS}}\n---\n`,
      )
      .join(''),
    ['IST0177'],
  ],
  ['a namespace that is not injected', '{kind: Namespace, metadata: {name: other}}', ['IST0102']],
  [
    'a namespace with both labels',
    '{kind: Namespace, metadata: {name: other, labels: {istio-injection: enabled, istio.io/rev: default}}}',
    ['IST0123'],
  ],
  ['a pod without its sidecar', '{kind: Pod, metadata: {name: x}, spec: {containers: [{name: a}]}}', ['IST0103']],
  [
    'an application as the proxy’s user',
    '{kind: Deployment, metadata: {name: x}, spec: {template: {spec: {containers: [{name: a, securityContext: {runAsUser: 1337}}]}}}}',
    ['IST0144'],
  ],
  [
    'two Sidecars for all',
    ['a', 'b']
      .map((n) => `{kind: Sidecar, metadata: {name: ${n}}, spec: {egress: [{hosts: ["./*"]}]}}\n---\n`)
      .join(''),
    ['IST0111'],
  ],
  [
    'two Sidecars for a pod',
    ['a', 'b']
      .map(
        (n) =>
          `{kind: Sidecar, metadata: {name: ${n}}, spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]}}\n---\n`,
      )
      .join(''),
    ['IST0110'],
  ],
  [
    'a Sidecar for nobody',
    '{kind: Sidecar, metadata: {name: a}, spec: {workloadSelector: {labels: {app: no}}, egress: [{hosts: ["./*"]}]}}',
    ['IST0101'],
  ],
  [
    'a policy for nobody',
    '{kind: PeerAuthentication, metadata: {name: a}, spec: {selector: {matchLabels: {app: no}}}}',
    ['IST0127'],
  ],
  [
    'an EnvoyFilter relative to others',
    '{kind: EnvoyFilter, metadata: {name: a}, spec: {configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {name: x}}}]}}',
    ['IST0151', 'SMP0001'],
  ],
  [
    'an EnvoyFilter that replaces',
    '{kind: EnvoyFilter, metadata: {name: a}, spec: {configPatches: [{applyTo: CLUSTER, patch: {operation: REPLACE, value: {name: x}}}]}}',
    ['IST0152', 'SMP0001'],
  ],
  [
    'an EnvoyFilter that adds a route',
    '{kind: EnvoyFilter, metadata: {name: a}, spec: {configPatches: [{applyTo: HTTP_ROUTE, patch: {operation: ADD, value: {name: x}}}]}}',
    ['IST0153', 'SMP0001'],
  ],
  [
    'an EnvoyFilter that removes a route',
    '{kind: EnvoyFilter, metadata: {name: a}, spec: {configPatches: [{applyTo: HTTP_ROUTE, patch: {operation: REMOVE}}]}}',
    ['IST0154', 'SMP0001'],
  ],
  [
    'an unknown annotation',
    '{kind: Service, metadata: {name: x, annotations: {foo.istio.io/bar: "1"}}, spec: {ports: []}}',
    ['IST0108'],
  ],
  [
    'a misplaced annotation',
    '{kind: Service, metadata: {name: x, annotations: {sidecar.istio.io/logLevel: debug}}, spec: {ports: []}}',
    ['IST0107'],
  ],
  [
    'a wrong annotation',
    '{kind: Deployment, metadata: {name: x}, spec: {template: {metadata: {labels: {sidecar.istio.io/inject: "true"}, annotations: {sidecar.istio.io/inject: maybe}}}}}',
    ['IST0125'],
  ],
  [
    'a deprecated annotation',
    '{kind: Pod, metadata: {name: x, annotations: {sidecar.istio.io/inject: "false"}}, spec: {containers: []}}',
    ['IST0135'],
  ],
  [
    'a certificate with another’s key',
    secret('odd', pair.cert, other.key) +
      gw(
        '{selector: {istio: gw}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE, credentialName: odd}}]}',
      ),
    ['IST0161'],
  ],
  [
    'two rules for a host, one for everybody and one for this namespace',
    vs(`{hosts: [web], http: ${toWeb}}`) + vs(`{hosts: [web], exportTo: [.], http: ${toWeb}}`, 'w'),
    ['IST0109'],
  ],
  [
    'two webhooks for the same pods, of a control plane that is not there',
    ['a', 'b']
      .map(
        (n) =>
          `{kind: MutatingWebhookConfiguration, metadata: {name: istio-sidecar-injector-${n}, labels: {istio.io/rev: ${n}}}, webhooks: [{name: x.istio.io, clientConfig: {service: {name: nobody, namespace: istio-system}}, namespaceSelector: {matchLabels: {istio-injection: enabled}}}]}\n---\n`,
      )
      .join(''),
    ['IST0139'],
  ],
  [
    'a control plane elsewhere, by no address and by a number',
    '{kind: ValidatingWebhookConfiguration, metadata: {name: istio-validator}, webhooks: [{name: a, clientConfig: {}}, {name: b, clientConfig: {url: "https://192.0.2.1/x"}}]}',
    ['IST0163', 'IST0164'],
  ],
  [
    'a network of a registry nobody knows',
    '{kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {meshNetworks: "networks: {n: {endpoints: [{fromRegistry: far}]}}"}}',
    ['IST0126'],
  ],
  [
    'namespaces that are injected without a label',
    `{kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: '{"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}}'}}\n---\n{kind: Namespace, metadata: {name: other}}`,
    ['IST0148'],
  ],
  [
    'a proxy that is not the one that is injected',
    `{kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: '{"global": {"hub": "h", "tag": "2", "proxy": {"image": "p"}}}'}}\n---\n{kind: Pod, metadata: {name: old}, spec: {containers: [{name: istio-proxy, image: "h/p:1"}]}}`,
    ['IST0158'],
  ],
  [
    'a Sidecar where nobody has one',
    '{kind: Namespace, metadata: {name: quiet, labels: {istio.io/dataplane-mode: ambient}}}\n---\n{kind: Sidecar, metadata: {name: s, namespace: quiet}, spec: {egress: [{hosts: ["./*"]}]}}',
    ['IST0167'],
  ],
  [
    'keys that are fetched from anywhere',
    '{kind: Deployment, metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}, spec: {template: {spec: {containers: [{name: d}]}}}}\n---\n{kind: RequestAuthentication, metadata: {name: r}, spec: {jwtRules: []}}',
    ['IST0175'],
  ],
  [
    'a definition that is too old',
    '{kind: CustomResourceDefinition, metadata: {name: tlsroutes.gateway.networking.k8s.io, annotations: {gateway.networking.k8s.io/bundle-version: v1.4.0}}, spec: {}}',
    ['IST0176'],
  ],
  [
    'a policy for pods that are not there, from a namespace that is not',
    '{kind: AuthorizationPolicy, metadata: {name: p}, spec: {selector: {matchLabels: {app: nosuch}}, rules: [{from: [{source: {namespaces: [nosuch]}}]}]}}',
    ['IST0101', 'IST0127'],
  ],
  [
    'a gateway that a control plane made',
    '{kind: VirtualService, metadata: {name: v}, spec: {hosts: [web.example], gateways: [gw~istio-autogenerated-k8s-gateway~http], http: [{route: [{destination: {host: web}}]}]}}',
    ['IST0106', 'IST0165'],
  ],
]

for (const [what, text, found] of CASES) test(`analysis: ${what}`, () => assert.deepEqual(codes(MESH + text), found))

test('what an object’s annotation suppresses is not said of it', () => {
  const broken = (annotations: string) =>
    `{kind: VirtualService, metadata: {name: v, annotations: ${annotations}}, spec: {hosts: [web], http: [{route: [{destination: {host: nosuch}}]}]}}`
  assert.deepEqual(codes(MESH + broken('{galley.istio.io/analyze-suppress: IST0101}')), [])
  assert.deepEqual(codes(MESH + broken('{galley.istio.io/analyze-suppress: "*"}')), [])
  assert.deepEqual(codes(MESH + broken('{galley.istio.io/analyze-suppress: IST0102}')), ['IST0101'])
})

test('a proxy’s image may be the variant that the mesh asks for', () => {
  const proxy = (name: string, image: string) =>
    `{kind: Pod, metadata: {name: ${name}}, spec: {containers: [{name: istio-proxy, image: "${image}"}]}}`
  const found = analyzeObjects(
    objects(
      [
        '{kind: Namespace, metadata: {name: default, labels: {istio-injection: enabled}}}',
        '{kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: "defaultConfig: {image: {imageType: small}}"}}',
        `{kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: '{"global": {"hub": "h", "tag": "2", "proxy": {"image": "p"}}}'}}`,
        proxy('usual', 'h/p:2'),
        proxy('variant', 'h/p:2-small'),
        proxy('old', 'h/p:1-small'),
      ].join('\n---\n'),
    ),
  ).filter((f) => f.code === 'IST0158')
  assert.equal(found.length, 1)
  assert.match(found[0]!.message, /pod names: \[old\]/)
})
