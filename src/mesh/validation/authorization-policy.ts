// What Istio refuses in AuthorizationPolicies, in its wording. Pure.

import { isIP } from 'node:net'
import type { Json } from '#api'
import { targeted } from './policies.ts'
import { type Check, cidr, type Problems } from './problems.ts'

const negated = (name: string) => `not${title(name)}`
const title = (name: string) => name[0]!.toUpperCase() + name.slice(1)
const both = (names: readonly string[]) => names.flatMap((n) => [n, negated(n)])
const SOURCE = both([
  'principals',
  'requestPrincipals',
  'namespaces',
  'serviceAccounts',
  'trustDomains',
  'ipBlocks',
  'remoteIpBlocks',
])
const OPERATION = both(['ports', 'methods', 'paths', 'hosts'])
/** What says who asks: another must decide that for CUSTOM. */
const IDENTITIES = both(['namespaces', 'serviceAccounts', 'trustDomains', 'principals', 'requestPrincipals'])
const IDENTITY_KEYS = /^(source\.(namespace|serviceAccount|trustDomain|principal)$|request\.auth\.)/

const badIps = (values: readonly string[]) =>
  values.flatMap((v) => {
    if (v.includes('/')) return cidr(v) ? [] : [`bad CIDR range (${v})`]
    return isIP(v) ? [] : [`bad IP address (${v})`]
  })
const badPorts = (values: readonly string[]) =>
  values.flatMap((v) =>
    /^\d+$/.test(v) && Number(v) <= 65_535
      ? []
      : [`bad port (${v}): strconv.ParseUint: parsing ${JSON.stringify(v)}: invalid syntax`],
  )
const badKey = (key: string) => (/^[^[]+\[.+\]$/.test(key) ? [] : [`bad key (${key}): should have format a[b]`])
const emptyValues = (name: string, values: readonly string[]) =>
  values.includes('') ? [`empty value not allowed, found in ${name}`] : []

/** What is wrong with the values of an attribute in a condition. */
function attributeProblems(key: string, values: readonly string[]): string[] {
  const empty = emptyValues(key, values)
  if (empty.length > 0) return empty
  if (/^(request\.headers|request\.auth\.claims|experimental\.envoy\.filters\.)/.test(key)) return badKey(key)
  if (key.startsWith('destination.labels')) return [`attribute ${key} is replaced by the workload selector`]
  switch (key) {
    case 'source.ip':
    case 'remote.ip':
    case 'destination.ip':
      return badIps(values)
    case 'destination.port':
      return badPorts(values)
    case 'source.namespace':
    case 'source.serviceAccount':
    case 'source.principal':
    case 'source.trustDomain':
    case 'request.auth.principal':
    case 'request.auth.audiences':
    case 'request.auth.presenter':
    case 'connection.sni':
      return []
    case 'destination.namespace':
      return [`attribute ${key} is replaced by the metadata.namespace`]
    case 'destination.name':
    case 'destination.user':
      return [`deprecated attribute ${key}: only supported in v1alpha1`]
    default:
      return [`unknown attribute: ${key}`]
  }
}

/** The fields of a source or an operation: there must be one, and its values be of their kinds. */
function values(of: Json, names: readonly string[], path: string, p: Problems): void {
  for (const name of names) {
    const given: readonly string[] = of[name] ?? []
    const kind = name.toLowerCase()
    const bad = kind.endsWith('ipblocks') ? badIps(given) : kind.endsWith('ports') ? badPorts(given) : []
    for (const message of [...bad, ...emptyValues(title(name), given)]) p.add(`${path}.${name}`, message)
  }
}

/** Checks the spec of an AuthorizationPolicy. */
export const authorizationPolicy: Check = (spec, p) => {
  targeted(spec, p)
  const { action = 'ALLOW', rules, provider } = spec
  const custom = action === 'CUSTOM'
  if (rules === undefined && (custom || action === 'DENY'))
    p.add(
      'spec.rules',
      `${action} action without \`rules\` is meaningless as it will never be triggered, add an empty rule \`{}\` if you want it be triggered for every request`,
    )
  if (custom) p.check(rules === undefined || provider?.name, 'spec.provider.name', '`provider.name` must not be empty')
  else p.check(!provider, 'spec.provider', `\`provider\` must not be with non CUSTOM action, found ${action}`)
  for (const [i, rule] of ((rules ?? []) as Json[]).entries()) {
    const at = `spec.rules[${i}]`
    for (const [part, field, names] of [
      ['from', 'source', SOURCE],
      ['to', 'operation', OPERATION],
    ] as const) {
      p.check(rule[part]?.length !== 0, `${at}.${part}`, `\`${part}\` must not be empty, found at rule ${i}`)
      for (const [j, item] of ((rule[part] ?? []) as Json[]).entries()) {
        const path = `${at}.${part}[${j}]`
        const given: Json | undefined = item[field]
        if (!given) p.add(path, `\`${part}.${field}\` must not be nil, found at rule ${i}`)
        else {
          p.check(
            names.some((n) => given[n]?.length > 0),
            path,
            `\`${part}.${field}\` must not be empty, found at rule ${i}`,
          )
          values(given, names, `${path}.${field}`, p)
          if (custom) noIdentities(given, `${path}.${field}`, p)
        }
      }
    }
    for (const [j, c] of ((rule.when ?? []) as Json[]).entries()) condition(c, `${at}.when[${j}]`, custom, p)
  }
}

function noIdentities(source: Json, path: string, p: Problems): void {
  for (const n of IDENTITIES)
    p.check(!source[n]?.length, `${path}.${n}`, `From.${title(n)} is currently not supported with CUSTOM action`)
}

function condition({ key, values = [], notValues = [] }: Json, path: string, custom: boolean, p: Problems): void {
  if (!key) return p.add(`${path}.key`, '`key` must not be empty')
  if (custom && IDENTITY_KEYS.test(key)) p.add(path, `${key} is currently not supported with CUSTOM action`)
  if (values.length + notValues.length === 0)
    return p.add(path, `at least one of \`values\` or \`notValues\` must be set for key ${key}`)
  for (const [name, given] of [
    ['value', values],
    ['notValue', notValues],
  ] as const)
    for (const message of attributeProblems(key, given))
      p.add(path, `invalid \`${name}\` for \`key\` ${key}: ${message}`)
}
