// Validation of what hooks into admission: webhooks, admission policies and their bindings.
// Expressions are checked for presence and length; what they mean is checked where they are compiled.

import { oneOf, selectorProblems } from './checks.ts'
import { checkLabel1035, checkPathSegment, checkQualifiedName, checkSubdomain } from './names.ts'
import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

const FAILURE_POLICIES = ['Fail', 'Ignore']
const MATCH_POLICIES = ['Equivalent', 'Exact']
const REINVOCATION = ['IfNeeded', 'Never']
const OPERATIONS = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE']
const SCOPES = ['*', 'Cluster', 'Namespaced']

const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])
const blank = (value: unknown) => String(value ?? '').trim() === ''

export function webhooks(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const names = new Set<string>()
  for (const [i, w] of list(o.webhooks).entries()) {
    const at = `webhooks[${i}]`
    for (const p of checkSubdomain(w.name ?? '')) problems.push(field.invalid(`${at}.name`, w.name ?? '', p))
    if (w.name && w.name.split('.').length < 3)
      problems.push(
        field.invalid(`${at}.name`, w.name, 'should be a domain with at least three segments separated by dots'),
      )
    if (names.has(w.name)) problems.push(field.duplicate(`${at}.name`, w.name))
    names.add(w.name)
    for (const [n, r] of list(w.rules).entries()) problems.push(...rule(r, `${at}.rules[${n}]`))
    if (w.sideEffects === undefined)
      problems.push(field.required(`${at}.sideEffects`, 'must specify one of None, NoneOnDryRun'))
    problems.push(...oneOf(w.sideEffects, `${at}.sideEffects`, ['None', 'NoneOnDryRun']))
    problems.push(...oneOf(w.failurePolicy, `${at}.failurePolicy`, FAILURE_POLICIES))
    problems.push(...oneOf(w.matchPolicy, `${at}.matchPolicy`, MATCH_POLICIES))
    problems.push(...oneOf(w.reinvocationPolicy, `${at}.reinvocationPolicy`, REINVOCATION))
    problems.push(...reviewVersions(w.admissionReviewVersions, `${at}.admissionReviewVersions`))
    if (w.timeoutSeconds !== undefined && !(w.timeoutSeconds >= 1 && w.timeoutSeconds <= 30))
      problems.push(
        field.invalid(`${at}.timeoutSeconds`, w.timeoutSeconds, 'the timeout value must be between 1 and 30 seconds'),
      )
    problems.push(...selectorProblems(w.namespaceSelector, `${at}.namespaceSelector`))
    problems.push(...selectorProblems(w.objectSelector, `${at}.objectSelector`))
    problems.push(...clientConfig(w.clientConfig ?? {}, `${at}.clientConfig`))
    problems.push(...matchConditions(w.matchConditions, `${at}.matchConditions`))
  }
  return problems
}

/** At least one version that this server speaks; each a label, none twice. */
function reviewVersions(versions: unknown, at: string): FieldError[] {
  const all = list(versions) as unknown as string[]
  if (all.length === 0) return [field.required(at, 'must specify one of v1, v1beta1')]
  const problems: FieldError[] = []
  for (const [i, v] of all.entries()) {
    for (const p of checkLabel1035(String(v))) problems.push(field.invalid(`${at}[${i}]`, v, p))
    if (all.indexOf(v) !== i) problems.push(field.invalid(`${at}[${i}]`, v, 'duplicate version'))
  }
  if (!all.includes('v1') && !all.includes('v1beta1'))
    problems.push(field.invalid(at, all, 'must include at least one of v1, v1beta1'))
  return problems
}

function clientConfig(config: Json, at: string): FieldError[] {
  const { url, service } = config
  if ((url === undefined) === (service === undefined))
    return [field.required(at, 'exactly one of url or service is required')]
  const form = 'desired format: https://host[/path]'
  if (url !== undefined) {
    const parsed = URL.parse(String(url))
    const bad = (detail: string) => [field.invalid(`${at}.url`, url, `${detail}; ${form}`)]
    if (!parsed) return bad('url must be a valid URL')
    if (parsed.protocol !== 'https:') return bad(`'https' is the only allowed URL scheme`)
    if (parsed.username || parsed.password) return bad('user information is not permitted in the URL')
    if (parsed.hash) return bad('fragments are not permitted in the URL')
    if (parsed.search) return bad('query parameters are not permitted in the URL')
    return []
  }
  const problems: FieldError[] = []
  if (!service.name) problems.push(field.required(`${at}.service.name`, 'service name is required'))
  if (!service.namespace) problems.push(field.required(`${at}.service.namespace`, 'service namespace is required'))
  if (service.port !== undefined && !(service.port >= 1 && service.port <= 65535))
    problems.push(
      field.invalid(`${at}.service.port`, service.port, 'port is not valid: must be between 1 and 65535, inclusive'),
    )
  if (service.path && !String(service.path).startsWith('/'))
    problems.push(field.invalid(`${at}.service.path`, service.path, "must start with a '/'"))
  return problems
}

