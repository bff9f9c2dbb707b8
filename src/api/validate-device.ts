// Validation of devices (resource.k8s.io): classes, claims, claim templates and slices.

import { immutable, oneOf } from './checks.ts'
import { checkLabel1123, checkQualifiedName, checkSubdomain } from './names.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

const MAX_REQUESTS = 32
const MAX_SELECTORS = 32
const MAX_EXPRESSION = 10 * 1024
const MAX_PARAMETERS = 10 * 1024
const MAX_FIRST_AVAILABLE = 8
const MAX_DEVICES = 128
const MAX_DEVICES_ADVANCED = 64
const MAX_ATTRIBUTES = 32
const MAX_TAINTS = 16
const MAX_VALUE = 64

const list = (value: unknown): Json[] => (Array.isArray(value) ? (value as Json[]) : [])

/** Items one by one; too many are said once. */
function each(value: unknown, at: string, max: number, check: (item: Json, at: string) => FieldError[]): FieldError[] {
  const items = list(value)
  return [
    ...(items.length > max ? [field.tooMany(at, items.length, max)] : []),
    ...items.slice(0, max).flatMap((item, i) => check(item, `${at}[${i}]`)),
  ]
}

/** The same, no key twice. */
function unique(
  value: unknown,
  at: string,
  max: number,
  key: (item: Json) => string,
  check: (item: Json, at: string) => FieldError[],
): FieldError[] {
  const seen = new Set<string>()
  return each(value, at, max, (item, here) => {
    const k = key(item)
    const again = seen.has(k) ? [field.duplicate(here, k)] : []
    seen.add(k)
    return [...check(item, here), ...again]
  })
}

function labelName(value: unknown, at: string): FieldError[] {
  if (!value) return [field.required(at)]
  return checkLabel1123(String(value)).map((p) => field.invalid(at, value, p))
}

function subdomain(value: unknown, at: string, max = 253): FieldError[] {
  if (!value) return [field.required(at)]
  return [
    ...(String(value).length > max ? [field.tooLong(at, max)] : []),
    ...checkSubdomain(String(value)).map((p) => field.invalid(at, value, p)),
  ]
}

const driver = (value: unknown, at: string) => subdomain(value, at, 63)

function selectors(value: unknown, at: string): FieldError[] {
  return each(value, at, MAX_SELECTORS, (s, here) => {
    if (!s.cel) return [field.required(`${here}.cel`)]
    if (!String(s.cel.expression ?? '').trim()) return [field.required(`${here}.cel.expression`)]
    return Buffer.byteLength(s.cel.expression) > MAX_EXPRESSION
      ? [field.tooLong(`${here}.cel.expression`, MAX_EXPRESSION)]
      : []
  })
}

function opaque(config: Json, at: string): FieldError[] {
  if (!config.opaque) return [field.required(`${at}.opaque`)]
  const problems = driver(config.opaque.driver, `${at}.opaque.driver`)
  const { parameters } = config.opaque
  if (parameters === undefined || parameters === null) problems.push(field.required(`${at}.opaque.parameters`))
  else if (Buffer.byteLength(JSON.stringify(parameters)) > MAX_PARAMETERS)
    problems.push(field.tooLong(`${at}.opaque.parameters`, MAX_PARAMETERS))
  else if (typeof parameters !== 'object' || Array.isArray(parameters))
    problems.push(field.invalid(`${at}.opaque.parameters`, '<value omitted>', 'must be a valid JSON object'))
  return problems
}

export function deviceClass(o: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = [
    ...selectors(spec.selectors, 'spec.selectors'),
    ...each(spec.config, 'spec.config', MAX_REQUESTS, opaque),
  ]
  const extended = spec.extendedResourceName
  if (extended !== undefined && !(String(extended).includes('/') && checkQualifiedName(extended).length === 0))
    problems.push(field.invalid('spec.extendedResourceName', extended, 'must be a valid extended resource name'))
  return problems
}

