// Structural schemas of custom resources: pruning, defaulting and validation of values. Pure.
// Rules: apiextensions.k8s.io/v1, "Specifying a structural schema", and OpenAPI v3's keywords.

import { isIPv4, isIPv6 } from 'node:net'
import { type FieldError, field, type Json, sameJson } from '#api'
import { compileRe2, type Re2 } from '#base/re2'

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
const join = (path: string, key: string) => (path ? `${path}.${key}` : key)

/** Fields that an embedded object has whatever its schema says. */
const OBJECT_FIELDS = new Set(['apiVersion', 'kind', 'metadata'])

/**
 * A value without the fields its schema does not know, and without nulls where it allows none. What was
 * dropped is added to `dropped` as paths. The value itself stays as it is.
 */
export function prune(value: unknown, schema: Json, path: string, dropped: string[]): unknown {
  if (Array.isArray(value)) {
    const { items } = schema
    return items ? value.map((v, i) => prune(v, items, `${path}[${i}]`, dropped)) : value
  }
  if (!isObject(value)) return value
  const keepsAll = schema['x-kubernetes-preserve-unknown-fields'] === true || schema.additionalProperties === true
  const embedded = schema['x-kubernetes-embedded-resource'] === true
  const result: Json = {}
  for (const [key, child] of Object.entries(value)) {
    const of = propertySchema(schema, key)
    if (of) {
      if (child === null && !of.nullable) continue
      result[key] = prune(child, of, join(path, key), dropped)
    } else if (keepsAll || (embedded && OBJECT_FIELDS.has(key))) result[key] = child
    else dropped.push(join(path, key))
  }
  return result
}

/** The schema of a field: its own, or that of all others. */
function propertySchema(schema: Json, key: string): Json | undefined {
  if (schema.properties && Object.hasOwn(schema.properties, key)) return schema.properties[key]
  return isObject(schema.additionalProperties) ? schema.additionalProperties : undefined
}

/** Fills in what a schema gives to fields that are absent, in place. */
export function fillDefaults(value: unknown, schema: Json): void {
  if (Array.isArray(value)) {
    if (schema.items) for (const item of value) fillDefaults(item, schema.items)
    return
  }
  if (!isObject(value)) return
  for (const [key, of] of Object.entries<Json>(schema.properties ?? {}))
    if (of.default !== undefined && (value[key] === undefined || (value[key] === null && !of.nullable)))
      value[key] = structuredClone(of.default)
  for (const [key, child] of Object.entries(value)) {
    const of = propertySchema(schema, key)
    if (of) fillDefaults(child, of)
  }
}

/** What a value has against its schema, in upstream's paths and words. */
export function validateValue(value: unknown, schema: Json, path = ''): FieldError[] {
  const problems: FieldError[] = []
  check(value, schema, path, problems)
  return problems
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value
}

function wrongType(at: string, value: unknown, wanted: string, actual: string): FieldError {
  return {
    path: at,
    reason: 'FieldValueTypeInvalid',
    message: `Invalid value: ${JSON.stringify(typeof value === 'object' ? actual : value)}: ${at} in body must be of type ${wanted}: "${actual}"`,
  }
}

const tooMany = (at: string, actual: number, max: number): FieldError => ({
  path: at,
  reason: 'FieldValueTooMany',
  message: `Too many: ${actual}: must have at most ${max} items`,
})

function check(value: unknown, schema: Json, path: string, problems: FieldError[]): void {
  const at = path || '<nil>'
  const actual = typeOf(value)
  if (value === null && schema.nullable) return
  if (schema['x-kubernetes-int-or-string']) {
    if (actual !== 'integer' && actual !== 'string')
      return void problems.push(wrongType(at, value, 'integer,string', actual))
  } else if (schema.type && schema.type !== actual && !(schema.type === 'number' && actual === 'integer'))
    return void problems.push(wrongType(at, value, schema.type, actual))
  if (schema.enum && !schema.enum.some((e: unknown) => sameJson(e, value)))
    problems.push(field.notSupported(at, value, schema.enum.map(String)))
  if (typeof value === 'string') checkText(value, schema, at, problems)
  else if (typeof value === 'number') checkNumber(value, schema, at, problems)
  else if (Array.isArray(value)) checkList(value, schema, path, problems)
  else if (isObject(value)) checkMap(value, schema, path, problems)
  checkCombinations(value, schema, path, problems)
}

