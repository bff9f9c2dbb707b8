// Objects of the Gateway API that cannot be are refused when they are written: by the bounds of their fields, and by
// the rules that their definitions bear upstream.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi } from '#kit'
import { installKinds } from '../../src/mesh/schema/install.ts'
import { validateGatewayApi } from '../../src/mesh/validation/gateway-api.ts'

const PLURALS: Record<string, string> = {
  Gateway: 'v1/namespaces/default/gateways',
  GatewayClass: 'v1/gatewayclasses',
  HTTPRoute: 'v1/namespaces/default/httproutes',
  GRPCRoute: 'v1/namespaces/default/grpcroutes',
  TCPRoute: 'v1alpha2/namespaces/default/tcproutes',
  ReferenceGrant: 'v1beta1/namespaces/default/referencegrants',
  BackendTLSPolicy: 'v1/namespaces/default/backendtlspolicies',
}

const listener = (more: Json = {}) => ({ name: 'a', port: 80, protocol: 'HTTP', ...more })
const gateway = (...listeners: Json[]) => ({ gatewayClassName: 'istio', listeners })
const rule = (more: Json): Json => ({ rules: [more] })
const filter = (type: string, more: Json = {}) => rule({ filters: [{ type, ...more }] })
const path = (value: string, type = 'PathPrefix') => rule({ matches: [{ path: { type, value } }] })
const parent = (more: Json = {}) => ({ name: 'gw', ...more })
const headers = (...names: string[]) => names.map((name) => ({ name, value: 'x' }))
const many = (n: number) => Array.from({ length: n }, (_, i) => `h${i}`)
const policy = (more: Json): Json => ({ targetRefs: [{ group: '', kind: 'Service', name: 's' }], ...more })

const BAD: [kind: string, spec: Json, message: RegExp][] = [
  ['Gateway', { gatewayClassName: 'istio' }, /spec\.listeners: Required value/],
  ['Gateway', gateway(), /spec\.listeners/],
  ['Gateway', gateway(listener({ name: 'bad>' })), /spec\.listeners\[0\]\.name: Invalid value: "bad>"/],
  ['Gateway', gateway(listener({ port: 123456 })), /spec\.listeners\[0\]\.port: Invalid value: 123456/],
  ['Gateway', gateway(listener(), listener({ port: 81 })), /spec\.listeners\[1\]: Duplicate value/],
  ['Gateway', gateway(listener(), listener({ name: 'b' })), /port, protocol and hostname must be unique/],
  ['Gateway', gateway(listener({ protocol: 'TCP', hostname: 'a.b' })), /hostname must not be specified for protocols/],
  ['Gateway', gateway(listener({ protocol: 'TCP', tls: { mode: 'Passthrough' } })), /tls must not be specified for/],
  ['Gateway', gateway(listener({ protocol: 'HTTPS', tls: { mode: 'Passthrough' } })), /tls mode must be Terminate/],
  ['Gateway', gateway(listener({ protocol: 'HTTPS', tls: {} })), /certificateRefs or options must be specified/],
  ['Gateway', gateway(listener({ protocol: 'TLS' })), /tls mode must be set for protocol TLS/],
  [
    'Gateway',
    { ...gateway(listener()), addresses: [{ value: '1.1.1.1' }, { value: '1.1.1.1' }] },
    /IPAddress values must/,
  ],
  ['Gateway', gateway(listener({ hostname: '*.*.a' })), /spec\.listeners\[0\]\.hostname/],
  ['GatewayClass', { controllerName: 'nameless' }, /spec\.controllerName: Invalid value: "nameless"/],
  ['HTTPRoute', { hostnames: ['a..b'] }, /spec\.hostnames\[0\]: Invalid value: "a\.\.b"/],
  ['HTTPRoute', { hostnames: many(17) }, /spec\.hostnames: Too many: 17: must have at most 16 items/],
  ['HTTPRoute', { parentRefs: [parent(), parent()] }, /sectionName or port must be specified when parentRefs/],
  ['HTTPRoute', { parentRefs: [parent({ port: 1 }), parent({ port: 1 })] }, /sectionName or port must be unique when/],
  [
    'HTTPRoute',
    rule({ backendRefs: [{ name: 's' }] }),
    /Invalid value: "object": Must have port for Service reference/,
  ],
  ['HTTPRoute', rule({ backendRefs: [{ name: 's', port: 80, group: '?' }] }), /backendRefs\[0\]\.group/],
  ['HTTPRoute', rule({ backendRefs: [{ name: 's', port: 80, weight: -1 }] }), /backendRefs\[0\]\.weight/],
  ['HTTPRoute', filter('RequestHeaderModifier'), /filter\.requestHeaderModifier must be specified for/],
  ['HTTPRoute', filter('URLRewrite', { requestHeaderModifier: {} }), /filter\.requestHeaderModifier must be nil if/],
  [
    'HTTPRoute',
    filter('RequestHeaderModifier', { requestHeaderModifier: { set: headers('a', 'a') } }),
    /set\[1\]: Duplicate/,
  ],
  ['HTTPRoute', filter('RequestHeaderModifier', { requestHeaderModifier: { add: headers('a b') } }), /add\[0\]\.name/],
  ['HTTPRoute', filter('RequestRedirect', { requestRedirect: { hostname: '*.a' } }), /requestRedirect\.hostname/],
  ['HTTPRoute', filter('RequestRedirect', { requestRedirect: { statusCode: 304 } }), /Unsupported value: 304/],
  ['HTTPRoute', filter('URLRewrite', { urlRewrite: { path: { type: 'ReplaceFullPath' } } }), /replaceFullPath must be/],
  ['HTTPRoute', filter('CORS', { cors: { allowOrigins: ['*', 'http://a'] } }), /AllowOrigins cannot contain '\*'/],
  ['HTTPRoute', filter('ExternalAuth', { externalAuth: {} }), /externalAuth\.backendRef: Required value/],
  [
    'HTTPRoute',
    rule({ filters: [{ type: 'RequestRedirect', requestRedirect: {} }], backendRefs: [{ name: 's', port: 80 }] }),
    /RequestRedirect filter must not be used together with backendRefs/,
  ],
  [
    'HTTPRoute',
    rule({
      matches: [{ path: { type: 'Exact', value: '/a' } }],
      filters: [{ type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } }],
    }),
    /When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified/,
  ],
  [
    'HTTPRoute',
    rule({ filters: [1, 2].map(() => ({ type: 'RequestRedirect', requestRedirect: {} })) }),
    /RequestRedirect filter cannot be repeated/,
  ],
  ['HTTPRoute', path('a'), /value must be an absolute path and start with '\/'/],
  ['HTTPRoute', path('/a//b'), /must not contain '\/\/'/],
  ['HTTPRoute', path('/a/..'), /must not end with '\/\.\.'/],
  ['HTTPRoute', path('/a^b', 'Exact'), /must only contain valid characters/],
  ['HTTPRoute', rule({ matches: [{ headers: headers('a', 'a') }] }), /headers\[1\]: Duplicate value/],
  ['HTTPRoute', rule({ timeouts: { request: '1s', backendRequest: '2s' } }), /backendRequest timeout cannot be longer/],
  ['HTTPRoute', rule({ timeouts: { request: '1 second' } }), /timeouts\.request: Invalid value/],
  ['HTTPRoute', { rules: [{ name: 'a' }, { name: 'a' }] }, /Rule name must be unique within the route/],
  ['GRPCRoute', rule({ matches: [{ method: { service: '/a/' } }] }), /service must only contain valid characters/],
  ['GRPCRoute', rule({ matches: [{ method: {} }] }), /One or both of 'service' or 'method' must be specified/],
  ['TCPRoute', rule({ backendRefs: [{ name: 's' }] }), /Must have port for Service reference/],
  ['TCPRoute', rule({}), /spec\.rules\[0\]\.backendRefs: Required value/],
  [
    'ReferenceGrant',
    { from: [{ group: '', kind: 'A', namespace: 'B' }], to: [{ group: '', kind: 'A' }] },
    /from\[0\]\.namespace/,
  ],
  ['BackendTLSPolicy', policy({ validation: { hostname: 'a.b' } }), /must specify either CACertificateRefs or/],
  [
    'BackendTLSPolicy',
    policy({ validation: { hostname: '*.b', wellKnownCACertificates: 'System' } }),
    /validation\.hostname/,
  ],
]