export function resourceClaim(o: Json, old?: Json): FieldError[] {
  return old ? immutable(o.spec, old.spec, 'spec') : deviceClaim(o.spec?.devices ?? {}, 'spec.devices')
}

export function resourceClaimTemplate(o: Json, old?: Json): FieldError[] {
  return old ? immutable(o.spec, old.spec, 'spec') : deviceClaim(o.spec?.spec?.devices ?? {}, 'spec.spec.devices')
}

const REFERENCE =
  "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"

function deviceClaim(devices: Json, at: string): FieldError[] {
  const names = new Set<string>()
  for (const r of list(devices.requests)) {
    names.add(r.name)
    for (const sub of list(r.firstAvailable)) names.add(`${r.name}/${sub.name}`)
  }
  const references = (value: unknown, here: string) =>
    unique(value, here, MAX_REQUESTS, String, (name, item) =>
      names.has(String(name)) ? [] : [field.invalid(item, name, REFERENCE)],
    )
  return [
    ...unique(devices.requests, `${at}.requests`, MAX_REQUESTS, (r) => r.name, deviceRequest),
    ...each(devices.constraints, `${at}.constraints`, MAX_REQUESTS, (c, here) => {
      const problems = references(c.requests, `${here}.requests`)
      const given = ['matchAttribute', 'distinctAttribute'].filter((k) => c[k] !== undefined)
      if (given.length !== 1)
        problems.push(field.required(here, 'exactly one of "matchAttribute" or "distinctAttribute" is required'))
      else problems.push(...fullyQualified(c[given[0]!], `${here}.${given[0]}`))
      return problems
    }),
    ...each(devices.config, `${at}.config`, MAX_REQUESTS, (c, here) => [
      ...references(c.requests, `${here}.requests`),
      ...opaque(c, here),
    ]),
  ]
}