/** A rule of a webhook or a policy: operations, groups, versions, resources, scope. */
function rule(r: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  const wild = (key: string, what: string) => {
    const values = list(r[key]) as unknown as string[]
    if (values.length === 0) problems.push(field.required(`${at}.${key}`))
    else if (values.length > 1 && values.includes('*'))
      problems.push(field.invalid(`${at}.${key}`, values, `if '*' is present, must not specify other ${what}`))
    return values
  }
  for (const [i, op] of wild('operations', 'operations').entries())
    if (!OPERATIONS.includes(op)) problems.push(field.notSupported(`${at}.operations[${i}]`, op, OPERATIONS))
  wild('apiGroups', 'API groups')
  for (const [i, v] of wild('apiVersions', 'API versions').entries())
    if (v === '') problems.push(field.required(`${at}.apiVersions[${i}]`))
  problems.push(...ruleResources(list(r.resources) as unknown as string[], `${at}.resources`))
  return [...problems, ...oneOf(r.scope, `${at}.scope`, SCOPES)]
}

/** Resources and subresources, each of which may be a wildcard. */
function ruleResources(resources: string[], at: string): FieldError[] {
  if (resources.length === 0) return [field.required(at)]
  const problems: FieldError[] = []
  const whole = new Set<string>()
  for (const [i, r] of resources.entries()) {
    if (r === '') problems.push(field.required(`${at}[${i}]`))
    const [parent, sub] = r.split('/')
    if (r === '*/*' && resources.length > 1)
      problems.push(field.invalid(at, resources, "if '*/*' is present, must not specify other resources"))
    if (sub === '*') whole.add(parent!)
  }
  for (const [i, r] of resources.entries()) {
    const [parent, sub] = r.split('/')
    if (sub && sub !== '*' && whole.has(parent!))
      problems.push(field.invalid(`${at}[${i}]`, r, `if '${parent}/*' is present, must not specify ${r}`))
  }
  if (resources.length > 1 && resources.includes('*') && resources.some((r) => r !== '*' && !r.includes('/')))
    problems.push(
      field.invalid(at, resources, "if '*' is present, must not specify other resources without subresources"),
    )
  return problems
}

function matchConditions(conditions: unknown, at: string): FieldError[] {
  const all = list(conditions)
  const problems: FieldError[] = []
  if (all.length > 64) problems.push(field.tooMany(at, all.length, 64))
  const seen = new Set<string>()
  for (const [i, c] of all.entries()) {
    if (blank(c.expression)) problems.push(field.required(`${at}[${i}].expression`))
    if (!c.name) problems.push(field.required(`${at}[${i}].name`))
    else {
      for (const p of checkQualifiedName(c.name)) problems.push(field.invalid(`${at}[${i}].name`, c.name, p))
      if (seen.has(c.name)) problems.push(field.duplicate(`${at}[${i}].name`, c.name))
      seen.add(c.name)
    }
  }
  return problems
}

function matchResources(match: Json | undefined, at: string): FieldError[] {
  if (!match) return []
  const problems = [
    ...oneOf(match.matchPolicy, `${at}.matchPolicy`, MATCH_POLICIES, true),
    ...selectorProblems(match.namespaceSelector, `${at}.namespaceSelector`),
    ...selectorProblems(match.objectSelector, `${at}.objectSelector`),
  ]
  for (const key of ['resourceRules', 'excludeResourceRules'])
    for (const [i, r] of list(match[key]).entries()) {
      const here = `${at}.${key}[${i}]`
      const names = list(r.resourceNames) as unknown as string[]
      for (const [n, name] of names.entries()) {
        for (const p of checkPathSegment(name)) problems.push(field.invalid(`${here}.resourceNames[${n}]`, name, p))
        if (names.indexOf(name) !== n) problems.push(field.duplicate(`${here}.resourceNames[${n}]`, name))
      }
      problems.push(...rule(r, here))
    }
  return problems
}

