// Istio's objects that cannot be are refused when they are written: by the bounds of their fields, by the rules that
// their definitions bear upstream, and only then by what Istio itself looks into.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi } from '#kit'
import { installKinds } from '../../src/mesh/schema/install.ts'
import { admitIstio, istioWarnings } from '../../src/mesh/validation/validate.ts'

const PATHS: Record<string, string> = {
  DestinationRule: 'networking.istio.io/v1/namespaces/default/destinationrules',
  VirtualService: 'networking.istio.io/v1/namespaces/default/virtualservices',
  Gateway: 'networking.istio.io/v1/namespaces/default/gateways',
  ServiceEntry: 'networking.istio.io/v1/namespaces/default/serviceentries',
  WorkloadEntry: 'networking.istio.io/v1/namespaces/default/workloadentries',
  WorkloadGroup: 'networking.istio.io/v1/namespaces/default/workloadgroups',
  Sidecar: 'networking.istio.io/v1/namespaces/default/sidecars',
  EnvoyFilter: 'networking.istio.io/v1alpha3/namespaces/default/envoyfilters',
  ProxyConfig: 'networking.istio.io/v1beta1/namespaces/default/proxyconfigs',
  AuthorizationPolicy: 'security.istio.io/v1/namespaces/default/authorizationpolicies',
  PeerAuthentication: 'security.istio.io/v1/namespaces/default/peerauthentications',
  RequestAuthentication: 'security.istio.io/v1/namespaces/default/requestauthentications',
  Telemetry: 'telemetry.istio.io/v1/namespaces/default/telemetries',
  WasmPlugin: 'extensions.istio.io/v1alpha1/namespaces/default/wasmplugins',
}

const policy = (trafficPolicy: Json): Json => ({ host: 'a', trafficPolicy })
const warmup = (more: Json) => policy({ loadBalancer: { simple: 'ROUND_ROBIN', warmup: more } })
const hashed = (more: Json) => policy({ loadBalancer: { consistentHash: { useSourceIp: true, ...more } } })
const near = (localityLbSetting: Json) => policy({ outlierDetection: {}, loadBalancer: { localityLbSetting } })
const entry = (more: Json): Json => ({ hosts: ['a.b'], ...more })
const port = (number: number, name: string): Json => ({ number, name, protocol: 'HTTP' })
const jwt = (more: Json): Json => ({ jwtRules: [{ issuer: 'a', jwksUri: 'https://a.b', ...more }] })
const labels = (matchLabels: Json): Json => ({ selector: { matchLabels } })
const source = (more: Json): Json => ({ rules: [{ from: [{ source: more }] }] })
const tag = (more: Json): Json => ({ metrics: [{ overrides: [{ tagOverrides: { t: more } }] }] })

