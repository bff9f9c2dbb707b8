// What Istio refuses in EnvoyFilters and policies of security and telemetry, in its wording. Pure.

import type { Json } from '#api'
import { type Check, isPort } from './problems.ts'

/** Checks the spec of an EnvoyFilter. */
export const envoyFilter: Check = (spec, p) => {
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

/** Kinds for which a selector and a targetRef may not stand together. */
export const targeted: Check = (spec, p) => {
  p.check(
    !(spec.selector && (spec.targetRef || spec.targetRefs?.length)),
    'spec',
    'only one of targetRefs or workloadSelector can be set',
  )
}

/** Checks the spec of an AuthorizationPolicy. */
export const authorizationPolicy: Check = (spec, p) => {
  targeted(spec, p)
  for (const [i, rule] of ((spec.rules ?? []) as Json[]).entries()) {
    for (const [j, f] of ((rule.from ?? []) as Json[]).entries())
      p.check(
        f.source && Object.keys(f.source).length > 0,
        `spec.rules[${i}].from[${j}]`,
        `\`from.source\` must not be nil, found at rule ${i}`,
      )
    for (const [j, t] of ((rule.to ?? []) as Json[]).entries())
      p.check(
        t.operation && Object.keys(t.operation).length > 0,
        `spec.rules[${i}].to[${j}]`,
        `\`to.operation\` must not be nil, found at rule ${i}`,
      )
    for (const [j, c] of ((rule.when ?? []) as Json[]).entries()) {
      p.check(c.key, `spec.rules[${i}].when[${j}].key`, '`key` must not be empty')
      p.check(
        c.values?.length || c.notValues?.length,
        `spec.rules[${i}].when[${j}]`,
        'at least one of `values` or `notValues` must be set for key',
      )
    }
  }
  if (spec.action === 'CUSTOM') p.check(spec.provider?.name, 'spec.provider.name', '`provider.name` must not be empty')
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
    p.check(r.issuer, `spec.jwtRules[${i}].issuer`, 'issuer must be set')
    if (r.jwksUri)
      p.check(
        /^https?:\/\//.test(r.jwksUri),
        `spec.jwtRules[${i}].jwksUri`,
        `URI scheme of ${r.jwksUri} is not supported`,
      )
  }
}
