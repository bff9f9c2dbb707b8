// The rules that Istio's definitions state beside their types (istio.io/api, XValidation), in their wording. Pure.
// They are the API server's, so that they are looked at before anything that Istio itself refuses.

import type { FieldError, Json } from '#api'
import { parseDuration } from '#base'
import { isSocket } from '../model/unix-socket.ts'
import type { Type } from '../schema/idl.ts'
import { fieldsOf } from '../schema/shape.ts'

interface Rule {
  /** Where below the value it is looked at, if not there itself. */
  readonly at?: readonly string[]
  readonly holds: (value: Json) => boolean
  readonly message: string
}

const rule = (message: string, holds: (value: Json) => boolean): Rule => ({ message, holds })
const atMostOne = (message: string, ...names: string[]) =>
  rule(message, (v) => names.filter((n) => v[n] !== undefined).length <= 1)
const keys = (message: string, holds: (key: string) => boolean) => rule(message, (v) => Object.keys(v).every(holds))

const PORT = rule('port must be between 1-65535', (n: unknown) => Number(n) > 0 && Number(n) <= 65_535)
const TARGETED = atMostOne('only one of targetRefs or selector can be set', 'selector', 'targetRef', 'targetRefs')
const NO_SOCKET_PORTS = rule('UDS may not include ports', (v) => !isSocket(v.address) || v.ports === undefined)
const ADDRESSED = rule('Address is required', (v) => v.address !== undefined || v.network !== undefined)
const NO_WILDCARD = rule('wildcard is not supported in selector', (v) => !String(v).includes('*'))

const schemeOf = (text: unknown) => /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(String(text))?.[1]
const JWKS = rule('url must have scheme http:// or https://', (v) => ['http', 'https'].includes(schemeOf(v) ?? ''))
const WASM_URL = rule('url must have schema one of [http, https, file, oci]', (v) => {
  const text = String(v)
  const scheme = schemeOf(text)
  return URL.canParse(scheme ? text : `http://${text}`) && ['http', 'https', 'file', 'oci'].includes(scheme ?? 'http')
})
const DURATION = rule('must be a valid duration greater than 1ms', (v) => (parseDuration(v) ?? 0) >= 1)