const BAD: readonly [kind: string, spec: Json | undefined, message: string][] = [
  ['DestinationRule', {}, 'spec.host: Required value'],
  ['DestinationRule', warmup({ minimumPercent: 5 }), 'spec.trafficPolicy.loadBalancer.warmup.duration: Required value'],
  [
    'DestinationRule',
    warmup({ duration: '3s', minimumPercent: 101 }),
    'warmup.minimumPercent in body should be less than or equal to 100',
  ],
  [
    'DestinationRule',
    policy({ connectionPool: { tcp: { connectTimeout: '1us' } } }),
    'connectTimeout: Invalid value: "string": must be a valid duration greater than 1ms',
  ],
  ['DestinationRule', policy({ tunnel: { targetHost: 'a' } }), 'spec.trafficPolicy.tunnel.targetPort: Required value'],
  ['VirtualService', { http: [{ route: [{}] }] }, 'spec.http[0].route[0].destination: Required value'],
  ['VirtualService', { tls: [{ match: [{ port: 1 }] }] }, 'spec.tls[0].match[0].sniHosts: Required value'],
  [
    'VirtualService',
    { http: [{ timeout: 'soon' }] },
    'spec.http[0].timeout: Invalid value: "string": must be a valid duration greater than 1ms',
  ],
  ['Gateway', { servers: [{ port: { number: 1 } }] }, 'spec.servers[0].hosts: Required value'],
  [
    'Gateway',
    {
      servers: [
        { port: port(1, 'a'), hosts: ['*'], tls: { mode: 'SIMPLE', credentialName: 'a', credentialNames: ['b'] } },
      ],
    },
    'only one of credentialName or credentialNames can be set',
  ],
  ['ServiceEntry', undefined, 'spec: Required value'],
  ['ServiceEntry', { ports: [] }, 'spec.hosts: Required value'],
  ['ServiceEntry', { hosts: ['*'] }, 'spec.hosts[0]: Invalid value: "string": hostname cannot be wildcard'],
  ['ServiceEntry', entry({ ports: [port(1, 'a'), port(2, 'a')] }), 'spec.ports[1]: Duplicate value'],
  ['ServiceEntry', entry({ ports: [port(1, 'a'), port(1, 'b')] }), 'port number cannot be duplicated'],
  ['ServiceEntry', entry({ ports: [port(70_000, 'a')] }), '"integer": port must be between 1-65535'],
  [
    'ServiceEntry',
    entry({ resolution: 'STATIC', workloadSelector: {}, endpoints: [{ address: '1.1.1.1' }] }),
    'only one of WorkloadSelector or Endpoints can be set',
  ],
  ['ServiceEntry', entry({ endpoints: [{ address: '1.1.1.1' }] }), 'NONE mode cannot set endpoints'],
  [
    'ServiceEntry',
    entry({ resolution: 'DNS_ROUND_ROBIN', endpoints: [{ address: 'a' }, { address: 'b' }] }),
    'DNS_ROUND_ROBIN mode cannot have multiple endpoints',
  ],
  ['WorkloadEntry', { ports: { http: 1 } }, 'spec: Invalid value: "object": Address is required'],
  ['WorkloadEntry', { address: 'unix://socket' }, 'UDS must be an absolute path or abstract socket'],
  ['WorkloadEntry', { address: 'unix:///folder/' }, 'UDS may not be a dir'],
  ['WorkloadEntry', { address: 'unix:///socket', ports: { a: 1 } }, 'UDS may not include ports'],
  ['WorkloadEntry', { address: '1.1.1.1', ports: { '-a': 1 } }, 'spec.ports: Invalid value: "object": port name must'],
  ['WorkloadGroup', {}, 'spec.template: Required value'],
  ['WorkloadGroup', { template: {}, probe: { tcpSocket: { port: 0 } } }, 'probe.tcpSocket.port: Invalid value'],
  ['Sidecar', { egress: [{}] }, 'spec.egress[0].hosts: Required value'],
  ['Sidecar', { workloadSelector: { labels: { a: 'b*' } } }, 'wildcard is not supported in selector'],
  [
    'EnvoyFilter',
    { configPatches: [{ applyTo: 'CLUSTER', match: { context: 'GATEWAY', waypoint: {} } }] },
    'only support waypointMatch when context is WAYPOINT',
  ],
  ['ProxyConfig', { concurrency: -1 }, 'spec.concurrency in body should be greater than or equal to 0'],
  ['ProxyConfig', labels({ '': 'a' }), 'key must not be empty'],
  ['AuthorizationPolicy', { ...labels({}), targetRefs: [] }, 'only one of targetRefs or selector can be set'],
  ['AuthorizationPolicy', { targetRefs: [{ kind: 'Gateway' }] }, 'spec.targetRefs[0].name: Required value'],
  [
    'AuthorizationPolicy',
    { targetRefs: [{ kind: 'Gateway', name: 'a', namespace: 'b' }] },
    'cross namespace referencing is not currently supported',
  ],
  [
    'AuthorizationPolicy',
    source({ serviceAccounts: ['a'], namespaces: ['b'] }),
    'Cannot set serviceAccounts with namespaces or principals',
  ],
  ['PeerAuthentication', { portLevelMtls: { 80: { mode: 'STRICT' } } }, 'portLevelMtls requires selector'],
  ['PeerAuthentication', { ...labels({ a: 'b' }), portLevelMtls: {} }, 'should have at least 1 properties'],
  ['PeerAuthentication', { ...labels({ a: 'b' }), portLevelMtls: { x: {} } }, 'type conversion error'],
  ['PeerAuthentication', { ...labels({ a: 'b' }), portLevelMtls: { 0: {} } }, 'port must be between 1-65535'],
  ['RequestAuthentication', jwt({ audiences: [''] }), 'audiences[0] in body should be at least 1 chars long'],
  ['RequestAuthentication', jwt({ jwksUri: 'ftp://a' }), 'url must have scheme http:// or https://'],
  ['RequestAuthentication', jwt({ jwks: '{}' }), 'only one of jwks or jwksUri can be set'],
  ['RequestAuthentication', jwt({ fromHeaders: [{}] }), 'spec.jwtRules[0].fromHeaders[0].name: Required value'],
  ['RequestAuthentication', jwt({ presence: 'MAYBE' }), 'Unsupported value: "MAYBE"'],
  ['Telemetry', { tracing: [{ providers: [{}] }] }, 'spec.tracing[0].providers[0].name: Required value'],
  ['Telemetry', tag({ operation: 'UPSERT' }), 'value must be set when operation is UPSERT'],
  ['Telemetry', tag({ operation: 'REMOVE', value: 'a' }), 'value must not be set when operation is REMOVE'],
  ['WasmPlugin', {}, 'spec.url: Required value'],
  ['WasmPlugin', { url: 'ftp://a' }, 'url must have schema one of [http, https, file, oci]'],
  ['WasmPlugin', { url: 'a/b', sha256: 'x' }, 'spec.sha256 in body should match'],
  [
    'WasmPlugin',
    { url: 'a/b', vmConfig: { env: [{ name: 'a', valueFrom: 'HOST', value: 'b' }] } },
    'value may only be set when valueFrom is INLINE',
  ],
  [
    'VirtualService',
    { http: [{ match: [{ uri: { exact: '/a', prefix: '/b' } }] }] },
    '"spec.http[0].match[0].uri" must validate one and only one schema (oneOf). Found 2 valid alternatives',
  ],
  [
    'DestinationRule',
    policy({ loadBalancer: { simple: 'RANDOM', consistentHash: { useSourceIp: true } } }),
    '"spec.trafficPolicy.loadBalancer" must validate one and only one schema (oneOf)',
  ],
  [
    'DestinationRule',
    policy({ loadBalancer: { consistentHash: { useSourceIp: true, httpHeaderName: 'a' } } }),
    '"spec.trafficPolicy.loadBalancer.consistentHash" must validate one and only one schema (oneOf)',
  ],
  ['ServiceEntry', { hosts: 'a.b' }, 'spec.hosts'],
  // What Istio itself looks into.
  ['Gateway', { servers: [{ port: port(1, 'a'), hosts: ['*a.b'] }] }, 'partial wildcard "*a.b" not allowed'],
  [
    'VirtualService',
    { hosts: ['*.a.b', '*.b'], http: [{ route: [{ destination: { host: 'c' } }] }] },
    'duplicate hosts in virtual service: *.a.b & *.b',
  ],
  ['VirtualService', { hosts: ['a.!'], http: [{}] }, 'domain name "!" invalid (label "!" invalid)'],
  [
    'DestinationRule',
    policy({ tls: { mode: 'SIMPLE', insecureSkipVerify: true, credentialName: 'a' } }),
    'cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true',
  ],
  ['DestinationRule', policy({}), 'traffic policy must have at least one field'],
  [
    'DestinationRule',
    policy({ tls: { mode: 'SIMPLE', credentialName: 'a', caCertificates: '/a' } }),
    'cannot specify client certificates or CA certificate or CA CRL If credentialName is set',
  ],
  [
    'DestinationRule',
    policy({ tunnel: { targetHost: '*.a', targetPort: 1 } }),
    'tunnel target host must be valid FQDN or IP address',
  ],
  [
    'DestinationRule',
    policy({ connectionPool: { http: { maxConcurrentStreams: -1 } } }),
    'max concurrent streams must be non-negative',
  ],
  [
    'DestinationRule',
    policy({ connectionPool: { http: { http2KeepAlive: { interval: '1s' } } } }),
    'http2 keepalive timeout is required',
  ],
  [
    'DestinationRule',
    policy({ outlierDetection: { consecutiveLocalOriginFailures: 1 } }),
    'consecutive local origin failures is specified, but split external local origin errors is set to false',
  ],
  ['DestinationRule', hashed({ maglev: { tableSize: 4 } }), 'tableSize must be a prime number for maglev'],
  ['DestinationRule', hashed({ maglev: { tableSize: 5_000_011 } }), 'tableSize must be less than 5000011 for maglev'],
  ['DestinationRule', hashed({ minimumRingSize: 1, ringHash: {} }), 'only one of MinimumRingSize or Maglev/Ringhash'],
  [
    'DestinationRule',
    near({ distribute: [{ from: 'a', to: { b: 100 } }], failover: [{ from: 'a', to: 'b' }] }),
    "can not simultaneously specify 'distribute' and 'failover'",
  ],
  ['DestinationRule', near({ distribute: [{ from: 'a', to: { b: 60, c: 60 } }] }), 'total locality weight 120 != 100'],
  ['DestinationRule', near({ distribute: [{ from: 'a', to: { b: 0, c: 100 } }] }), 'weight must be in range [1, 100]'],
  [
    'DestinationRule',
    near({ distribute: ['a/b', 'a/b/c'].map((from) => ({ from, to: { b: 100 } })) }),
    'locality a/b/c overlap with previous specified ones',
  ],
  ['DestinationRule', near({ distribute: [{ from: 'a//c', to: { b: 100 } }] }), 'must not contain empty region/zone'],
  ['DestinationRule', near({ failover: [{ from: 'a', to: 'a' }] }), 'settings must specify different regions'],
  ['DestinationRule', near({ failover: [{ from: 'a/b', to: 'c' }] }), 'locality lb failover only specify region'],
  [
    'DestinationRule',
    near({ failover: [{ from: 'a', to: 'b' }], failoverPriority: ['topology.kubernetes.io/zone'] }),
    "can not simultaneously set 'failover' and topology label 'topology.kubernetes.io/zone'",
  ],
  [
    'DestinationRule',
    policy({ loadBalancer: { localityLbSetting: {}, zoneAwareLbSetting: {} } }),
    'only one of localityLbSetting and zoneAwareLbSetting can be set',
  ],
  [
    'DestinationRule',
    policy({ loadBalancer: { zoneAwareLbSetting: { failoverPriority: ['topology.istio.io/subzone'] } } }),
    "must not use topology label 'topology.istio.io/subzone'",
  ],
  ['WorkloadEntry', { address: 'a.b:80' }, 'endpoint address "a.b:80" is not a valid FQDN or an IP address'],
  ['WorkloadGroup', { template: {}, metadata: { labels: { '.': '~' } } }, 'invalid tag key: "."'],
  [
    'Sidecar',
    { egress: [{ hosts: ['*/*'] }, { port: port(1, 'a'), hosts: ['*/*'] }] },
    'the egress listener with empty port should be the last listener in the list',
  ],
  [
    'Sidecar',
    { ingress: [{ port: port(1, 'a'), tls: { mode: 'ISTIO_MUTUAL' } }] },
    'cannot set mode to ISTIO_MUTUAL in sidecar ingress tls',
  ],
  ['Sidecar', { outboundTrafficPolicy: { egressProxy: { host: 'a' } } }, 'must be set only with ALLOW_ANY'],
  ['AuthorizationPolicy', { action: 'DENY' }, 'DENY action without `rules` is meaningless'],
  ['AuthorizationPolicy', source({ ipBlocks: ['a'] }), 'bad IP address (a)'],
  ['AuthorizationPolicy', source({ principals: [''] }), 'empty value not allowed, found in Principals'],
  ['AuthorizationPolicy', { rules: [{ when: [{ key: 'a', values: ['b'] }] }] }, 'unknown attribute: a'],
  [
    'AuthorizationPolicy',
    { action: 'CUSTOM', provider: { name: 'a' }, ...source({ namespaces: ['b'] }) },
    'From.Namespaces is currently not supported with CUSTOM action',
  ],
  [
    'AuthorizationPolicy',
    { targetRefs: [{ kind: 'Pod', name: 'a' }] },
    'targetRef must be to one of [core/v1/Service networking.istio.io/v1/ServiceEntry',
  ],
  ['RequestAuthentication', { jwtRules: [{}] }, 'issuer or jwksUri must be non-empty string'],
  ['Telemetry', { tracing: [{ customTags: { a: {} } }] }, "tag 'a' may not have a nil value"],
]

