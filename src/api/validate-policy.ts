// Validation of what limits others: quotas, ranges, disruption budgets.

import { oneOf, percentOrInt, quantity, selectorProblems } from './checks.ts'
import { checkQualifiedName } from './names.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

export function budget(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined)
    problems.push(field.invalid('spec', spec, 'minAvailable and maxUnavailable cannot be both set'))
  problems.push(...percentOrInt(spec.minAvailable, 'spec.minAvailable'))
  problems.push(...percentOrInt(spec.maxUnavailable, 'spec.maxUnavailable'))
  problems.push(...selectorProblems(spec.selector, 'spec.selector'))
  problems.push(
    ...oneOf(spec.unhealthyPodEvictionPolicy, 'spec.unhealthyPodEvictionPolicy', ['AlwaysAllow', 'IfHealthyBudget']),
  )
  return problems
}

const SCOPES = [
  'BestEffort',
  'CrossNamespacePodAffinity',
  'NotBestEffort',
  'NotTerminating',
  'PriorityClass',
  'Terminating',
  'VolumeAttributesClass',
]

export function quota(o: Json): FieldError[] {
  const problems: FieldError[] = []
  for (const [name, value] of Object.entries(o.spec?.hard ?? {})) {
    const at = `spec.hard[${name}]`
    for (const p of checkQualifiedName(name)) problems.push(field.invalid(at, name, p))
    problems.push(...quantity(value, at))
  }
  for (const [i, scope] of ((o.spec?.scopes ?? []) as string[]).entries())
    if (!SCOPES.includes(scope)) problems.push(field.invalid(`spec.scopes[${i}]`, scope, 'unsupported scope'))
  return problems
}

const KINDS = ['max', 'min', 'default', 'defaultRequest', 'maxLimitRequestRatio']

export function limitRange(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, limit] of ((o.spec?.limits ?? []) as Json[]).entries()) {
    const at = `spec.limits[${i}]`
    if (!limit.type) problems.push(field.required(`${at}.type`))
    if (seen.has(limit.type)) problems.push(field.duplicate(`${at}.type`, limit.type))
    seen.add(limit.type)
    for (const kind of KINDS)
      for (const [name, value] of Object.entries(limit[kind] ?? {}))
        problems.push(...quantity(value, `${at}.${kind}[${name}]`))
    if (limit.type === 'Pod')
      for (const kind of ['default', 'defaultRequest'])
        if (limit[kind]) problems.push(field.forbidden(`${at}.${kind}`, "may not be specified when `type` is 'Pod'"))
    const order = ['min', 'defaultRequest', 'default', 'max']
    const names = new Set(order.flatMap((k) => Object.keys(limit[k] ?? {})))
    for (const name of names)
      for (const [a, low] of order.entries())
        for (const high of order.slice(a + 1)) {
          const [x, y] = [limit[low]?.[name], limit[high]?.[name]]
          if (x === undefined || y === undefined || parseQuantity(x)! <= parseQuantity(y)!) continue
          problems.push(
            low === 'min' && high === 'max'
              ? field.invalid(`${at}.min[${name}]`, x, `min value ${x} is greater than max value ${y}`)
              : field.invalid(
                  `${at}.${low}[${name}]`,
                  x,
                  `${LABELS[low]} value ${x} is greater than ${LABELS[high]} value ${y}`,
                ),
          )
        }
  }
  return problems
}

const LABELS: Readonly<Record<string, string>> = {
  min: 'min',
  max: 'max',
  default: 'default',
  defaultRequest: 'default request',
}