function paramKind(kind: Json | undefined, at: string): FieldError[] {
  if (!kind) return []
  const problems: FieldError[] = []
  const parts = String(kind.apiVersion ?? '').split('/')
  if (!kind.apiVersion) problems.push(field.required(`${at}.apiVersion`))
  else if (parts.length > 2)
    problems.push(
      field.invalid(`${at}.apiVersion`, kind.apiVersion, `unexpected GroupVersion string: ${kind.apiVersion}`),
    )
  else {
    const [version = '', group] = parts.reverse()
    if (group) for (const p of checkSubdomain(group)) problems.push(field.invalid(`${at}.apiVersion`, group, p))
    if (!version) problems.push(field.invalid(`${at}.apiVersion`, kind.apiVersion, 'version must be specified'))
    else for (const p of checkLabel1035(version)) problems.push(field.invalid(`${at}.apiVersion`, version, p))
  }
  if (!kind.kind) problems.push(field.required(`${at}.kind`))
  else
    for (const p of checkLabel1035(String(kind.kind).toLowerCase()))
      problems.push(field.invalid(`${at}.kind`, kind.kind, `may have mixed case, but should otherwise match: ${p}`))
  return problems
}

const IDENTIFIER = /^[_a-zA-Z][_a-zA-Z0-9]*$/
const RESERVED = new Set(
  'true false null in as break const continue else for function if import let loop package namespace return var void while'.split(
    ' ',
  ),
)

function variables(all: unknown, at: string): FieldError[] {
  const problems: FieldError[] = []
  for (const [i, v] of list(all).entries()) {
    if (blank(v.name)) problems.push(field.required(`${at}[${i}].name`, 'name is not specified'))
    else if (!IDENTIFIER.test(v.name) || RESERVED.has(v.name))
      problems.push(field.invalid(`${at}[${i}].name`, v.name, 'name is not a valid CEL identifier'))
    if (blank(v.expression)) problems.push(field.required(`${at}[${i}].expression`, 'expression is not specified'))
  }
  return problems
}

const REASONS = ['Forbidden', 'Invalid', 'RequestEntityTooLarge']
const MAX_ANNOTATIONS = 20
const MAX_ANNOTATION_EXPRESSION = 5 * 1024

/** What policies of both kinds have in common. */
function policy(spec: Json): FieldError[] {
  const problems = [
    ...oneOf(spec.failurePolicy, 'spec.failurePolicy', FAILURE_POLICIES, true),
    ...paramKind(spec.paramKind, 'spec.paramKind'),
  ]
  if (!spec.matchConstraints) problems.push(field.required('spec.matchConstraints'))
  else {
    problems.push(...matchResources(spec.matchConstraints, 'spec.matchConstraints'))
    if (list(spec.matchConstraints.resourceRules).length === 0)
      problems.push(field.required('spec.matchConstraints.resourceRules'))
  }
  return [
    ...problems,
    ...matchConditions(spec.matchConditions, 'spec.matchConditions'),
    ...variables(spec.variables, 'spec.variables'),
  ]
}