function deviceRequest(r: Json, at: string): FieldError[] {
  const problems = labelName(r.name, `${at}.name`)
  const alternatives = list(r.firstAvailable)
  if (!r.exactly && alternatives.length === 0)
    problems.push(field.required(at, 'exactly one of `exactly` or `firstAvailable` is required'))
  else if (r.exactly && alternatives.length > 0)
    problems.push(
      field.invalid(at, null, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set'),
    )
  else if (r.exactly) problems.push(...wanted(r.exactly, `${at}.exactly`))
  else
    problems.push(
      ...unique(
        alternatives,
        `${at}.firstAvailable`,
        MAX_FIRST_AVAILABLE,
        (s) => s.name,
        (s, here) => [...labelName(s.name, `${here}.name`), ...wanted(s, here)],
      ),
    )
  return problems
}

/** What one request, or one of its alternatives, wants. */
function wanted(r: Json, at: string): FieldError[] {
  const problems = [
    ...subdomain(r.deviceClassName, `${at}.deviceClassName`),
    ...selectors(r.selectors, `${at}.selectors`),
  ]
  const count = r.count ?? 0
  if (r.allocationMode === 'All') {
    if (count !== 0)
      problems.push(field.invalid(`${at}.count`, count, "must not be specified when allocationMode is 'All'"))
  } else if (r.allocationMode === 'ExactCount') {
    if (count <= 0) problems.push(field.invalid(`${at}.count`, count, 'must be greater than zero'))
  } else problems.push(field.notSupported(`${at}.allocationMode`, r.allocationMode ?? '', ['All', 'ExactCount']))
  for (const [i, t] of list(r.tolerations).entries()) {
    const here = `${at}.tolerations[${i}]`
    if (t.key) for (const p of checkQualifiedName(t.key)) problems.push(field.invalid(`${here}.key`, t.key, p))
    problems.push(...oneOf(t.operator, `${here}.operator`, ['Equal', 'Exists'], true))
    problems.push(...oneOf(t.effect, `${here}.effect`, ['NoExecute', 'NoSchedule']))
    if (t.operator === 'Exists' && t.value)
      problems.push(field.invalid(`${here}.value`, t.value, 'must be empty for operator `Exists`'))
    if (t.operator === 'Equal' && !t.key) problems.push(field.required(`${here}.key`))
  }
  return problems
}

/** "domain/identifier": a C identifier after an optional domain. */
function qualified(name: string, at: string): FieldError[] {
  const parts = name.split('/')
  if (name === '') return [field.required(at, 'name required')]
  if (parts.length > 2)
    return [field.invalid(at, name, "must be a C identifier, or a domain and a C identifier separated by '/'")]
  const id = parts[parts.length - 1]!
  const problems: FieldError[] = []
  if (parts.length === 2)
    if (parts[0] === '') problems.push(field.required(at, 'the domain must not be empty'))
    else {
      if (parts[0]!.length > 63) problems.push(field.tooLong(at, 63))
      for (const p of checkSubdomain(parts[0]!)) problems.push(field.invalid(at, parts[0], p))
    }
  if (id === '') problems.push(field.required(at, 'the name must not be empty'))
  else if (id.length > 32) problems.push(field.tooLong(at, 32))
  if (id && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(id))
    problems.push(
      field.invalid(
        at,
        id,
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
      ),
    )
  return problems
}

function fullyQualified(name: unknown, at: string): FieldError[] {
  const problems = qualified(String(name), at)
  if (problems.length === 0 && !String(name).includes('/'))
    problems.push(field.invalid(at, name, 'must include a domain'))
  return problems
}

const PLACES = ['nodeName', 'nodeSelector', 'allNodes', 'perDeviceNodeSelection']

export function resourceSlice(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const pool = spec.pool ?? {}
  const problems = driver(spec.driver, 'spec.driver')
  if (!pool.name) problems.push(field.required('spec.pool.name'))
  else
    for (const part of String(pool.name).split('/'))
      for (const p of checkSubdomain(part)) problems.push(field.invalid('spec.pool.name', part, p))
  if (!((pool.resourceSliceCount ?? 0) > 0))
    problems.push(
      field.invalid('spec.pool.resourceSliceCount', pool.resourceSliceCount ?? 0, 'must be greater than zero'),
    )
  if ((pool.generation ?? 0) < 0)
    problems.push(field.invalid('spec.pool.generation', pool.generation, 'must be greater than or equal to zero'))
  if (old)
    problems.push(
      ...immutable(pool.name, old.spec?.pool?.name, 'spec.pool.name'),
      ...immutable(spec.driver, old.spec?.driver, 'spec.driver'),
      ...immutable(spec.nodeName, old.spec?.nodeName, 'spec.nodeName'),
    )
  problems.push(
    ...place(spec, 'spec', PLACES, `exactly one of ${PLACES.map((p) => `\`${p}\``).join(', ')} is required`),
  )
  if (spec.nodeSelector && list(spec.nodeSelector.nodeSelectorTerms).length !== 1)
    problems.push(
      field.invalid(
        'spec.nodeSelector.nodeSelectorTerms',
        spec.nodeSelector.nodeSelectorTerms ?? null,
        'must have exactly one node selector term',
      ),
    )
  if (spec.sharedCounters && spec.devices)
    problems.push(field.invalid('spec', '', 'only one of `sharedCounters` or `devices` is allowed'))
  const advanced = list(spec.devices).some((d) => d.taints?.length || d.consumesCounters?.length)
  return [
    ...problems,
    ...unique(
      spec.devices,
      'spec.devices',
      advanced ? MAX_DEVICES_ADVANCED : MAX_DEVICES,
      (d) => d.name,
      (d, at) => device(d, at, spec.perDeviceNodeSelection === true),
    ),
    ...unique(
      spec.sharedCounters,
      'spec.sharedCounters',
      8,
      (c) => c.name,
      (c, at) => [...labelName(c.name, `${at}.name`), ...counters(c.counters, `${at}.counters`)],
    ),
  ]
}

/** Exactly one of the ways to say where something is; "all nodes" is true or unset. */
function place(o: Json, at: string, keys: readonly string[], sentence: string): FieldError[] {
  const problems: FieldError[] = []
  const set: string[] = []
  for (const key of keys) {
    const value = o[key]
    if (value === undefined || value === null) continue
    if (value === false) problems.push(field.invalid(`${at}.${key}`, value, 'must be either unset or set to true'))
    else if (value === '')
      problems.push(field.invalid(`${at}.${key}`, value, 'must be either unset or set to a non-empty string'))
    else set.push(`\`${key}\``)
    if (key === 'nodeName' && value)
      for (const p of checkSubdomain(value)) problems.push(field.invalid(`${at}.nodeName`, value, p))
  }
  if (set.length === 0) problems.push(field.required(at, sentence))
  if (set.length > 1)
    problems.push(field.invalid(at, `{${set.join(', ')}}`, `${sentence}, but multiple fields are set`))
  return problems
}