const GOOD: [kind: string, spec: Json][] = [
  ['Gateway', gateway(listener(), listener({ name: 'b', hostname: 'a.b' }), listener({ name: 'c', hostname: '*.b' }))],
  ['Gateway', gateway(listener({ protocol: 'TLS', tls: { mode: 'Passthrough' } }))],
  ['Gateway', gateway(listener({ protocol: 'HTTPS', tls: { certificateRefs: [{ name: 'c' }] } }))],
  [
    'HTTPRoute',
    { parentRefs: [parent({ sectionName: 'a' }), parent({ sectionName: 'b' })], hostnames: ['*.a.b', 'c'] },
  ],
  ['HTTPRoute', path('/a/b%20c;v=1,(2)')],
  ['HTTPRoute', path('^/[a-z]+$', 'RegularExpression')],
  ['HTTPRoute', rule({ timeouts: { request: '0s', backendRequest: '2s' }, backendRefs: [{ name: 's', port: 80 }] })],
  [
    'HTTPRoute',
    filter('URLRewrite', { urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } }),
  ],
  ['HTTPRoute', filter('RequestMirror', { requestMirror: { backendRef: { name: 's', port: 80 }, percent: 50 } })],
  ['GRPCRoute', rule({ matches: [{ method: { service: 'a.B', method: 'C' } }] })],
  ['BackendTLSPolicy', policy({ validation: { hostname: 'a.b', wellKnownCACertificates: 'System' } })],
]

test('the Gateway API: what cannot be is refused with the words of its own definitions, what can be is taken', async () => {
  await using api = await startApi()
  await installKinds(api.client)
  api.resources.addAdmission({
    name: 'GatewayApi',
    validate: ({ kind, object, old }) => validateGatewayApi(kind.kind, object.spec ?? {}, old?.spec),
  })
  const create = (kind: string, spec: Json, i: number) =>
    call(api, 'POST', `/apis/gateway.networking.k8s.io/${PLURALS[kind]}`, { metadata: { name: `o${i}` }, spec })
  for (const [i, [kind, spec, message]] of BAD.entries()) {
    const { status, body } = await create(kind, spec, i)
    assert.equal(status, 422, `${kind} ${JSON.stringify(spec)}: ${JSON.stringify(body).slice(0, 300)}`)
    assert.match(body.message, message)
  }
  for (const [i, [kind, spec]] of GOOD.entries()) {
    const { status, body } = await create(kind, spec, i)
    assert.equal(status, 201, `${kind} ${JSON.stringify(spec)}: ${body.message}`)
  }
})