export function validatingPolicy(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = policy(spec)
  const validations = list(spec.validations)
  const annotations = list(spec.auditAnnotations)
  if (validations.length === 0 && annotations.length === 0)
    for (const key of ['validations', 'auditAnnotations'])
      problems.push(field.required(`spec.${key}`, 'validations or auditAnnotations must contain at least one item'))
  for (const [i, v] of validations.entries()) {
    const at = `spec.validations[${i}]`
    if (blank(v.expression)) problems.push(field.required(`${at}.expression`, 'expression is not specified'))
    if (v.messageExpression && blank(v.messageExpression))
      problems.push(field.invalid(`${at}.messageExpression`, v.messageExpression, 'must be non-empty if specified'))
    if (v.message && blank(v.message))
      problems.push(field.invalid(`${at}.message`, v.message, 'message must be non-empty if specified'))
    else if (/[\n\r]/.test(String(v.message ?? '').trim()))
      problems.push(field.invalid(`${at}.message`, v.message, 'message must not contain line breaks'))
    problems.push(...oneOf(v.reason, `${at}.reason`, REASONS))
  }
  if (annotations.length > MAX_ANNOTATIONS)
    problems.push(
      field.invalid(
        'spec.auditAnnotations',
        annotations,
        `must not have more than ${MAX_ANNOTATIONS} auditAnnotations`,
      ),
    )
  const keys = new Set<string>()
  for (const [i, a] of annotations.entries()) {
    const at = `spec.auditAnnotations[${i}]`
    for (const p of checkQualifiedName(`${o.metadata?.name}/${a.key ?? ''}`))
      problems.push(field.invalid(`${at}.key`, `${o.metadata?.name}/${a.key ?? ''}`, p))
    if (keys.has(a.key)) problems.push(field.duplicate(`${at}.key`, a.key))
    keys.add(a.key)
    if (blank(a.valueExpression))
      problems.push(field.required(`${at}.valueExpression`, 'valueExpression is not specified'))
    else if (Buffer.byteLength(a.valueExpression) > MAX_ANNOTATION_EXPRESSION)
      problems.push(
        field.required(`${at}.valueExpression`, `must not exceed ${MAX_ANNOTATION_EXPRESSION} bytes in length`),
      )
  }
  return problems
}

const PATCHES: Record<string, string> = { ApplyConfiguration: 'applyConfiguration', JSONPatch: 'jsonPatch' }

export function mutatingPolicy(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = [...policy(spec), ...oneOf(spec.reinvocationPolicy, 'spec.reinvocationPolicy', REINVOCATION, true)]
  const mutations = list(spec.mutations)
  if (mutations.length === 0)
    problems.push(field.required('spec.mutations', 'mutations must contain at least one item'))
  for (const [i, m] of mutations.entries()) {
    const at = `spec.mutations[${i}]`
    problems.push(...oneOf(m.patchType, `${at}.patchType`, Object.keys(PATCHES), true))
    for (const [type, key] of Object.entries(PATCHES))
      if (m.patchType === type) {
        if (!m[key]) problems.push(field.required(`${at}.${key}`, `must be specified when patchType is ${type}`))
        else if (blank(m[key].expression))
          problems.push(field.required(`${at}.${key}.expression`, 'expression is not specified'))
      } else if (m[key] && m.patchType in PATCHES)
        problems.push(field.invalid(`${at}.${key}`, m[key], `must not be specified when patchType is ${m.patchType}`))
  }
  return problems
}

const ACTIONS = ['Audit', 'Deny', 'Warn']

/** A binding of either kind of policy; only those of validating ones have actions. */
export function policyBinding(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if (!spec.policyName) problems.push(field.required('spec.policyName'))
  else
    for (const p of checkSubdomain(spec.policyName)) problems.push(field.invalid('spec.policyName', spec.policyName, p))
  problems.push(...paramRef(spec.paramRef, 'spec.paramRef'))
  problems.push(...matchResources(spec.matchResources, 'spec.matchResources'))
  if (o.kind === 'MutatingAdmissionPolicyBinding') return problems
  const actions = list(spec.validationActions) as unknown as string[]
  const at = 'spec.validationActions'
  for (const [i, a] of actions.entries()) {
    if (!ACTIONS.includes(a)) problems.push(field.notSupported(`${at}[${i}]`, a, ACTIONS))
    if (actions.indexOf(a) !== i) problems.push(field.duplicate(`${at}[${i}]`, a))
  }
  if (actions.includes('Deny') && actions.includes('Warn'))
    problems.push(
      field.invalid(
        at,
        actions,
        'must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
      ),
    )
  if (actions.length === 0) problems.push(field.required(at, 'at least one validation action is required'))
  return problems
}

function paramRef(ref: Json | undefined, at: string): FieldError[] {
  if (!ref) return []
  const problems: FieldError[] = []
  if (ref.name) for (const p of checkPathSegment(ref.name)) problems.push(field.invalid(`${at}.name`, ref.name, p))
  if (ref.name && ref.selector)
    for (const key of ['name', 'selector'])
      problems.push(field.forbidden(`${at}.${key}`, 'name and selector are mutually exclusive'))
  problems.push(...selectorProblems(ref.selector, `${at}.selector`))
  if (!ref.name && !ref.selector) problems.push(field.required(at, 'one of name or selector must be specified'))
  return [...problems, ...oneOf(ref.parameterNotFoundAction, `${at}.parameterNotFoundAction`, ['Deny', 'Allow'], true)]
}
