// What Istio refuses in EnvoyFilters and policies of security and telemetry, in its wording. Pure.

import type { Json } from '#api'
import { type Check, isPort, selectorLabels, unlabelled } from './problems.ts'

/** Checks the spec of an EnvoyFilter. */
export const envoyFilter: Check = (spec, p) => {
  p.warn(...unlabelled(spec.workloadSelector, 'Envoy filter'))
  for (const [i, patch] of ((spec.configPatches ?? []) as Json[]).entries()) {
    const at = `spec.configPatches[${i}]`
    p.check(patch.patch, `${at}.patch`, 'Envoy filter: missing patch')
    p.check(patch.applyTo && patch.applyTo !== 'INVALID', `${at}.applyTo`, 'Envoy filter: missing applyTo')
    p.check(
      !patch.patch || (patch.patch.operation && patch.patch.operation !== 'INVALID'),
      `${at}.patch.operation`,
      'Envoy filter: missing patch operation',
    )
    p.check(
      !patch.patch || patch.patch.operation === 'REMOVE' || patch.patch.value,
      `${at}.patch.value`,
      'Envoy filter: missing patch value for non-remove operation',
    )
  }
}

/** What a policy may be attached to. */
const TARGETS = [
  ['core', 'v1', 'Service'],
  ['networking.istio.io', 'v1', 'ServiceEntry'],
  ['gateway.networking.k8s.io', 'v1', 'Gateway'],
  ['gateway.networking.k8s.io', 'v1', 'GatewayClass'],
] as const

/** Kinds for which a selector and a targetRef may not stand together. */
export const targeted: Check = (spec, p) => {
  p.check(
    !(spec.selector && (spec.targetRef || spec.targetRefs?.length)),
    'spec',
    'only one of targetRefs or workloadSelector can be set',
  )
  const refs: [string, Json][] = ((spec.targetRefs ?? []) as Json[]).map((r, i) => [`spec.targetRefs[${i}]`, r])
  if (spec.targetRef) refs.push(['spec.targetRef', spec.targetRef])
  for (const [path, { group = '', kind, name, namespace }] of refs) {
    p.check(Boolean(name), `${path}.name`, 'targetRef name must be set')
    p.check(
      !namespace,
      `${path}.namespace`,
      'targetRef namespace must not be set; cross namespace referencing is not supported',
    )
    p.check(
      TARGETS.some(([g, , k]) => g === (group || 'core') && k === kind),
      path,
      `targetRef must be to one of [${TARGETS.map((t) => t.join('/')).join(' ')}] but was ${group}/${kind}`,
    )
  }
  selectorLabels(spec.selector?.matchLabels, 'spec.selector.matchLabels', p)
  p.warn(
    !spec.selector || Object.keys(spec.selector.matchLabels ?? {}).length > 0,
    'workload selector specified without labels',
  )
}

/** Checks the spec of a Telemetry. */
export const telemetry: Check = (spec, p) => {
  targeted(spec, p)
  for (const [i, tracing] of ((spec.tracing ?? []) as Json[]).entries())
    for (const [name, tag] of Object.entries<Json>(tracing.customTags ?? {}))
      p.check(
        Object.keys(tag ?? {}).length > 0,
        `spec.tracing[${i}].customTags`,
        `tag '${name}' may not have a nil value`,
      )
  for (const [i, metrics] of ((spec.metrics ?? []) as Json[]).entries())
    for (const [j, override] of ((metrics.overrides ?? []) as Json[]).entries())
      for (const [name, { operation = 'UPSERT', value }] of Object.entries<Json>(override.tagOverrides ?? {})) {
        const path = `spec.metrics[${i}].overrides[${j}].tagOverrides[${name}]`
        if (operation === 'UPSERT') p.check(value, path, 'tagOverrides.value must be set when operation is UPSERT')
        else p.check(!value, path, 'tagOverrides.value may only be set when operation is UPSERT')
      }
}

/** Checks the spec of a PeerAuthentication. */
export const peerAuthentication: Check = (spec, p) => {
  const ports = Object.keys(spec.portLevelMtls ?? {})
  p.check(
    !(ports.length > 0 && !spec.selector),
    'spec.portLevelMtls',
    'mesh/namespace peer authentication cannot have port level mTLS',
  )
  for (const port of ports) p.check(isPort(Number(port)), 'spec.portLevelMtls', `invalid port ${port}`)
}

/** Checks the spec of a RequestAuthentication. */
export const requestAuthentication: Check = (spec, p) => {
  targeted(spec, p)
  for (const [i, r] of ((spec.jwtRules ?? []) as Json[]).entries()) {
    const at = `spec.jwtRules[${i}]`
    const jwksUri = r.jwksUri ?? r.jwks_uri
    p.check(r.issuer || jwksUri, at, 'issuer or jwksUri must be non-empty string')
    if (jwksUri) {
      p.check(/^https?:\/\//.test(jwksUri), `${at}.jwksUri`, `URI scheme of ${jwksUri} is not supported`)
      p.check(URL.canParse(jwksUri), `${at}.jwksUri`, `parse ${JSON.stringify(jwksUri)}: not a URL`)
    }
    if (r.jwks) p.check(isKeySet(r.jwks), `${at}.jwks`, 'jwks parse error: failed to unmarshal JWK set')
    for (const [j, h] of ((r.fromHeaders ?? []) as Json[]).entries())
      p.check(h.name, `${at}.fromHeaders[${j}].name`, 'location header name must be non-empty string')
    for (const [field, message] of [
      ['audiences', 'audience must be non-empty string'],
      ['fromParams', 'location query must be non-empty string'],
      ['fromCookies', 'cookie name must be non-empty string'],
    ] as const)
      for (const [j, v] of ((r[field] ?? []) as string[]).entries()) p.check(v !== '', `${at}.${field}[${j}]`, message)
    for (const [j, { header, claim }] of ((r.outputClaimToHeaders ?? []) as Json[]).entries())
      p.check(
        header && claim,
        `${at}.outputClaimToHeaders[${j}]`,
        'outputClaimToHeaders header and claim value must be non-empty string',
      )
  }
}

/** Whether a text is a set of keys (RFC 7517, 5). */
function isKeySet(text: string): boolean {
  try {
    return Array.isArray(JSON.parse(text)?.keys)
  } catch {
    return false
  }
}