const GOOD: readonly [kind: string, spec: Json][] = [
  ['DestinationRule', warmup({ duration: '3s', minimumPercent: 5, aggression: 1.5 })],
  [
    'DestinationRule',
    near({ distribute: ['a/b/c', 'a/b/*', 'a/*', '*'].map((from) => ({ from, to: { b: 1, c: 99 } })) }),
  ],
  ['DestinationRule', hashed({ maglev: { tableSize: 65_537 } })],
  ['DestinationRule', policy({ loadBalancer: { consistentHash: { ringHash: { minimumRingSize: 4096 } } } })],
  ['DestinationRule', near({ distribute: [{ from: 'a', to: { 'us/*': 80, 'us/a': 20 } }] })],
  ['DestinationRule', policy({ tunnel: { targetHost: 'a.example.com.', targetPort: 80 } })],
  ['DestinationRule', policy({ tls: { mode: 'SIMPLE', insecureSkipVerify: true, subjectAltNames: [] } })],
  ['ServiceEntry', entry({})],
  ['ServiceEntry', entry({ addresses: ['10.0.0.0/8'], ports: [port(1, 'a'), port(2, 'b')] })],
  [
    'ServiceEntry',
    entry({ resolution: 'STATIC', ports: [port(1, 'a')], endpoints: [{ address: 'unix:///var/a.sock' }] }),
  ],
  ['WorkloadGroup', { template: { ports: { http: 80 } }, probe: { httpGet: { port: 80, scheme: 'HTTP' } } }],
  ['ProxyConfig', { ...labels({ a: 'b' }), concurrency: 0 }],
  ['PeerAuthentication', { ...labels({ a: 'b' }), portLevelMtls: { 80: { mode: 'STRICT' } } }],
  ['RequestAuthentication', jwt({ presence: 'REQUIRED', timeout: '5s' })],
  ['WasmPlugin', { url: 'registry.local/plugin:v1' }],
]

