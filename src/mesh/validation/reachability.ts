// Rules of a VirtualService that follow one which takes everything, and conditions said twice. Pure.

import type { Json } from '#api'

/** Where something stands in an object. */
type FieldPath = readonly (string | number)[]

/** Who is told of what nobody reaches; rules and conditions by name or number. */
export interface Unreached {
  unused(rule: string, why: string, path: FieldPath): void
  ineffective(rule: string, match: string, other: string, path: FieldPath): void
}

/** A condition on a path's prefix, with what else of it is compared. */
interface PrefixMatch {
  readonly rule: string
  readonly match: string
  readonly path: FieldPath
  readonly prefix: string
  readonly port: unknown
  /** Exact values and prefixes of what else is asked for, by what of the request they are about. */
  readonly rest: ReadonlyMap<string, string>
}

/** Reports rules of a VirtualService's spec that nobody reaches, and conditions that have no effect. */
export function unreachableRules(spec: Json, report: Unreached): void {
  for (const protocol of ['http', 'tcp', 'tls'] as const) {
    const prefixes = repeated(spec, protocol, report)
    if (protocol === 'http') covered(prefixes, report)
  }
}

const label = (named: Json, i: number, protocol: string) =>
  protocol === 'http' && named.name ? JSON.stringify(named.name) : `#${i}`

/** Reports what prior rules have taken whole; returns the conditions on prefixes that are left. */
function repeated(spec: Json, protocol: 'http' | 'tcp' | 'tls', report: Unreached): PrefixMatch[] {
  const seen = new Map<string, string>()
  const prefixes: PrefixMatch[] = []
  let tookAll = false
  for (const [i, route] of ((spec[protocol] ?? []) as Json[]).entries()) {
    const rule = label(route, i, protocol)
    const at: FieldPath = ['spec', protocol, i]
    const unused = (why: string) => report.unused(rule, why, at)
    const conditions: Json[] = route.match ?? []
    if (conditions.length === 0) {
      if (tookAll) unused('only the last rule can have no matches')
      tookAll = true
      continue
    }
    if (tookAll) {
      for (const _ of conditions) unused('route without matches defined before')
      continue
    }
    let twice = 0
    for (const [j, match] of conditions.entries()) {
      const other = seen.get(key(match, protocol))
      const path: FieldPath = [...at, 'match', j]
      if (other !== undefined) {
        twice++
        report.ineffective(rule, label(match, j, protocol), other, path)
        continue
      }
      seen.set(key(match, protocol), rule)
      if (match.uri?.prefix) prefixes.push(prefixMatch(match, rule, label(match, j, protocol), path))
    }
    if (twice === conditions.length) unused('all matches used by prior rules')
  }
  return prefixes
}

/** Reports prefixes that a shorter one before them takes. */
function covered(prefixes: readonly PrefixMatch[], report: Unreached): void {
  for (const [i, first] of prefixes.entries())
    for (const later of prefixes.slice(i + 1))
      if (first.prefix !== later.prefix && covers(first, later))
        report.ineffective(
          later.rule,
          `${later.match} of prefix ${later.prefix}`,
          `${first.match} of prefix ${first.prefix} on ${first.rule}`,
          later.path,
        )
}

const covers = (first: PrefixMatch, later: PrefixMatch): boolean =>
  later.prefix.startsWith(first.prefix) &&
  first.port === later.port &&
  first.rest.size === later.rest.size &&
  [...first.rest].every(([what, value]) => {
    const other = later.rest.get(what)
    return other !== undefined && value.startsWith(other)
  })

function prefixMatch(match: Json, rule: string, name: string, path: FieldPath): PrefixMatch {
  const text = (m: Json | undefined) => (m?.exact ? `exact ${m.exact}` : m?.prefix ? `prefix ${m.prefix}` : '')
  const rest = new Map([
    ['method', text(match.method) || 'exact GET'],
    ['authority', text(match.authority)],
  ])
  for (const field of ['headers', 'queryParams', 'withoutHeaders'])
    for (const [k, v] of Object.entries((match[field] ?? {}) as Json)) rest.set(`${field} ${k}`, text(v as Json))
  return { rule, match: name, path, prefix: match.uri.prefix, port: match.port, rest }
}

/** A condition as text that is the same for the same condition. */
function key(match: Json, protocol: string): string {
  const { name, ...rest } = match
  return JSON.stringify(protocol === 'http' ? rest : { name, ...rest }, (_k, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  )
}