const patterns = new Map<string, Re2 | undefined>()

function pattern(text: string): Re2 | undefined {
  if (!patterns.has(text)) {
    if (patterns.size > 1000) patterns.clear()
    try {
      // A pattern matches anywhere in the text.
      patterns.set(text, compileRe2(`(?s:.*)(?:${text})(?s:.*)`))
    } catch {
      patterns.set(text, undefined)
    }
  }
  return patterns.get(text)
}

function checkText(value: string, schema: Json, at: string, problems: FieldError[]): void {
  const invalid = (why: string) => void problems.push(field.invalid(at, value, `${at} in body ${why}`))
  if (schema.maxLength !== undefined || schema.minLength !== undefined) {
    const length = [...value].length
    if (length > schema.maxLength) problems.push(field.tooLong(at, schema.maxLength))
    if (length < schema.minLength) invalid(`should be at least ${schema.minLength} chars long`)
  }
  if (schema.pattern && pattern(schema.pattern)?.matches(value) === false) invalid(`should match '${schema.pattern}'`)
  if (schema.format && FORMATS[schema.format]?.(value) === false)
    problems.push({
      path: at,
      reason: 'FieldValueTypeInvalid',
      message: `Invalid value: ${JSON.stringify(value)}: ${at} in body must be of type ${schema.format}: ${JSON.stringify(value)}`,
    })
}

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/i

/** Formats that are checked; others are only said. */
const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  date: (t) => /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/.test(t) && !Number.isNaN(Date.parse(t)),
  'date-time': (t) =>
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(t) && !Number.isNaN(Date.parse(t)),
  duration: (t) =>
    /^-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h)\s*)+$/.test(t) || /^\d+ ?(day|week|hour|minute|second)s?$/.test(t),
  email: (t) => /^[^@\s]+@[^@\s]+$/.test(t),
  hostname: (t) => t.length <= 253 && t.split('.').every((l) => LABEL.test(l)),
  ipv4: (t) => isIPv4(t),
  ipv6: (t) => isIPv6(t),
  ip: (t) => isIPv4(t) || isIPv6(t),
  cidr: (t) => /^[^/]+\/\d{1,3}$/.test(t) && (isIPv4(t.split('/')[0]!) || isIPv6(t.split('/')[0]!)),
  mac: (t) => /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(t),
  uri: (t) => URL.canParse(t),
  uuid: (t) => /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i.test(t),
  byte: (t) => /^[A-Za-z0-9+/]*={0,2}$/.test(t) && t.length % 4 === 0,
}

function checkNumber(value: number, schema: Json, at: string, problems: FieldError[]): void {
  const invalid = (why: string) => void problems.push(field.invalid(at, value, `${at} in body should be ${why}`))
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, format } = schema
  if (minimum !== undefined && (exclusiveMinimum ? value <= minimum : value < minimum))
    invalid(`greater than ${exclusiveMinimum ? '' : 'or equal to '}${minimum}`)
  if (maximum !== undefined && (exclusiveMaximum ? value >= maximum : value > maximum))
    invalid(`less than ${exclusiveMaximum ? '' : 'or equal to '}${maximum}`)
  if (multipleOf && Math.abs(value / multipleOf - Math.round(value / multipleOf)) > 1e-9)
    invalid(`a multiple of ${multipleOf}`)
  if (format === 'int32' && (value > 2 ** 31 - 1 || value < -(2 ** 31)))
    problems.push(field.invalid(at, value, `${at} in body must be of type int32: "${value}"`))
}

function checkList(value: unknown[], schema: Json, path: string, problems: FieldError[]): void {
  const at = path || '<nil>'
  if (value.length > schema.maxItems) problems.push(tooMany(at, value.length, schema.maxItems))
  if (value.length < schema.minItems)
    problems.push(field.invalid(at, value.length, `${at} in body should have at least ${schema.minItems} items`))
  if (schema.items) for (const [i, v] of value.entries()) check(v, schema.items, `${path}[${i}]`, problems)
  const keys: string[] | undefined =
    schema['x-kubernetes-list-type'] === 'map' ? (schema['x-kubernetes-list-map-keys'] ?? []) : undefined
  if (!keys && schema['x-kubernetes-list-type'] !== 'set') return
  const seen = new Set<string>()
  for (const [i, v] of value.entries()) {
    const identity = keys
      ? Object.fromEntries(keys.map((k) => [k, (v as Json)?.[k] ?? schema.items?.properties?.[k]?.default]))
      : v
    const text = JSON.stringify(identity)
    if (seen.has(text)) problems.push(field.duplicate(`${path}[${i}]`, identity))
    seen.add(text)
  }
}