function counters(value: unknown, at: string): FieldError[] {
  const names = Object.entries((value ?? {}) as Json)
  if (names.length === 0) return [field.required(at)]
  return names.flatMap(([name, counter]) => [
    ...labelName(name, `${at}[${name}]`),
    ...amount(counter?.value, `${at}[${name}].value`),
  ])
}

function amount(value: unknown, at: string): FieldError[] {
  return parseQuantity(value as string) === undefined
    ? [
        field.invalid(
          at,
          value ?? null,
          "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
      ]
    : []
}

const DEVICE_PLACES = ['nodeName', 'nodeSelector', 'allNodes']
const SEMVER =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$/

function device(d: Json, at: string, chooses: boolean): FieldError[] {
  const problems = labelName(d.name, `${at}.name`)
  const attributes = Object.entries<Json>(d.attributes ?? {})
  const capacity = Object.entries<Json>(d.capacity ?? {})
  const total = attributes.length + capacity.length
  if (total > MAX_ATTRIBUTES)
    problems.push(
      field.invalid(at, total, `the total number of attributes and capacities must not exceed ${MAX_ATTRIBUTES}`),
    )
  for (const [name, value] of attributes) {
    const here = `${at}.attributes[${name}]`
    problems.push(...qualified(name, here))
    if (Object.values(value ?? {}).filter((v) => v !== undefined && v !== null).length !== 1)
      problems.push(field.invalid(here, value ?? '', 'exactly one value must be specified'))
    if (typeof value?.string === 'string' && Buffer.byteLength(value.string) > MAX_VALUE)
      problems.push(field.tooLong(`${here}.string`, MAX_VALUE))
    if (value?.version !== undefined && !SEMVER.test(value.version))
      problems.push(
        field.invalid(`${here}.version`, value.version, 'must be a string compatible with semver.org spec 2.0.0'),
      )
  }
  for (const [name, value] of capacity) {
    problems.push(...qualified(name, `${at}.capacity[${name}]`))
    problems.push(...amount(value?.value, `${at}.capacity[${name}].value`))
    if (value?.requestPolicy && d.allowMultipleAllocations !== true)
      problems.push(field.forbidden(`${at}.capacity[${name}].requestPolicy`, 'allowMultipleAllocations must be true'))
  }
  problems.push(
    ...each(d.taints, `${at}.taints`, MAX_TAINTS, (t, here) => [
      ...(t.key
        ? checkQualifiedName(t.key).map((p) => field.invalid(`${here}.key`, t.key, p))
        : [field.required(`${here}.key`)]),
      ...oneOf(t.effect, `${here}.effect`, ['NoExecute', 'NoSchedule', 'None'], true),
    ]),
    ...unique(
      d.consumesCounters,
      `${at}.consumesCounters`,
      2,
      (c) => c.counterSet,
      (c, here) => [...labelName(c.counterSet, `${here}.counterSet`), ...counters(c.counters, `${here}.counters`)],
    ),
  )
  if (chooses)
    problems.push(
      ...place(
        d,
        at,
        DEVICE_PLACES,
        'exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec',
      ),
    )
  else if (DEVICE_PLACES.some((k) => d[k] !== undefined))
    problems.push(
      field.invalid(
        at,
        null,
        '`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec',
      ),
    )
  return problems
}
