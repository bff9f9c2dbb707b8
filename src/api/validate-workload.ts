// Validation of workloads: what makes pods from a template.

import { immutable, nonNegative, oneOf, percentOrInt, selectorProblems } from './checks.ts'
import { checkLabels, checkSubdomain } from './names.ts'
import { labelSelector } from './selectors.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'
import { podSpec } from './validate-pod.ts'

/** A pod template at a path. */
function template(t: Json | undefined, at: string, restart: readonly string[]): FieldError[] {
  if (!t) return [field.required(at)]
  return [
    ...checkLabels(t.metadata?.labels, `${at}.metadata.labels`),
    ...podSpec(t.spec ?? {}, `${at}.spec`, restart),
    ...(t.spec?.ephemeralContainers?.length
      ? [field.forbidden(`${at}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template')]
      : []),
  ]
}

function workload(o: Json, old: Json | undefined, kind: string): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  for (const key of ['replicas', 'minReadySeconds', 'revisionHistoryLimit'])
    problems.push(...nonNegative(spec[key], `spec.${key}`))
  if (!spec.selector) problems.push(field.required('spec.selector'))
  else {
    const empty = !Object.keys(spec.selector.matchLabels ?? {}).length && !spec.selector.matchExpressions?.length
    problems.push(...selectorProblems(spec.selector, 'spec.selector'))
    if (empty) problems.push(field.invalid('spec.selector', spec.selector, `empty selector is invalid for ${kind}`))
    else if (spec.template && !labelSelector(spec.selector)(spec.template.metadata?.labels))
      problems.push(
        field.invalid(
          'spec.template.metadata.labels',
          spec.template.metadata?.labels ?? null,
          '`selector` does not match template `labels`',
        ),
      )
    if (old) problems.push(...immutable(spec.selector, old.spec?.selector, 'spec.selector'))
  }
  return [...problems, ...template(spec.template, 'spec.template', ['Always'])]
}

export function deployment(o: Json, old?: Json): FieldError[] {
  const problems = workload(o, old, 'deployment')
  const { strategy, progressDeadlineSeconds: deadline, minReadySeconds = 0 } = o.spec ?? {}
  const rolling = strategy?.rollingUpdate
  const at = 'spec.strategy.rollingUpdate'
  problems.push(...oneOf(strategy?.type, 'spec.strategy.type', ['Recreate', 'RollingUpdate']))
  if (strategy?.type === 'Recreate' && rolling)
    problems.push(field.forbidden(at, "may not be specified when strategy `type` is 'Recreate'"))
  problems.push(...percentOrInt(rolling?.maxSurge, `${at}.maxSurge`))
  problems.push(...percentOrInt(rolling?.maxUnavailable, `${at}.maxUnavailable`))
  const zero = (v: unknown) => v === 0 || v === '0%'
  if (rolling && zero(rolling.maxSurge) && zero(rolling.maxUnavailable))
    problems.push(field.invalid(`${at}.maxUnavailable`, rolling.maxUnavailable, 'may not be 0 when `maxSurge` is 0'))
  problems.push(...nonNegative(deadline, 'spec.progressDeadlineSeconds'))
  if (typeof deadline === 'number' && deadline <= minReadySeconds)
    problems.push(field.invalid('spec.progressDeadlineSeconds', deadline, 'must be greater than minReadySeconds'))
  return problems
}

export const replicaSet = (o: Json, old?: Json) => workload(o, old, 'deployment')

export function daemonSet(o: Json, old?: Json): FieldError[] {
  const { updateStrategy: strategy, template: t } = o.spec ?? {}
  const at = 'spec.updateStrategy.rollingUpdate'
  const problems = workload(o, old, 'daemonset').filter((p) => p.path !== 'spec.replicas')
  problems.push(...oneOf(strategy?.type, 'spec.updateStrategy.type', ['OnDelete', 'RollingUpdate']))
  problems.push(...percentOrInt(strategy?.rollingUpdate?.maxUnavailable, `${at}.maxUnavailable`))
  problems.push(...percentOrInt(strategy?.rollingUpdate?.maxSurge, `${at}.maxSurge`))
  if (t?.spec?.activeDeadlineSeconds !== undefined)
    problems.push(
      field.forbidden(
        'spec.template.spec.activeDeadlineSeconds',
        'activeDeadlineSeconds in DaemonSet is not Supported',
      ),
    )
  return problems
}

/** Fields of a StatefulSet's spec that may change. */
const CHANGEABLE = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
]

export function statefulSet(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  // Each claim is a volume of the pods, under the name of its template.
  const claims = ((spec.volumeClaimTemplates ?? []) as Json[]).map((c) => ({ name: c.metadata?.name, emptyDir: {} }))
  const own: Json[] = (spec.template?.spec?.volumes ?? []).filter((v: Json) => !claims.some((c) => c.name === v.name))
  const pods = spec.template && {
    ...spec.template,
    spec: { ...spec.template.spec, ...(claims.length > 0 ? { volumes: [...own, ...claims] } : {}) },
  }
  const problems = workload({ ...o, spec: { ...spec, template: pods } }, undefined, 'statefulset')
  problems.push(...oneOf(spec.podManagementPolicy, 'spec.podManagementPolicy', ['OrderedReady', 'Parallel']))
  problems.push(...oneOf(spec.updateStrategy?.type, 'spec.updateStrategy.type', ['OnDelete', 'RollingUpdate']))
  problems.push(
    ...nonNegative(spec.updateStrategy?.rollingUpdate?.partition, 'spec.updateStrategy.rollingUpdate.partition'),
  )
  problems.push(...nonNegative(spec.ordinals?.start, 'spec.ordinals.start'))
  if (!old) return problems
  const fixed = (s: Json) => Object.fromEntries(Object.entries(s ?? {}).filter(([k]) => !CHANGEABLE.includes(k)))
  if (!sameJson(fixed(spec), fixed(old.spec)))
    problems.push(
      field.forbidden(
        'spec',
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
      ),
    )
  return problems
}

export function replicationController(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = [
    ...nonNegative(spec.replicas, 'spec.replicas'),
    ...nonNegative(spec.minReadySeconds, 'spec.minReadySeconds'),
  ]
  if (!Object.keys(spec.selector ?? {}).length) problems.push(field.required('spec.selector'))
  else if (spec.template && !labelSelector({ matchLabels: spec.selector })(spec.template.metadata?.labels))
    problems.push(
      field.invalid(
        'spec.template.metadata.labels',
        spec.template.metadata?.labels ?? null,
        '`selector` does not match template `labels`',
      ),
    )
  return [...problems, ...template(spec.template, 'spec.template', ['Always'])]
}

export function podTemplate(o: Json): FieldError[] {
  return template(o.template, 'template', ['Always', 'OnFailure', 'Never'])
}

export function controllerRevision(o: Json, old?: Json): FieldError[] {
  return [
    ...nonNegative(o.revision, 'revision'),
    ...(old
      ? immutable(o.data, old.data, 'data')
      : o.data === undefined
        ? [field.required('data', 'data is mandatory')]
        : []),
  ]
}

function jobSpec(spec: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  for (const key of [
    'parallelism',
    'completions',
    'activeDeadlineSeconds',
    'backoffLimit',
    'ttlSecondsAfterFinished',
    'backoffLimitPerIndex',
    'maxFailedIndexes',
  ])
    problems.push(...nonNegative(spec[key], `${at}.${key}`))
  problems.push(...oneOf(spec.completionMode, `${at}.completionMode`, ['Indexed', 'NonIndexed']))
  if (spec.completionMode === 'Indexed' && spec.completions === undefined)
    problems.push(field.required(`${at}.completions`, 'when completion mode is Indexed'))
  problems.push(...oneOf(spec.podReplacementPolicy, `${at}.podReplacementPolicy`, ['Failed', 'TerminatingOrFailed']))
  return [...problems, ...template(spec.template, `${at}.template`, ['OnFailure', 'Never'])]
}

export function job(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = jobSpec(spec, 'spec')
  if (spec.selector && spec.template && !labelSelector(spec.selector)(spec.template.metadata?.labels))
    problems.push(
      field.invalid(
        'spec.template.metadata.labels',
        spec.template.metadata?.labels ?? null,
        '`selector` does not match template `labels`',
      ),
    )
  if (!old) return problems
  problems.push(...immutable(spec.selector, old.spec?.selector, 'spec.selector'))
  if (spec.completionMode !== 'Indexed')
    problems.push(...immutable(spec.completions, old.spec?.completions, 'spec.completions'))
  problems.push(...immutable(spec.completionMode, old.spec?.completionMode, 'spec.completionMode'))
  if (!(old.spec?.suspend && old.status?.startTime === undefined))
    problems.push(...immutable(spec.template, old.spec?.template, 'spec.template'))
  return problems
}

const CRON_FIELD = /^(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(\/\d+)?(,(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(\/\d+)?)*$/

/** Why a schedule cannot be read; undefined when it can. */
function scheduleProblem(text: string): string | undefined {
  if (/^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)$/.test(text)) return undefined
  const fields = text.trim().split(/\s+/)
  if (fields.length !== 5) return `expected exactly 5 fields, found ${fields.length}: [${fields.join(' ')}]`
  const limits = [
    [0, 59],
    [0, 23],
    [1, 31],
    [1, 12],
    [0, 6],
  ] as const
  for (const [i, f] of fields.entries()) {
    if (!CRON_FIELD.test(f)) return `failed to parse int from ${f}: strconv.Atoi: parsing "${f}": invalid syntax`
    for (const n of f.replace(/\/\d+/g, '').match(/\d+/g) ?? []) {
      const [low, high] = limits[i]!
      if (Number(n) > high) return `end of range (${n}) above maximum (${high}): ${f}`
      if (Number(n) < low) return `beginning of range (${n}) below minimum (${low}): ${f}`
    }
  }
  return undefined
}

export function cronJob(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if (!spec.schedule) problems.push(field.required('spec.schedule'))
  else {
    const why = scheduleProblem(spec.schedule)
    if (why) problems.push(field.invalid('spec.schedule', spec.schedule, why))
    if (/TZ/.test(spec.schedule))
      problems.push(
        field.invalid(
          'spec.schedule',
          spec.schedule,
          'cannot use TZ or CRON_TZ in schedule, use timeZone field instead',
        ),
      )
  }
  if (spec.timeZone !== undefined) {
    try {
      new Intl.DateTimeFormat('en', { timeZone: spec.timeZone })
    } catch {
      problems.push(field.invalid('spec.timeZone', spec.timeZone, `unknown time zone ${spec.timeZone}`))
    }
  }
  problems.push(...oneOf(spec.concurrencyPolicy, 'spec.concurrencyPolicy', ['Allow', 'Forbid', 'Replace'], true))
  for (const key of ['startingDeadlineSeconds', 'successfulJobsHistoryLimit', 'failedJobsHistoryLimit'])
    problems.push(...nonNegative(spec[key], `spec.${key}`))
  if ((o.metadata?.name ?? '').length > 52)
    problems.push(field.invalid('metadata.name', o.metadata.name, 'must be no more than 52 characters'))
  return [...problems, ...jobSpec(spec.jobTemplate?.spec ?? {}, 'spec.jobTemplate.spec')]
}

const METRICS = ['ContainerResource', 'External', 'Object', 'Pods', 'Resource']

export function autoscaler(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  const min = spec.minReplicas ?? 1
  if (min < 1) problems.push(field.invalid('spec.minReplicas', min, 'must be greater than or equal to 1'))
  if (!(spec.maxReplicas >= 1))
    problems.push(field.invalid('spec.maxReplicas', spec.maxReplicas ?? 0, 'must be greater than 0'))
  else if (spec.maxReplicas < min)
    problems.push(field.invalid('spec.maxReplicas', spec.maxReplicas, 'must be greater than or equal to `minReplicas`'))
  const target = spec.scaleTargetRef ?? {}
  for (const key of ['kind', 'name'])
    if (!target[key]) problems.push(field.required(`spec.scaleTargetRef.${key}`))
    else if (key === 'name')
      for (const p of checkSubdomain(target.name))
        problems.push(field.invalid('spec.scaleTargetRef.name', target.name, p))
  for (const [i, m] of ((spec.metrics ?? []) as Json[]).entries()) {
    const at = `spec.metrics[${i}]`
    problems.push(...oneOf(m.type, `${at}.type`, METRICS, true))
    const source = {
      Resource: 'resource',
      ContainerResource: 'containerResource',
      Pods: 'pods',
      Object: 'object',
      External: 'external',
    }[m.type as string]
    if (source && !m[source])
      problems.push(field.required(`${at}.${source}`, `must populate information for the given metric source`))
    if (m.resource && !m.resource.name)
      problems.push(field.required(`${at}.resource.name`, 'must specify a resource name'))
    const amount = m.resource?.target?.averageUtilization
    if (amount !== undefined && amount < 1)
      problems.push(field.invalid(`${at}.resource.target.averageUtilization`, amount, 'must be greater than 0'))
  }
  return problems
}