function checkMap(value: Json, schema: Json, path: string, problems: FieldError[]): void {
  const at = path || '<nil>'
  const count = Object.keys(value).length
  if (count > schema.maxProperties) problems.push(tooMany(at, count, schema.maxProperties))
  if (count < schema.minProperties)
    problems.push(field.invalid(at, count, `${at} in body should have at least ${schema.minProperties} properties`))
  for (const key of schema.required ?? []) if (value[key] === undefined) problems.push(field.required(join(path, key)))
  if (schema['x-kubernetes-embedded-resource'])
    for (const key of ['apiVersion', 'kind'])
      if (!value[key] && !schema.required?.includes(key))
        problems.push(field.required(join(path, key), 'must not be empty'))
  for (const [key, child] of Object.entries(value)) {
    const of = propertySchema(schema, key)
    if (of) check(child, of, join(path, key), problems)
  }
}

function checkCombinations(value: unknown, schema: Json, path: string, problems: FieldError[]): void {
  const at = path || '<nil>'
  const holds = (s: Json) => validateValue(value, s, path).length === 0
  const fail = (why: string) => void problems.push(field.invalid(at, '', `"${at}" must ${why}`))
  for (const s of (schema.allOf ?? []) as Json[]) {
    const inner = validateValue(value, s, path)
    problems.push(...inner)
    if (inner.length > 0) fail('validate all the schemas (allOf)')
  }
  if (schema.anyOf && !schema.anyOf.some(holds)) fail('validate at least one schema (anyOf)')
  if (schema.oneOf) {
    const count = schema.oneOf.filter(holds).length
    if (count !== 1)
      fail(
        `validate one and only one schema (oneOf). Found ${count === 0 ? 'none valid' : `${count} valid alternatives`}`,
      )
  }
  if (schema.not && holds(schema.not)) fail('not validate the schema (not)')
}

/** Keywords that may not stand inside allOf, anyOf, oneOf and not. */
const STRUCTURE = ['type', 'default', 'additionalProperties', 'nullable', 'title', 'description']

/** Why a schema is not structural, and what else a CRD's schema may not be. */
export function schemaProblems(root: Json, path: string): FieldError[] {
  const problems: FieldError[] = []
  if (root.type !== 'object')
    problems.push(
      root.type
        ? field.invalid(`${path}.type`, root.type, 'must be object at the root')
        : field.required(`${path}.type`, 'must be object at the root'),
    )
  if (root['x-kubernetes-preserve-unknown-fields'] !== true || root.properties) structure(root, path, problems, true)
  return problems
}

