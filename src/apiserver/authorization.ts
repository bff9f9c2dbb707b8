// RBAC: may this user do this? Decided from Roles and their bindings.

import { type Json, type KubeObject, resources } from '#api'
import type { User } from './identity.ts'
import type { ObjectStore } from './object-store.ts'
import type { WatchCache } from './watch-cache.ts'

/** What is asked for: a resource, or a path outside the resources. */
export interface Attributes {
  readonly verb: string
  readonly group?: string
  readonly resource?: string
  readonly subresource?: string
  readonly namespace?: string
  readonly name?: string
  readonly path?: string
}

/** Decides from the role objects as they are now. */
export class Authorizer {
  readonly #clusterRoles: WatchCache
  readonly #clusterBindings: WatchCache
  readonly #roles: WatchCache
  readonly #bindings: WatchCache

  private constructor(clusterRoles: WatchCache, clusterBindings: WatchCache, roles: WatchCache, bindings: WatchCache) {
    this.#clusterRoles = clusterRoles
    this.#clusterBindings = clusterBindings
    this.#roles = roles
    this.#bindings = bindings
  }

  static async open(store: ObjectStore): Promise<Authorizer> {
    const [a, b, c, d] = await Promise.all([
      store.cache(resources.clusterRoles),
      store.cache(resources.clusterRoleBindings),
      store.cache(resources.roles),
      store.cache(resources.roleBindings),
    ])
    return new Authorizer(a, b, c, d)
  }

  allowed(user: User, what: Attributes): boolean {
    if (user.groups.includes('system:masters')) return true
    for (const { rules } of this.rulesFor(user, what.namespace ?? ''))
      for (const rule of rules) if (covers(rule, what)) return true
    return false
  }

  /** The rules of the role a binding names; undefined when there is none. */
  rulesOf(roleRef: Json | undefined, namespace: string): Json[] | undefined {
    const role =
      roleRef?.kind === 'ClusterRole'
        ? this.#clusterRoles.entry(roleRef.name)
        : this.#roles.entry(`${namespace}/${roleRef?.name}`)
    return role && (role.object.rules ?? [])
  }

  /** The rules that apply to a user in a namespace, with what grants them. */
  rulesFor(user: User, namespace: string): { rules: Json[]; binding: KubeObject }[] {
    const result: { rules: Json[]; binding: KubeObject }[] = []
    for (const { object } of this.#clusterBindings.entries())
      if (bindsUser(object, user, ''))
        result.push({ binding: object, rules: this.#clusterRoles.entry(object.roleRef.name)?.object.rules ?? [] })
    if (namespace)
      for (const { object } of this.#bindings.entries(namespace)) {
        if (!bindsUser(object, user, namespace)) continue
        const role =
          object.roleRef.kind === 'ClusterRole'
            ? this.#clusterRoles.entry(object.roleRef.name)
            : this.#roles.entry(`${namespace}/${object.roleRef.name}`)
        result.push({ binding: object, rules: role?.object.rules ?? [] })
      }
    return result
  }
}

function bindsUser(binding: KubeObject, user: User, namespace: string): boolean {
  return (binding.subjects ?? []).some((s: Json) => {
    if (s.kind === 'User') return s.name === user.name
    if (s.kind === 'Group') return user.groups.includes(s.name)
    return user.name === `system:serviceaccount:${s.namespace || namespace}:${s.name}`
  })
}

const has = (list: string[] | undefined, value: string) => list?.some((v) => v === '*' || v === value) ?? false

function covers(rule: Json, what: Attributes): boolean {
  if (!has(rule.verbs, what.verb)) return false
  if (what.path !== undefined)
    return (rule.nonResourceURLs ?? []).some(
      (url: string) => url === what.path || (url.endsWith('*') && what.path!.startsWith(url.slice(0, -1))),
    )
  if (!has(rule.apiGroups, what.group ?? '')) return false
  const resource = what.subresource ? `${what.resource}/${what.subresource}` : (what.resource ?? '')
  const named =
    has(rule.resources, resource) ||
    (what.subresource ? (rule.resources ?? []).includes(`*/${what.subresource}`) : false)
  if (!named) return false
  return !rule.resourceNames?.length || rule.resourceNames.includes(what.name ?? '')
}
