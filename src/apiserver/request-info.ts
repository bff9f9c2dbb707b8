// What a URL asks for.

import { errors, type KindRegistry, type ResourceKind } from '#api'

/** A request on a resource. */
export interface ResourceRequest {
  readonly kind: ResourceKind
  readonly namespace: string
  readonly name: string
  readonly subresource: string
  /** What follows the subresource (proxy paths). */
  readonly rest: string
  readonly verb: string
  readonly query: URLSearchParams
}

/** A URL taken apart; `request` is undefined for paths outside the resources. */
export interface ParsedUrl {
  readonly path: string
  readonly query: URLSearchParams
  readonly request?: ResourceRequest
}

const NO_QUERY = new URLSearchParams()
const METHOD_VERBS: Record<string, string> = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }

/** Parses a request line. Fails with NotFound for a resource that is not served. */
export function parseUrl(method: string, url: string, registry: KindRegistry): ParsedUrl {
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? NO_QUERY : new URLSearchParams(url.slice(mark + 1))
  const parts = path.split('/').filter(Boolean)
  const core = parts[0] === 'api'
  if (!core && parts[0] !== 'apis') return { path, query }
  const group = core ? '' : (parts[1] ?? '')
  const version = parts[core ? 1 : 2] ?? ''
  const rest = parts.slice(core ? 2 : 3)
  if (rest.length === 0) return { path, query }
  let watchPrefix = false
  if (rest[0] === 'watch') {
    rest.shift()
    watchPrefix = true
  }
  let namespace = ''
  if (rest[0] === 'namespaces' && rest.length >= 3 && !isNamespaceSubresource(rest, registry)) {
    namespace = decode(rest[1]!)
    rest.splice(0, 2)
  }
  const kind = registry.resource(group, version, rest[0] ?? '')
  if (!kind) throw errors.unknownPath()
  const name = rest[1] === undefined ? '' : decode(rest[1])
  const subresource = rest[2] ?? ''
  if (subresource && !kind.subresources.some((s) => s.name === subresource)) throw errors.unknownPath()
  if (namespace && !kind.namespaced && kind.plural !== 'namespaces') throw errors.unknownPath()
  return {
    path,
    query,
    request: {
      kind,
      namespace,
      name,
      subresource,
      rest: rest.slice(3).join('/'),
      query,
      // A subresource is one document: it is neither listed nor watched.
      verb: subresource ? verbOf(method, name, NO_QUERY, false) : verbOf(method, name, query, watchPrefix),
    },
  }
}

function isNamespaceSubresource(rest: readonly string[], registry: KindRegistry): boolean {
  const kind = registry.resource('', 'v1', 'namespaces')
  return rest.length === 3 && (kind?.subresources.some((s) => s.name === rest[2]) ?? false)
}

function verbOf(method: string, name: string, query: URLSearchParams, watchPrefix: boolean): string {
  if (method === 'GET' || method === 'HEAD') {
    const watch = watchPrefix || flag(query, 'watch') === true
    if (watch) return 'watch'
    return name ? 'get' : 'list'
  }
  if (method === 'DELETE' && !name) return 'deletecollection'
  return METHOD_VERBS[method] ?? method.toLowerCase()
}

/**
 * A yes or no of a query; undefined when it is not given. Only "false" in any case and "0" are no: what
 * clients write differs ("True", "1", nothing at all), and upstream takes all of it.
 */
export function flag(query: URLSearchParams, name: string): boolean | undefined {
  const value = query.get(name)
  return value === null ? undefined : value.toLowerCase() !== 'false' && value !== '0'
}

function decode(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    throw errors.badRequest(`invalid path segment "${text}"`)
  }
}