const forward = { route: [{ destination: { host: 'a' } }] }
const WARNED: readonly [kind: string, spec: Json, message: string][] = [
  [
    'DestinationRule',
    policy({ loadBalancer: { localityLbSetting: { failover: [{ from: 'a', to: 'b' }] } } }),
    'outlier detection policy must be provided for failover',
  ],
  ['DestinationRule', policy({ outlierDetection: { consecutiveErrors: 1 } }), 'consecutive errors is deprecated'],
  ['DestinationRule', hashed({ minimumRingSize: 1 }), 'consistent hash MinimumRingSize is deprecated'],
  ['VirtualService', { hosts: ['a'], http: [forward, forward] }, 'rule #1 not used (only the last rule can have no'],
  [
    'VirtualService',
    { hosts: ['a'], http: [{ ...forward, mirror: { host: 'b' }, mirrorPercent: 5 }] },
    'using deprecated setting "mirrorPercent"',
  ],
  [
    'VirtualService',
    { hosts: ['a'], gateways: ['gw.ns.svc.cluster.local'], http: [forward] },
    'using legacy gatewayName format "gw.ns.svc.cluster.local"; prefer the <namespace>/<name> format: "ns/gw"',
  ],
  ['Sidecar', { egress: [{ hosts: ['a/b', 'a/b'] }] }, 'duplicated egress host: a/b'],
  ['Sidecar', { workloadSelector: {}, egress: [{ hosts: ['./*'] }] }, 'workload selector specified without labels'],
  ['ServiceEntry', { ...entry({}), hosts: ['*a.b'] }, 'partial wildcard "*a.b" not allowed'],
]