/** By message, by a kind's spec alone, by a message's field, and by what a list ("[]") or a map ("{}") in a field holds. */
const RULES: Readonly<Record<string, readonly Rule[]>> = {
  'MatchLabels.matchLabels': [
    keys('wildcard not allowed in label key match', (k) => !k.includes('*')),
    keys('key must not be empty', (k) => k !== ''),
  ],
  'MatchLabels.matchLabels{}': [rule('wildcard not allowed in label value match', (v) => !String(v).includes('*'))],
  'WorkloadSelector.labels{}': [NO_WILDCARD],
  'PolicyTargetReference.namespace': [
    rule('cross namespace referencing is not currently supported', (v) => String(v) === ''),
  ],
  ServiceEntry: [
    atMostOne('only one of WorkloadSelector or Endpoints can be set', 'workloadSelector', 'endpoints'),
    rule(
      'CIDR addresses are allowed only for NONE/STATIC resolution types',
      ({ addresses = [], resolution = 'NONE' }) =>
        !addresses.some((a: string) => a.includes('/')) || resolution === 'NONE' || resolution === 'STATIC',
    ),
    rule(
      'NONE mode cannot set endpoints',
      ({ resolution = 'NONE', endpoints }) => resolution !== 'NONE' || endpoints === undefined,
    ),
    rule(
      'DNS_ROUND_ROBIN mode cannot have multiple endpoints',
      ({ resolution, endpoints = [] }) => resolution !== 'DNS_ROUND_ROBIN' || endpoints.length <= 1,
    ),
  ],
  'ServiceEntry.hosts[]': [rule('hostname cannot be wildcard', (v) => String(v) !== '*')],
  'ServiceEntry.ports': [
    rule(
      'port number cannot be duplicated',
      (ports) => new Set(ports.map((p: Json) => p.number)).size === ports.length,
    ),
  ],
  'ServiceEntry.endpoints[]': [ADDRESSED],
  'ServicePort.number': [PORT],
  'ServicePort.targetPort': [PORT],
  'WorkloadEntry/spec': [ADDRESSED],
  WorkloadEntry: [NO_SOCKET_PORTS],
  'WorkloadEntry.address': [
    rule(
      'UDS must be an absolute path or abstract socket',
      (v) => typeof v !== 'string' || !isSocket(v) || /^unix:\/\/[/@]/.test(v),
    ),
    rule('UDS may not be a dir', (v) => !isSocket(v) || !v.endsWith('/')),
  ],
  'WorkloadEntry.ports': [
    keys('port name must be valid', (k) => k.length < 63 && /^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/.test(k)),
  ],
  'WorkloadEntry.ports{}': [PORT],
  'HTTPHealthCheckConfig.port': [PORT],
  'HTTPHealthCheckConfig.scheme': [
    rule('scheme must be one of [HTTP, HTTPS]', (v) => ['', 'HTTP', 'HTTPS'].includes(String(v))),
  ],
  'TCPHealthCheckConfig.port': [PORT],
  'GrpcHealthCheckConfig.port': [PORT],
  ServerTLSSettings: [
    atMostOne('only one of credentialNames or tlsCertificates can be set', 'tlsCertificates', 'credentialNames'),
    atMostOne('only one of credentialName or credentialNames can be set', 'credentialName', 'credentialNames'),
  ],
  EnvoyFilter: [atMostOne('only one of targetRefs or workloadSelector can be set', 'workloadSelector', 'targetRefs')],
  'ConfigPatch.match': [
    rule(
      'only support waypointMatch when context is WAYPOINT',
      ({ context, waypoint }) => (context === 'WAYPOINT') === (waypoint !== undefined),
    ),
    { ...PORT, at: ['waypoint', 'portNumber'] },
  ],
  AuthorizationPolicy: [TARGETED],
  Source: [
    rule(
      'Cannot set serviceAccounts with namespaces or principals',
      (v) =>
        (v.serviceAccounts === undefined && v.notServiceAccounts === undefined) ||
        ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'].every((n) => v[n] === undefined),
    ),
  ],
  PeerAuthentication: [
    rule(
      'portLevelMtls requires selector',
      (v) => v.portLevelMtls === undefined || Object.keys(v.selector?.matchLabels ?? {}).length > 0,
    ),
  ],
  'PeerAuthentication.portLevelMtls': [
    keys("type conversion error from 'string' to 'int'", (k) => /^-?\d+$/.test(k)),
    keys(PORT.message, (k) => !/^-?\d+$/.test(k) || (Number(k) > 0 && Number(k) <= 65_535)),
  ],
  RequestAuthentication: [TARGETED],
  JWTRule: [atMostOne('only one of jwks or jwksUri can be set', 'jwksUri', 'jwks_uri', 'jwks')],
  'JWTRule.jwksUri': [JWKS],
  'JWTRule.jwks_uri': [JWKS],
  Telemetry: [TARGETED],
  TagOverride: [
    rule('value must be set when operation is UPSERT', (v) => v.operation !== 'UPSERT' || Boolean(v.value)),
    rule('value must not be set when operation is REMOVE', (v) => v.operation !== 'REMOVE' || v.value === undefined),
  ],
  WasmPlugin: [TARGETED],
  'WasmPlugin.url': [WASM_URL],
  'WasmConfig.url': [WASM_URL],
  EnvVar: [
    rule('value may only be set when valueFrom is INLINE', (v) => v.valueFrom !== 'HOST' || v.value === undefined),
  ],
  TrafficExtension: [
    atMostOne('only one of targetRefs or selector can be set', 'selector', 'targetRefs'),
    rule('exactly one of wasm or lua must be set', (v) => (v.wasm === undefined) !== (v.lua === undefined)),
  ],
}

/** What a spec breaks of its kind's rules; empty for kinds that are not Istio's. */
export function brokenRules(kind: string, spec: Json): FieldError[] {
  const problems: FieldError[] = []
  const apply = (name: string, value: Json, path: string) => {
    for (const { holds, message, at = [] } of RULES[name] ?? []) {
      const meant = at.reduce((v, key) => v?.[key], value)
      if (meant !== undefined && !holds(meant))
        problems.push({
          path: [path, ...at].join('.'),
          reason: 'FieldValueInvalid',
          message: `Invalid value: "${typeOf(meant)}": ${message}`,
        })
    }
  }
  const look = (value: Json, type: Type, path: string, field: string): void => {
    // Of what has not the right type others tell.
    if (value === undefined || value === null || !fits(value, type)) return
    apply(field, value, path)
    switch (type.kind) {
      case 'duration':
        if (!DURATION.holds(value))
          problems.push({ path, reason: 'FieldValueInvalid', message: `Invalid value: "string": ${DURATION.message}` })
        return
      case 'list':
        for (const [i, v] of (value as Json[]).entries()) look(v, type.of, `${path}[${i}]`, `${field}[]`)
        return
      case 'map':
        for (const [k, v] of Object.entries<Json>(value)) look(v, type.of, `${path}.${k}`, `${field}{}`)
        return
      case 'message': {
        apply(type.name, value, path)
        for (const [name, of] of fieldsOf(kind, type.name))
          look(value[name], of, `${path}.${name}`, `${type.name}.${name}`)
      }
    }
  }
  look(spec, { kind: 'message', name: kind }, 'spec', `${kind}/spec`)
  return problems
}

/** Whether a value has the type's form, as far as its parts are looked into. */
function fits(value: unknown, { kind }: Type): boolean {
  if (kind === 'list') return Array.isArray(value)
  return (kind !== 'map' && kind !== 'message') || (typeof value === 'object' && !Array.isArray(value))
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  return typeof value === 'number' ? (Number.isInteger(value) ? 'integer' : 'number') : typeof value
}
