// Acting as somebody else: the Impersonate- headers, for who is allowed to.

import type { IncomingMessage } from 'node:http'
import { errors } from '#api'
import type { Attributes, Authorizer } from './authorization.ts'
import type { User } from './identity.ts'

const EXTRA = 'impersonate-extra-'

const listOf = (value: string | string[] | undefined): string[] =>
  value === undefined ? [] : Array.isArray(value) ? value : value.split(',').map((v) => v.trim())

/** All values of a header that may be repeated: Node joins some of them. */
function values(request: IncomingMessage, name: string): string[] {
  const result: string[] = []
  for (let i = 0; i < request.rawHeaders.length; i += 2)
    if (request.rawHeaders[i]!.toLowerCase() === name) result.push(request.rawHeaders[i + 1]!)
  return result
}

/**
 * The user a request is made for: the caller, or whom the headers name. Fails with Forbidden when the
 * caller may not impersonate every part of it, with BadRequest for groups without a user.
 */
export function impersonate(request: IncomingMessage, caller: User, authorizer: Authorizer): User {
  const name = listOf(request.headers['impersonate-user'])[0]
  const groups = values(request, 'impersonate-group')
  const uid = listOf(request.headers['impersonate-uid'])[0]
  const extraNames = Object.keys(request.headers).filter((h) => h.startsWith(EXTRA))
  if (!name) {
    if (groups.length > 0 || uid || extraNames.length > 0)
      throw errors.badRequest('requested [{Group  }] without impersonating a user')
    return caller
  }
  const check = (what: Omit<Attributes, 'verb'>, kind: { group: string; plural: string }) => {
    if (authorizer.allowed(caller, { ...what, verb: 'impersonate' })) return
    const scope = what.namespace ? ` in the namespace "${what.namespace}"` : ' at the cluster scope'
    throw errors.forbidden(
      kind,
      what.name ?? '',
      `User "${caller.name}" cannot impersonate resource "${kind.plural}" in API group "${kind.group}"${scope}`,
    )
  }
  const core = (plural: string) => ({ group: '', plural })
  const match = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name)
  if (match)
    check({ group: '', resource: 'serviceaccounts', namespace: match[1]!, name: match[2]! }, core('serviceaccounts'))
  else check({ group: '', resource: 'users', name }, core('users'))
  for (const group of groups) check({ group: '', resource: 'groups', name: group }, core('groups'))
  const authentication = (plural: string) => ({ group: 'authentication.k8s.io', plural })
  if (uid) check({ group: 'authentication.k8s.io', resource: 'uids', name: uid }, authentication('uids'))
  const extra: Record<string, string[]> = {}
  for (const header of extraNames) {
    const key = decodeURIComponent(header.slice(EXTRA.length))
    extra[key] = values(request, header)
    for (const value of extra[key])
      check(
        { group: 'authentication.k8s.io', resource: 'userextras', subresource: key, name: value },
        authentication(`userextras/${key}`),
      )
  }
  const own = match
    ? groups.length > 0
      ? groups
      : ['system:serviceaccounts', `system:serviceaccounts:${match[1]}`]
    : groups
  const everybody = name === 'system:anonymous' ? 'system:unauthenticated' : 'system:authenticated'
  return {
    name,
    groups: own.includes(everybody) ? own : [...own, everybody],
    ...(uid ? { uid } : {}),
    ...(extraNames.length > 0 ? { extra } : {}),
  }
}