/** An API server of Istio's kinds with the mesh's admission, and a way to create objects there. */
async function admitting() {
  const api = await startApi()
  await installKinds(api.client)
  api.resources.addAdmission({
    name: 'IstioValidation',
    validate: ({ kind, object }) => admitIstio({ ...object, kind: kind.kind }),
    warn: ({ kind, object }) => istioWarnings({ ...object, kind: kind.kind }),
  })
  const create = (kind: string, spec: Json | undefined, name: string) => {
    const [group, version] = PATHS[kind]!.split('/')
    return call(api, 'POST', `/apis/${PATHS[kind]}`, {
      apiVersion: `${group}/${version}`,
      kind,
      metadata: { name },
      ...(spec === undefined ? {} : { spec }),
    })
  }
  return { create, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() }
}

test('what is taken and hardly meant is warned of, as Istio’s webhook does', async () => {
  await using api = await admitting()
  for (const [i, [kind, spec, message]] of WARNED.entries()) {
    const { status, headers } = await api.create(kind, spec, `odd-${i}`)
    assert.equal(status, 201, JSON.stringify(spec))
    assert.ok(
      String(headers.warning).includes(message.replaceAll('"', '\\"')),
      `${headers.warning}\nwanted: ${message}`,
    )
  }
})

test('objects of Istio’s that cannot be are refused in the words of their definitions', async () => {
  await using api = await admitting()
  for (const [i, [kind, spec, message]] of BAD.entries()) {
    const { status, body } = await api.create(kind, spec, `bad-${i}`)
    assert.equal(status, 422, `${kind} ${JSON.stringify(spec)}: ${JSON.stringify(body)}`)
    assert.ok(body.message.includes(message), `${body.message}\nwanted: ${message}`)
  }
  for (const [i, [kind, spec]] of GOOD.entries()) {
    const { status, body } = await api.create(kind, spec, `good-${i}`)
    assert.equal(status, 201, `${kind} ${JSON.stringify(spec)}: ${body.message}`)
  }
})
