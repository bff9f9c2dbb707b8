// What RBAC rules cover: whether some rules grant all that others do. Pure.
// The rule that nobody may grant more than they have: k8s.io/docs, "Privilege escalation prevention".

import type { Json } from '#api'

const has = (list: readonly string[] | undefined, value: string) => list?.some((v) => v === '*' || v === value) ?? false

/** One thing a rule grants. */
interface Grant {
  verb: string
  group?: string
  resource?: string
  name?: string
  path?: string
}

function* grantsOf(rule: Json): Generator<Grant> {
  for (const verb of (rule.verbs ?? []) as string[]) {
    for (const path of (rule.nonResourceURLs ?? []) as string[]) yield { verb, path }
    for (const group of (rule.apiGroups ?? []) as string[])
      for (const resource of (rule.resources ?? []) as string[]) {
        const names: string[] = rule.resourceNames ?? []
        if (names.length === 0) yield { verb, group, resource }
        for (const name of names) yield { verb, group, resource, name }
      }
  }
}

function coversResource(rule: Json, resource: string): boolean {
  if (has(rule.resources, resource)) return true
  const [, sub] = resource.split('/')
  return sub !== undefined && (rule.resources ?? []).includes(`*/${sub}`)
}

function coversPath(rule: Json, path: string): boolean {
  return ((rule.nonResourceURLs ?? []) as string[]).some(
    (url) => url === path || url === '*' || (url.endsWith('*') && path.startsWith(url.slice(0, -1))),
  )
}

function covers(rule: Json, grant: Grant): boolean {
  if (!has(rule.verbs, grant.verb)) return false
  if (grant.path !== undefined) return coversPath(rule, grant.path)
  if (!has(rule.apiGroups, grant.group!) || !coversResource(rule, grant.resource!)) return false
  const names: string[] = rule.resourceNames ?? []
  return names.length === 0 || (grant.name !== undefined && names.includes(grant.name))
}

/** The rules of `wanted` that `held` does not cover in full, each cut to one grant. */
export function missingRules(held: readonly Json[], wanted: readonly Json[]): Json[] {
  const missing: Json[] = []
  for (const rule of wanted)
    for (const grant of grantsOf(rule))
      if (!held.some((h) => covers(h, grant)))
        missing.push(
          grant.path === undefined
            ? {
                apiGroups: [grant.group],
                resources: [grant.resource],
                ...(grant.name ? { resourceNames: [grant.name] } : {}),
                verbs: [grant.verb],
              }
            : { nonResourceURLs: [grant.path], verbs: [grant.verb] },
        )
  return missing
}

const KEYS = [
  ['apiGroups', 'APIGroups'],
  ['resources', 'Resources'],
  ['resourceNames', 'ResourceNames'],
  ['nonResourceURLs', 'NonResourceURLs'],
  ['verbs', 'Verbs'],
] as const

/** Rules as upstream's messages write them: {APIGroups:[""], Resources:["pods"], Verbs:["get"]}. */
export function describeRules(rules: readonly Json[]): string {
  return rules
    .map(
      (r) =>
        `{${KEYS.filter(([key]) => r[key]?.length)
          .map(([key, label]) => `${label}:${JSON.stringify(r[key]).replaceAll(',', ', ')}`)
          .join(', ')}}`,
    )
    .join('\n')
}
