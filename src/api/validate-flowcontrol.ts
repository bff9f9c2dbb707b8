// Validation of FlowSchemas and PriorityLevelConfigurations (API priority and fairness).

import { oneOf } from './checks.ts'
import { checkLabel1123, checkSubdomain } from './names.ts'
import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'proxy', 'update', 'watch']
const HIGHEST_PRECEDENCE = 10_000
const MAX_QUEUES = 10_000_000
/** Bits that one hash gives to deal a hand of queues. */
const HASH_BITS = 60

const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])

/** Conditions of a status: each type once. */
function conditions(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, c] of list(o.status?.conditions).entries()) {
    const at = `status.conditions[${i}].type`
    if (seen.has(c.type)) problems.push(field.duplicate(at, c.type))
    seen.add(c.type)
    if (!c.type) problems.push(field.required(at, 'must not be empty'))
  }
  return problems
}

export function flowSchema(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  const at = 'spec.matchingPrecedence'
  const precedence = spec.matchingPrecedence ?? 0
  if (precedence <= 0) problems.push(field.invalid(at, precedence, 'must be a positive value'))
  if (precedence > HIGHEST_PRECEDENCE)
    problems.push(field.invalid(at, precedence, `must not be greater than ${HIGHEST_PRECEDENCE}`))
  if (precedence === 1 && o.metadata?.name !== 'exempt')
    problems.push(field.invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
  if (spec.distinguisherMethod)
    problems.push(
      ...oneOf(spec.distinguisherMethod.type, 'spec.distinguisherMethod.type', ['ByNamespace', 'ByUser'], true),
    )
  const level = spec.priorityLevelConfiguration?.name
  if (!level) problems.push(field.required('spec.priorityLevelConfiguration.name', 'must reference a priority level'))
  else
    for (const p of checkSubdomain(level))
      problems.push(field.invalid('spec.priorityLevelConfiguration.name', level, p))
  for (const [i, rule] of list(spec.rules).entries()) problems.push(...policyRules(rule, `spec.rules[${i}]`))
  return [...problems, ...conditions(o)]
}

function policyRules(rule: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  if (list(rule.subjects).length === 0)
    problems.push(field.required(`${at}.subjects`, 'subjects must contain at least one value'))
  for (const [i, s] of list(rule.subjects).entries()) problems.push(...subject(s, `${at}.subjects[${i}]`))
  if (list(rule.resourceRules).length === 0 && list(rule.nonResourceRules).length === 0)
    problems.push(field.required(at, 'at least one of resourceRules and nonResourceRules has to be non-empty'))
  for (const [i, r] of list(rule.resourceRules).entries())
    problems.push(...resourceRule(r, `${at}.resourceRules[${i}]`))
  for (const [i, r] of list(rule.nonResourceRules).entries()) {
    const here = `${at}.nonResourceRules[${i}]`
    problems.push(...verbs(r.verbs, `${here}.verbs`), ...urls(r.nonResourceURLs, `${here}.nonResourceURLs`))
  }
  return problems
}

const SUBJECTS: Record<string, string> = { Group: 'group', ServiceAccount: 'serviceAccount', User: 'user' }

function subject(s: Json, at: string): FieldError[] {
  const own = SUBJECTS[s.kind]
  if (!own) return [field.notSupported(`${at}.kind`, s.kind ?? '', Object.keys(SUBJECTS))]
  const problems: FieldError[] = []
  const given = s[own]
  if (!given) problems.push(field.required(`${at}.${own}`, `${own} is required when subject kind is '${s.kind}'`))
  else {
    if (!given.name) problems.push(field.required(`${at}.${own}.name`))
    else if (own === 'serviceAccount' && given.name !== '*')
      for (const p of checkSubdomain(given.name)) problems.push(field.invalid(`${at}.${own}.name`, given.name, p))
    if (own === 'serviceAccount' && !given.namespace)
      problems.push(field.required(`${at}.${own}.namespace`, 'must specify namespace for service account'))
    else if (own === 'serviceAccount')
      for (const p of checkLabel1123(given.namespace))
        problems.push(field.invalid(`${at}.${own}.namespace`, given.namespace, p))
  }
  for (const [kind, key] of Object.entries(SUBJECTS))
    if (key !== own && s[key])
      problems.push(field.forbidden(`${at}.${key}`, `${key} is forbidden when subject kind is not '${kind}'`))
  return problems
}

function verbs(value: unknown, at: string): FieldError[] {
  const all = list(value) as unknown as string[]
  if (all.length === 0) return [field.required(at, 'verbs must contain at least one value')]
  if (all.includes('*'))
    return all.length > 1 ? [field.invalid(at, all, "if '*' is present, must not specify other verbs")] : []
  return all.every((v) => VERBS.includes(v)) ? [] : [field.notSupported(at, all, VERBS)]
}

function resourceRule(r: Json, at: string): FieldError[] {
  const problems = verbs(r.verbs, `${at}.verbs`)
  const wild = (key: string, one: string, others: string) => {
    const all = list(r[key]) as unknown as string[]
    if (all.length === 0)
      problems.push(field.required(`${at}.${key}`, `resource rules must supply at least one ${one}`))
    else if (all.length > 1 && all.includes('*'))
      problems.push(field.invalid(`${at}.${key}`, all, `if '*' is present, must not specify other ${others}`))
  }
  wild('apiGroups', 'api group', 'api groups')
  wild('resources', 'resource', 'resources')
  const namespaces = list(r.namespaces) as unknown as string[]
  if (namespaces.length === 0 && !r.clusterScope)
    problems.push(
      field.required(
        `${at}.namespaces`,
        'resource rules that are not cluster scoped must supply at least one namespace',
      ),
    )
  else if (namespaces.includes('*')) {
    if (namespaces.length > 1)
      problems.push(
        field.invalid(`${at}.namespaces`, namespaces, "if '*' is present, must not specify other namespaces"),
      )
  } else
    for (const [i, ns] of namespaces.entries())
      for (const p of checkLabel1123(ns))
        problems.push(
          field.invalid(`${at}.namespaces[${i}]`, ns, `each member of this list must be '*' or a DNS-1123 label; ${p}`),
        )
  return problems
}

function urls(value: unknown, at: string): FieldError[] {
  const all = list(value) as unknown as string[]
  if (all.length === 0) return [field.required(at, 'nonResourceURLs must contain at least one value')]
  if (all.includes('*'))
    return all.length > 1 ? [field.invalid(at, all, "if '*' is present, must not specify other non-resource URLs")] : []
  return all.flatMap((path, i) => {
    const problem = pathProblem(path)
    return problem ? [field.invalid(`${at}[${i}]`, path, problem)] : []
  })
}

function pathProblem(path: string): string | undefined {
  if (path === '') return 'must not be empty'
  if (path === '/') return undefined
  if (!path.startsWith('/')) return 'must start with slash'
  if (path.includes(' ')) return 'must not contain white-space'
  if (path.includes('//')) return 'must not contain double slash'
  const star = path.indexOf('*')
  if (star >= 0 && (star !== path.length - 1 || !path.endsWith('/*'))) return 'wildcard can only do suffix matching'
  return undefined
}

export function priorityLevel(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if ((o.metadata?.name === 'exempt') !== (spec.type === 'Exempt'))
    problems.push(field.invalid('spec.type', spec.type ?? '', "type must be 'Exempt' if and only if name is 'exempt'"))
  if (spec.type === 'Exempt') {
    if (spec.limited) problems.push(field.forbidden('spec.limited', 'must be nil if the type is not Limited'))
    if (spec.exempt) problems.push(...shares(spec.exempt, 'spec.exempt'))
  } else if (spec.type === 'Limited') {
    if (spec.exempt) problems.push(field.forbidden('spec.exempt', 'must be nil if the type is Limited'))
    if (!spec.limited) problems.push(field.required('spec.limited', 'must not be empty when type is Limited'))
    else problems.push(...shares(spec.limited, 'spec.limited'), ...limitResponse(spec.limited))
  } else problems.push(field.notSupported('spec.type', spec.type ?? '', ['Exempt', 'Limited']))
  return [...problems, ...conditions(o)]
}

function shares(part: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  if ((part.nominalConcurrencyShares ?? 0) < 0)
    problems.push(
      field.invalid(`${at}.nominalConcurrencyShares`, part.nominalConcurrencyShares, 'must be a non-negative integer'),
    )
  const lendable = part.lendablePercent ?? 0
  if (lendable < 0 || lendable > 100)
    problems.push(field.invalid(`${at}.lendablePercent`, lendable, 'must be between 0 and 100, inclusive'))
  if ((part.borrowingLimitPercent ?? 0) < 0)
    problems.push(
      field.invalid(
        `${at}.borrowingLimitPercent`,
        part.borrowingLimitPercent,
        'if specified, must be a non-negative integer',
      ),
    )
  return problems
}

function limitResponse(limited: Json): FieldError[] {
  const response = limited.limitResponse ?? {}
  const at = 'spec.limited.limitResponse'
  if (response.type === 'Reject')
    return response.queuing
      ? [field.forbidden(`${at}.queuing`, 'must be nil if limited.limitResponse.type is not Limited')]
      : []
  if (response.type !== 'Queue') return [field.notSupported(`${at}.type`, response.type ?? '', ['Queue', 'Reject'])]
  if (!response.queuing)
    return [field.required(`${at}.queuing`, 'must not be empty if limited.limitResponse.type is Limited')]
  const { queues = 0, handSize = 0, queueLengthLimit = 0 } = response.queuing
  const problems: FieldError[] = []
  const bad = (key: string, value: number, why: string) =>
    problems.push(field.invalid(`${at}.queuing.${key}`, value, why))
  if (queueLengthLimit <= 0) bad('queueLengthLimit', queueLengthLimit, 'must be positive')
  if (queues <= 0) bad('queues', queues, 'must be positive')
  else if (queues > MAX_QUEUES) bad('queues', queues, `must not be greater than ${MAX_QUEUES}`)
  if (handSize <= 0) bad('handSize', handSize, 'must be positive')
  else if (handSize > queues) bad('handSize', handSize, `should not be greater than queues (${queues})`)
  else if (entropyBits(queues, handSize) > HASH_BITS)
    bad(
      'handSize',
      handSize,
      `required entropy bits of deckSize ${queues} and handSize ${handSize} should not be greater than ${HASH_BITS}`,
    )
  return problems
}

/** Bits needed to deal a hand out of a deck: log2 of the falling factorial, rounded up. */
function entropyBits(deck: number, hand: number): number {
  let bits = 0
  for (let i = 0; i < hand; i++) bits += Math.log2(deck - i)
  return Math.ceil(bits)
}