function structure(schema: Json, path: string, problems: FieldError[], root = false): void {
  if (!isObject(schema)) return void problems.push(field.invalid(path, schema, 'must be an object'))
  const anything = schema['x-kubernetes-int-or-string'] || schema['x-kubernetes-preserve-unknown-fields']
  if (!schema.type && !anything && !root)
    problems.push(field.required(`${path}.type`, 'must not be empty for specified object fields'))
  if (schema.type && !['array', 'boolean', 'integer', 'number', 'object', 'string'].includes(schema.type))
    problems.push(
      field.notSupported(`${path}.type`, schema.type, ['array', 'boolean', 'integer', 'number', 'object', 'string']),
    )
  if (schema.$ref !== undefined) problems.push(field.forbidden(`${path}.$ref`, '$ref is not supported'))
  if (schema.uniqueItems)
    problems.push(
      field.forbidden(
        `${path}.uniqueItems`,
        'uniqueItems cannot be set to true since the runtime complexity becomes quadratic',
      ),
    )
  if (schema.additionalProperties === false)
    problems.push(field.forbidden(`${path}.additionalProperties`, 'additionalProperties cannot be set to false'))
  if (schema.properties && Object.keys(schema.properties).length > 0 && schema.additionalProperties)
    problems.push(
      field.forbidden(`${path}.additionalProperties`, 'additionalProperties and properties are mutual exclusive'),
    )
  if (schema.type === 'array' && !schema.items) problems.push(field.required(`${path}.items`, 'must be specified'))
  if (Array.isArray(schema.items))
    problems.push(field.forbidden(`${path}.items`, 'items must be a schema object and not an array'))
  if (schema['x-kubernetes-embedded-resource'] && schema.type !== 'object')
    problems.push(
      field.invalid(`${path}.type`, schema.type ?? '', 'must be object if x-kubernetes-embedded-resource is true'),
    )
  listType(schema, path, problems)
  if (schema.pattern !== undefined) {
    try {
      compileRe2(String(schema.pattern))
    } catch (error) {
      problems.push(
        field.invalid(
          `${path}.pattern`,
          schema.pattern,
          `must be a valid regular expression, but isn't: ${(error as Error).message}`,
        ),
      )
    }
  }
  if (schema.default !== undefined) {
    const dropped: string[] = []
    const pruned = prune(schema.default, schema, `${path}.default`, dropped)
    if (dropped.length > 0)
      problems.push(
        field.invalid(`${path}.default`, schema.default, `must not have unknown fields: ${dropped.join(', ')}`),
      )
    problems.push(...validateValue(pruned, { ...schema, default: undefined }, `${path}.default`))
  }
  for (const [key, child] of Object.entries<Json>(schema.properties ?? {}))
    if (!(root && OBJECT_FIELDS.has(key))) structure(child, `${path}.properties[${key}]`, problems)
  if (isObject(schema.additionalProperties))
    structure(schema.additionalProperties, `${path}.additionalProperties`, problems)
  if (isObject(schema.items)) structure(schema.items, `${path}.items`, problems)
  for (const word of ['allOf', 'anyOf', 'oneOf'])
    for (const [i, inner] of ((schema[word] ?? []) as Json[]).entries())
      valueOnly(inner, `${path}.${word}[${i}]`, problems, schema['x-kubernetes-int-or-string'] === true)
  if (schema.not) valueOnly(schema.not, `${path}.not`, problems, false)
}

function listType(schema: Json, path: string, problems: FieldError[]): void {
  const type = schema['x-kubernetes-list-type']
  const keys: string[] | undefined = schema['x-kubernetes-list-map-keys']
  if (type === undefined) {
    if (keys)
      problems.push(
        field.required(`${path}.x-kubernetes-list-type`, 'must be map if x-kubernetes-list-map-keys is non-empty'),
      )
    return
  }
  if (!['atomic', 'map', 'set'].includes(type))
    problems.push(field.notSupported(`${path}.x-kubernetes-list-type`, type, ['atomic', 'map', 'set']))
  if (schema.type !== 'array')
    problems.push(
      field.invalid(`${path}.type`, schema.type ?? '', 'must be array if x-kubernetes-list-type is specified'),
    )
  if (type !== 'map') return
  if (!keys?.length)
    problems.push(
      field.required(`${path}.x-kubernetes-list-map-keys`, 'must not be empty if x-kubernetes-list-type is map'),
    )
  for (const [i, key] of (keys ?? []).entries()) {
    const of = schema.items?.properties?.[key]
    if (!of)
      problems.push(
        field.invalid(`${path}.x-kubernetes-list-map-keys[${i}]`, key, 'entries must all be names of item properties'),
      )
    else if (!schema.items.required?.includes(key) && of.default === undefined)
      problems.push(
        field.required(
          `${path}.items.properties[${key}].default`,
          'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property',
        ),
      )
  }
}

/** Inside allOf and the like a schema only restricts values. */
function valueOnly(schema: Json, path: string, problems: FieldError[], intOrString: boolean): void {
  for (const key of STRUCTURE)
    if (schema?.[key] !== undefined && !(key === 'type' && intOrString))
      problems.push(field.forbidden(`${path}.${key}`, 'must be empty to be structural'))
  for (const [key, child] of Object.entries<Json>(schema?.properties ?? {}))
    valueOnly(child, `${path}.properties[${key}]`, problems, false)
  if (isObject(schema?.items)) valueOnly(schema.items, `${path}.items`, problems, false)
}
