// Nobody may grant what they do not have: the check of roles and bindings being written.

import { errors, type Json, resources, sameJson } from '#api'
import type { Authorizer } from './authorization.ts'
import type { Admission, User } from './identity.ts'
import { describeRules, missingRules } from './rbac-rules.ts'

const GROUP = resources.roles.group

export function rbacAdmission(authorizer: () => Authorizer): Admission {
  return {
    name: 'RBACEscalation',
    validate({ kind, operation, subresource, namespace, context, object, old }) {
      if (kind.group !== GROUP || operation === 'DELETE' || subresource) return []
      const { user } = context
      if (user.groups.includes('system:masters')) return []
      const { name } = object.metadata
      const may = (verb: string, resource: string, of: string) =>
        authorizer().allowed(user, { verb, group: GROUP, resource, namespace, name: of })
      const refuse = (missing: readonly Json[]) => {
        const groups = JSON.stringify(user.groups).replaceAll(',', ' ')
        throw errors.forbidden(
          kind,
          name,
          `user ${JSON.stringify(user.name)} (groups=${groups}) is attempting to grant RBAC permissions not currently held:\n${describeRules(missing)}`,
        )
      }
      if (kind.kind === 'Role' || kind.kind === 'ClusterRole') {
        if (old && sameJson(old.rules, object.rules) && sameJson(old.aggregationRule, object.aggregationRule)) return []
        if (may('escalate', kind.plural, name)) return []
        // An aggregated role takes on rules nobody has seen yet.
        const wanted: Json[] = object.aggregationRule
          ? [
              { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
              { nonResourceURLs: ['*'], verbs: ['*'] },
            ]
          : (object.rules ?? [])
        const missing = missingRules(rulesHeld(authorizer(), user, namespace), wanted)
        if (missing.length > 0) refuse(missing)
        return []
      }
      if (old && sameJson(old.roleRef, object.roleRef) && sameJson(old.subjects, object.subjects)) return []
      const role = object.roleRef
      if (may('bind', role?.kind === 'ClusterRole' ? 'clusterroles' : 'roles', role?.name ?? '')) return []
      const granted = authorizer().rulesOf(role, namespace)
      if (!granted)
        throw errors.notFound(role?.kind === 'ClusterRole' ? resources.clusterRoles : resources.roles, role?.name ?? '')
      const missing = missingRules(rulesHeld(authorizer(), user, namespace), granted)
      if (missing.length > 0) refuse(missing)
      return []
    },
  }
}

const rulesHeld = (authorizer: Authorizer, user: User, namespace: string): Json[] =>
  authorizer.rulesFor(user, namespace).flatMap((r) => r.rules)
