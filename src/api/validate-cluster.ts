// Validation of what belongs to the cluster: roles, events, nodes, classes, leases, certificates, definitions, API services.

import { immutable, nonNegative, oneOf } from './checks.ts'
import { checkLabel1035, checkLabel1123, checkQualifiedName, checkSubdomain } from './names.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

export function role(o: Json, _old?: Json, cluster = false): FieldError[] {
  const problems: FieldError[] = []
  for (const [i, r] of ((o.rules ?? []) as Json[]).entries()) {
    const at = `rules[${i}]`
    if (!r.verbs?.length) problems.push(field.required(`${at}.verbs`, 'verbs must contain at least one value'))
    if (r.nonResourceURLs?.length) {
      if (!cluster)
        problems.push(
          field.invalid(
            `${at}.nonResourceURLs`,
            r.nonResourceURLs,
            'namespaced rules cannot apply to non-resource URLs',
          ),
        )
      if (r.apiGroups?.length || r.resources?.length || r.resourceNames?.length)
        problems.push(
          field.invalid(
            `${at}.nonResourceURLs`,
            r.nonResourceURLs,
            'rules cannot apply to both regular resources and non-resource URLs',
          ),
        )
      continue
    }
    if (!r.apiGroups?.length)
      problems.push(field.required(`${at}.apiGroups`, 'resource rules must supply at least one api group'))
    if (!r.resources?.length)
      problems.push(field.required(`${at}.resources`, 'resource rules must supply at least one resource'))
  }
  return problems
}

const SUBJECTS = ['ServiceAccount', 'User', 'Group']

export function roleBinding(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const ref = o.roleRef ?? {}
  if (ref.apiGroup !== 'rbac.authorization.k8s.io')
    problems.push(field.notSupported('roleRef.apiGroup', ref.apiGroup ?? '', ['rbac.authorization.k8s.io']))
  const kinds = o.kind === 'ClusterRoleBinding' ? ['ClusterRole'] : ['Role', 'ClusterRole']
  if (!kinds.includes(ref.kind)) problems.push(field.notSupported('roleRef.kind', ref.kind ?? '', kinds))
  if (!ref.name) problems.push(field.required('roleRef.name'))
  for (const [i, s] of ((o.subjects ?? []) as Json[]).entries()) {
    const at = `subjects[${i}]`
    if (!s.name) problems.push(field.required(`${at}.name`))
    if (!SUBJECTS.includes(s.kind)) problems.push(field.notSupported(`${at}.kind`, s.kind ?? '', SUBJECTS))
    if (s.kind === 'ServiceAccount' && !s.namespace && o.kind === 'ClusterRoleBinding')
      problems.push(field.required(`${at}.namespace`))
    if (s.kind === 'ServiceAccount' && s.apiGroup) problems.push(field.notSupported(`${at}.apiGroup`, s.apiGroup, ['']))
  }
  if (old && !sameJson(old.roleRef, o.roleRef))
    problems.push(field.invalid('roleRef', o.roleRef, 'cannot change roleRef'))
  return problems
}

/** An event stands in the namespace of what it is about; one about the cluster in default. */
export function event(o: Json): FieldError[] {
  const namespace = o.involvedObject?.namespace || 'default'
  return namespace === o.metadata?.namespace
    ? []
    : [field.invalid('involvedObject.namespace', o.involvedObject?.namespace ?? '', 'does not match event.namespace')]
}

const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute']

export function node(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, t] of ((o.spec?.taints ?? []) as Json[]).entries()) {
    const at = `spec.taints[${i}]`
    for (const p of checkQualifiedName(t.key ?? '')) problems.push(field.invalid(`${at}.key`, t.key ?? '', p))
    problems.push(...oneOf(t.effect, `${at}.effect`, EFFECTS, true))
    const key = `${t.key}:${t.effect}`
    if (seen.has(key)) problems.push(field.duplicate(at, { key: t.key, effect: t.effect }))
    seen.add(key)
  }
  return problems
}

/** The highest priority that is not the system's own. */
const HIGHEST = 1_000_000_000

export function priorityClass(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const system = o.metadata?.name === 'system-cluster-critical' || o.metadata?.name === 'system-node-critical'
  if (!system && String(o.metadata?.name).startsWith('system-'))
    problems.push(
      field.forbidden(
        'metadata.name',
        "priority class names with 'system-' prefix are reserved for system use only. error: forbidden name",
      ),
    )
  if (!system && (o.value ?? 0) > HIGHEST)
    problems.push(field.forbidden('value', `maximum allowed value of a user defined priority is ${HIGHEST}`))
  problems.push(...oneOf(o.preemptionPolicy, 'preemptionPolicy', ['Never', 'PreemptLowerPriority']))
  if (!old) return problems
  if ((o.value ?? 0) !== (old.value ?? 0)) problems.push(field.forbidden('value', 'may not be changed in an update.'))
  return [...problems, ...immutable(o.preemptionPolicy, old.preemptionPolicy, 'preemptionPolicy')]
}

export function lease(o: Json): FieldError[] {
  const { leaseDurationSeconds: seconds, leaseTransitions } = o.spec ?? {}
  return [
    ...(seconds !== undefined && !(seconds > 0)
      ? [field.invalid('spec.leaseDurationSeconds', seconds, 'must be greater than 0')]
      : []),
    ...nonNegative(leaseTransitions, 'spec.leaseTransitions'),
  ]
}

