// Reviews: questions about identity and permission that are answered, not stored.

import { errors, type FieldError, field, type Json, type ResourceKind } from '#api'
import type { Tokens } from './authentication.ts'
import type { Attributes, Authorizer } from './authorization.ts'
import type { User } from './identity.ts'
import type { ResourceRequest } from './request-info.ts'

const REVIEWS = new Set([
  'SelfSubjectAccessReview',
  'SubjectAccessReview',
  'LocalSubjectAccessReview',
  'SelfSubjectRulesReview',
  'SelfSubjectReview',
  'TokenReview',
])

export function isReview(kind: ResourceKind): boolean {
  return REVIEWS.has(kind.kind)
}

function reviewProblems(kind: string, spec: Json, namespace: string): FieldError[] {
  if (!kind.endsWith('SubjectAccessReview') && kind !== 'SelfSubjectAccessReview')
    return kind === 'TokenReview' && !spec.token ? [field.required('spec.token')] : []
  const { resourceAttributes: resource, nonResourceAttributes: path } = spec
  const problems: FieldError[] = []
  if (Boolean(resource) === Boolean(path))
    problems.push(
      field.invalid(
        'spec.resourceAttributes',
        resource ?? null,
        resource
          ? 'cannot be specified in combination with nonResourceAttributes'
          : 'exactly one of nonResourceAttributes or resourceAttributes must be specified',
      ),
    )
  if (kind !== 'SelfSubjectAccessReview' && !spec.user && !spec.groups?.length)
    problems.push(field.invalid('spec.user', '', 'at least one of user or group must be specified'))
  if (kind === 'LocalSubjectAccessReview' && resource && resource.namespace !== namespace)
    problems.push(
      field.invalid('spec.resourceAttributes.namespace', resource.namespace ?? '', 'must match metadata.namespace'),
    )
  return problems
}

/** Fills in the status of a review. */
export async function answerReview(
  request: ResourceRequest,
  body: Json,
  user: User,
  authorizer: Authorizer,
  tokens: Tokens,
): Promise<Json> {
  const { kind } = request
  const problems = reviewProblems(kind.kind, body.spec ?? {}, request.namespace)
  if (problems.length > 0) throw errors.invalid(kind.kind, kind.group, '', problems)
  const head = {
    kind: kind.kind,
    apiVersion: `${kind.group}/${kind.version}`,
    metadata: { creationTimestamp: null },
    spec: body.spec ?? {},
  }
  switch (kind.kind) {
    case 'SelfSubjectReview':
      return {
        ...head,
        status: { userInfo: { username: user.name, uid: user.uid, groups: user.groups, extra: user.extra } },
      }
    case 'TokenReview': {
      const audience = body.spec?.audiences?.[0]
      const found = await tokens.verify(String(body.spec?.token ?? ''), audience ?? tokens.issuer)
      if (!found) return { ...head, status: { user: {}, error: 'invalid bearer token' } }
      return {
        ...head,
        status: {
          authenticated: true,
          user: { username: found.name, uid: found.uid, groups: found.groups, extra: found.extra },
          audiences: [audience ?? tokens.issuer],
        },
      }
    }
    case 'SelfSubjectRulesReview': {
      const namespace = body.spec?.namespace ?? 'default'
      const rules = user.groups.includes('system:masters')
        ? [
            { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
            { verbs: ['*'], nonResourceURLs: ['*'] },
          ]
        : authorizer.rulesFor(user, namespace).flatMap((r) => r.rules)
      return {
        ...head,
        status: {
          resourceRules: rules.filter((r: Json) => r.resources),
          nonResourceRules: rules.filter((r: Json) => r.nonResourceURLs),
          incomplete: false,
        },
      }
    }
    default: {
      const subject =
        kind.kind === 'SelfSubjectAccessReview'
          ? user
          : { name: body.spec?.user ?? '', groups: body.spec?.groups ?? [] }
      const allowed = authorizer.allowed(subject, attributesOf(body.spec ?? {}))
      return { ...head, status: allowed ? { allowed, reason: 'RBAC: allowed' } : { allowed } }
    }
  }
}

function attributesOf(spec: Json): Attributes {
  if (spec.nonResourceAttributes)
    return { verb: spec.nonResourceAttributes.verb ?? '', path: spec.nonResourceAttributes.path ?? '' }
  const r = spec.resourceAttributes ?? {}
  return {
    verb: r.verb ?? '',
    group: r.group ?? '',
    resource: r.resource ?? '',
    subresource: r.subresource ?? '',
    namespace: r.namespace ?? '',
    name: r.name ?? '',
  }
}
