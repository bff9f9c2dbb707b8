// Names of hosts in rules: short, full, and with a wildcard. Pure.

export const DOMAIN = 'svc.cluster.local'

/** A host as a rule of a namespace writes it, in full: a name without a dot is a Service of that namespace. */
export function resolveHost(host: string, namespace: string): string {
  return host.includes('.') || host === '*' ? host.toLowerCase() : `${host.toLowerCase()}.${namespace}.${DOMAIN}`
}

export const isWildcard = (host: string): boolean => host.startsWith('*')

/** True when `pattern` ("*", "*.example.com" or a name) covers all that `host` (a name or a pattern) does. */
export function covers(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true
  if (!isWildcard(pattern)) return false
  const suffix = pattern.slice(1)
  return isWildcard(host) ? host.slice(1).endsWith(suffix) : host.length > suffix.length && host.endsWith(suffix)
}

/** What of two patterns both cover: the narrower one, or undefined. */
export function intersection(a: string, b: string): string | undefined {
  return covers(a, b) ? b : covers(b, a) ? a : undefined
}

/** Orders hosts from the narrowest: names before patterns, longer patterns before shorter. */
export function byNarrowness(a: string, b: string): number {
  const wild = Number(isWildcard(a)) - Number(isWildcard(b))
  return wild || b.length - a.length || (a < b ? -1 : a > b ? 1 : 0)
}

/** The narrowest of the patterns that cover a host. */
export function narrowest<T>(host: string, by: ReadonlyMap<string, T>): T | undefined {
  const exact = by.get(host)
  if (exact !== undefined) return exact
  let best: string | undefined
  for (const pattern of by.keys())
    if (isWildcard(pattern) && covers(pattern, host) && (best === undefined || byNarrowness(pattern, best) < 0))
      best = pattern
  return best === undefined ? undefined : by.get(best)
}