export function runtimeClass(o: Json, old?: Json): FieldError[] {
  const problems = checkLabel1123(o.handler ?? '').map((p) => field.invalid('handler', o.handler ?? '', p))
  return old ? [...problems, ...immutable(o.handler, old.handler, 'handler')] : problems
}

export function certificateRequest(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if (!spec.request) problems.push(field.required('spec.request'))
  else if (!Buffer.from(spec.request, 'base64').toString('latin1').includes('-----BEGIN CERTIFICATE REQUEST-----'))
    problems.push(field.invalid('spec.request', spec.request, 'PEM block type must be CERTIFICATE REQUEST'))
  if (!spec.usages?.length) problems.push(field.required('spec.usages'))
  if (!spec.signerName) problems.push(field.required('spec.signerName'))
  else if (!String(spec.signerName).includes('/'))
    problems.push(
      field.invalid(
        'spec.signerName',
        spec.signerName,
        'must be a fully qualified domain and path of the form "example.com/signer-name"',
      ),
    )
  if (spec.expirationSeconds !== undefined && spec.expirationSeconds < 600)
    problems.push(
      field.invalid(
        'spec.expirationSeconds',
        spec.expirationSeconds,
        'may not specify a duration less than 600 seconds (10 minutes)',
      ),
    )
  if (old) problems.push(...immutable(spec, old.spec, 'spec'))
  return problems
}

export function approval(csr: Json, old?: Json): FieldError[] {
  const types = ((csr.status?.conditions ?? []) as Json[]).map((c) => c.type)
  const problems: FieldError[] = []
  for (const [i, c] of ((csr.status?.conditions ?? []) as Json[]).entries()) {
    const at = `status.conditions[${i}]`
    if (!c.type) problems.push(field.required(`${at}.type`))
    if (!c.status) problems.push(field.required(`${at}.status`))
    else if (['Approved', 'Denied', 'Failed'].includes(c.type) && c.status !== 'True')
      problems.push(field.notSupported(`${at}.status`, c.status, ['True']))
  }
  for (const c of ((old?.status?.conditions ?? []) as Json[]).filter(
    (c) => c.type === 'Approved' || c.type === 'Denied',
  ))
    if (!types.includes(c.type))
      problems.push(field.forbidden('status.conditions', `updates may not remove a condition of type "${c.type}"`))
  if (types.includes('Approved') && types.includes('Denied'))
    problems.push(field.invalid('status.conditions', 'Denied', 'Approved and Denied conditions are mutually exclusive'))
  return problems
}

export function crd(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  if (!spec.group) problems.push(field.required('spec.group'))
  if (!spec.names?.plural) problems.push(field.required('spec.names.plural'))
  if (!spec.names?.kind) problems.push(field.required('spec.names.kind'))
  if (!['Namespaced', 'Cluster'].includes(spec.scope))
    problems.push(
      spec.scope
        ? field.notSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced'])
        : field.required('spec.scope'),
    )
  if (o.metadata?.name !== `${spec.names?.plural}.${spec.group}`)
    problems.push(field.invalid('metadata.name', o.metadata?.name, 'must be spec.names.plural+"."+spec.group'))
  const versions: Json[] = spec.versions ?? []
  if (versions.length === 0) problems.push(field.required('spec.versions', 'must have at least one version'))
  if (versions.filter((v) => v.storage).length !== 1)
    problems.push(
      field.invalid(
        'spec.versions',
        versions.map((v) => v.name),
        'must have exactly one version marked as storage version',
      ),
    )
  for (const [i, v] of versions.entries())
    if (!v.schema?.openAPIV3Schema)
      problems.push(field.required(`spec.versions[${i}].schema.openAPIV3Schema`, 'schemas are required'))
  return problems
}

/** An API service (kube-aggregator): its name says its version and group. */
export function apiService(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  const name = `${spec.version ?? ''}.${spec.group ?? ''}`
  if (o.metadata?.name !== name)
    problems.push(
      field.invalid(
        'metadata.name',
        o.metadata?.name,
        `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(name)}`,
      ),
    )
  if (!spec.group && spec.version !== 'v1')
    problems.push(field.required('spec.group', 'only v1 may have an empty group and it better be legacy kube'))
  if (spec.group) for (const p of checkSubdomain(spec.group)) problems.push(field.invalid('spec.group', spec.group, p))
  for (const p of checkLabel1035(spec.version ?? ''))
    problems.push(field.invalid('spec.version', spec.version ?? '', p))
  const within = (key: string, max: number) => {
    const value = spec[key] ?? 0
    if (!(value > 0 && value <= max))
      problems.push(field.invalid(`spec.${key}`, value, `must be positive and less than ${max}`))
  }
  within('groupPriorityMinimum', 20000)
  within('versionPriority', 1000)
  const insecure = spec.insecureSkipTLSVerify === true
  if (!spec.service) {
    if (spec.caBundle)
      problems.push(
        field.invalid(
          'spec.caBundle',
          `${Buffer.from(spec.caBundle, 'base64').length} bytes`,
          'local APIServices may not have a caBundle',
        ),
      )
    if (insecure)
      problems.push(
        field.invalid('spec.insecureSkipTLSVerify', true, 'local APIServices may not have insecureSkipTLSVerify'),
      )
    return problems
  }
  if (!spec.service.namespace) problems.push(field.required('spec.service.namespace'))
  if (!spec.service.name) problems.push(field.required('spec.service.name'))
  if (insecure && spec.caBundle)
    problems.push(field.invalid('spec.insecureSkipTLSVerify', true, 'may not be true if caBundle is present'))
  return problems
}
