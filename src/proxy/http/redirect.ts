// Where a client is sent to instead. Pure.

import type { Redirect } from '../config/model.ts'
import { type HttpRequest, pathOf } from './request.ts'

const DEFAULT_PORT: Record<string, number> = { http: 80, https: 443 }

/** The location field: what the redirect does not name stays as the client had it. */
export function redirectLocation(request: HttpRequest, redirect: Redirect): string {
  const scheme = redirect.scheme ?? request.scheme
  const [, name = request.authority, given] = /^(.*?)(?::(\d+))?$/.exec(request.authority) ?? []
  // The usual port of the old scheme is none of another one.
  const changed = redirect.scheme !== undefined && redirect.scheme !== request.scheme
  const kept = changed && Number(given) === DEFAULT_PORT[request.scheme] ? undefined : given
  const port = redirect.port ?? (redirect.host ? undefined : kept)
  const suffix = port === undefined || Number(port) === DEFAULT_PORT[scheme] ? '' : `:${port}`
  const old = pathOf(request.path)
  const path = redirect.path?.(old) ?? old
  const query = redirect.stripQuery || path.includes('?') ? '' : request.path.slice(old.length)
  return `${scheme}://${redirect.host ?? name}${suffix}${path}${query}`
}
