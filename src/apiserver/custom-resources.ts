// Custom resources: kinds from CustomResourceDefinitions, their pruning, defaults and validation.

import { condition, type FieldError, field, type Json, type KubeObject, type ResourceKind } from '#api'

/** The kinds a CRD serves. */
export function kindsOf(crd: KubeObject): ResourceKind[] {
  const { group, names, scope, versions } = crd.spec
  const storage = versions.find((v: Json) => v.storage)?.name ?? versions[0]?.name
  return versions
    .filter((v: Json) => v.served)
    .map((v: Json): ResourceKind => {
      const subresources = []
      if (v.subresources?.status) subresources.push({ name: 'status', verbs: ['get', 'patch', 'update'] })
      if (v.subresources?.scale) subresources.push({ name: 'scale', verbs: ['get', 'patch', 'update'] })
      return {
        group,
        version: v.name,
        kind: names.kind,
        plural: names.plural,
        singular: names.singular ?? names.kind.toLowerCase(),
        namespaced: scope === 'Namespaced',
        verbs: ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'],
        subresources,
        shortNames: names.shortNames ?? [],
        categories: names.categories ?? [],
        storageVersion: storage,
        custom: v,
      }
    })
}

/** The conditions a CRD gets once it is served; undefined when it has them. */
export function establishedStatus(crd: KubeObject, now: string): Json | undefined {
  if (condition(crd, 'Established')?.status === 'True') return undefined
  const { names, versions } = crd.spec
  return {
    ...crd.status,
    acceptedNames: names,
    storedVersions: [versions.find((v: Json) => v.storage)?.name],
    conditions: [
      {
        type: 'NamesAccepted',
        status: 'True',
        lastTransitionTime: now,
        reason: 'NoConflicts',
        message: 'no conflicts found',
      },
      {
        type: 'Established',
        status: 'True',
        lastTransitionTime: now,
        reason: 'InitialNamesAccepted',
        message: 'the initial names have been accepted',
      },
    ],
  }
}

/** Drops fields the schema does not know and fills in its defaults. */
export function pruneCustom(kind: ResourceKind, object: KubeObject): void {
  const schema = kind.custom?.schema?.openAPIV3Schema
  if (!schema) return
  for (const key of Object.keys(object)) {
    if (key === 'apiVersion' || key === 'kind' || key === 'metadata') continue
    const child = schema.properties?.[key]
    if (child) object[key] = conform(object[key], child)
    else if (!schema['x-kubernetes-preserve-unknown-fields']) delete object[key]
  }
  for (const [key, child] of Object.entries<Json>(schema.properties ?? {}))
    if (object[key] === undefined && child.default !== undefined) object[key] = structuredClone(child.default)
}

function conform(value: unknown, schema: Json): unknown {
  if (Array.isArray(value)) return schema.items ? value.map((v) => conform(v, schema.items)) : value
  if (typeof value !== 'object' || value === null) return value
  const result: Json = {}
  for (const [key, child] of Object.entries(value)) {
    const property = schema.properties?.[key]
    if (property) result[key] = conform(child, property)
    else if (typeof schema.additionalProperties === 'object') result[key] = conform(child, schema.additionalProperties)
    else if (
      schema.additionalProperties ||
      schema['x-kubernetes-preserve-unknown-fields'] ||
      schema['x-kubernetes-embedded-resource']
    )
      result[key] = child
  }
  for (const [key, property] of Object.entries<Json>(schema.properties ?? {}))
    if (result[key] === undefined && property.default !== undefined) result[key] = structuredClone(property.default)
  return result
}

/** Validates a custom resource against its structural schema. */
export function validateCustom(kind: ResourceKind, object: KubeObject): FieldError[] {
  const schema = kind.custom?.schema?.openAPIV3Schema
  const problems: FieldError[] = []
  if (schema)
    check(
      object,
      { ...schema, properties: { ...schema.properties, metadata: {}, apiVersion: {}, kind: {} } },
      '',
      problems,
    )
  return problems
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value
}

function check(value: unknown, schema: Json, path: string, problems: FieldError[]): void {
  const at = path || '<nil>'
  const actual = typeOf(value)
  if (value === null && schema.nullable) return
  if (schema['x-kubernetes-int-or-string']) {
    if (actual !== 'integer' && actual !== 'string') problems.push(typeError(at, value, 'integer,string', actual))
    return
  }
  if (schema.type && schema.type !== actual && !(schema.type === 'number' && actual === 'integer')) {
    problems.push(typeError(at, value, schema.type, actual))
    return
  }
  if (schema.enum && !schema.enum.includes(value)) problems.push(field.notSupported(at, value, schema.enum.map(String)))
  if (typeof value === 'string') {
    if (schema.pattern && !new RegExp(schema.pattern, 'u').test(value))
      problems.push(field.invalid(at, value, `${at} in body should match '${schema.pattern}'`))
    if (schema.maxLength !== undefined && value.length > schema.maxLength)
      problems.push({
        path: at,
        reason: 'FieldValueTooLong',
        message: `Too long: may not be more than ${schema.maxLength} bytes`,
      })
    if (schema.minLength !== undefined && value.length < schema.minLength)
      problems.push(field.invalid(at, value, `${at} in body should be at least ${schema.minLength} chars long`))
  }
  if (typeof value === 'number') {
    if (schema.minimum !== undefined && value < schema.minimum)
      problems.push(field.invalid(at, value, `${at} in body should be greater than or equal to ${schema.minimum}`))
    if (schema.maximum !== undefined && value > schema.maximum)
      problems.push(field.invalid(at, value, `${at} in body should be less than or equal to ${schema.maximum}`))
  }
  if (Array.isArray(value)) {
    if (schema.maxItems !== undefined && value.length > schema.maxItems)
      problems.push(field.invalid(at, value.length, `${at} in body should have at most ${schema.maxItems} items`))
    if (schema.minItems !== undefined && value.length < schema.minItems)
      problems.push(field.invalid(at, value.length, `${at} in body should have at least ${schema.minItems} items`))
    if (schema.items) for (const [i, v] of value.entries()) check(v, schema.items, `${path}[${i}]`, problems)
  } else if (actual === 'object') {
    for (const key of schema.required ?? [])
      if ((value as Json)[key] === undefined) problems.push(field.required(path ? `${path}.${key}` : key))
    for (const [key, child] of Object.entries(value as Json)) {
      const property =
        schema.properties?.[key] ??
        (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined)
      if (property) check(child, property, path ? `${path}.${key}` : key, problems)
    }
  }
}

function typeError(path: string, value: unknown, wanted: string, actual: string): FieldError {
  return {
    path,
    reason: 'FieldValueTypeInvalid',
    message: `Invalid value: ${JSON.stringify(typeof value === 'object' ? actual : value)}: ${path} in body must be of type ${wanted}: "${actual}"`,
  }
}
