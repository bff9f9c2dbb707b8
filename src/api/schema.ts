// The schemas of the built-in kinds, and the check of an object's shape against them.

import { readFileSync } from 'node:fs'
import { oldDefinitions } from './conversion.ts'
import { generatedFile } from './kinds.ts'
import { parseQuantity } from './quantity.ts'
import type { Json } from './types.ts'

/** A field's type in JSON-schema words; `ref` names another definition. */
export interface Property {
  readonly type?: string
  readonly format?: string
  readonly ref?: string
  readonly items?: Property
  readonly additional?: Property
}

export interface Definition {
  readonly required: readonly string[]
  readonly properties: Readonly<Record<string, Property>>
}

let loaded: Record<string, Definition> | undefined

/** All definitions by name. Read once, on first use. */
export function schemas(): Record<string, Definition> {
  if (!loaded) {
    const stored = JSON.parse(readFileSync(generatedFile('schemas.json'), 'utf8')) as Record<string, Definition>
    loaded = { ...stored, ...oldDefinitions(stored) }
  }
  return loaded
}

/** What is wrong with an object's shape. */
export interface ShapeProblems {
  /** Fields the schema does not know, as paths. */
  unknown: string[]
  /** Wrong types, in the words of Go's JSON decoder. */
  types: string[]
}

/** Checks an object against a definition. Unknown fields and wrong types are collected, not thrown. */
export function checkShape(object: Json, model: string): ShapeProblems {
  const problems: ShapeProblems = { unknown: [], types: [] }
  checkDefinition(object, model, '', problems)
  return problems
}

function checkDefinition(value: unknown, model: string, path: string, problems: ShapeProblems): void {
  const definition = schemas()[model]
  if (!definition) return
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.types.push(mismatch(value, model.split('.').slice(-2).join('.'), path))
    return
  }
  for (const key in value) {
    const child = (value as Json)[key]
    const property = Object.hasOwn(definition.properties, key) ? definition.properties[key] : undefined
    const childPath = path ? `${path}.${key}` : key
    if (!property) {
      if (!isOpen(model)) problems.unknown.push(childPath)
    } else if (child !== null) checkProperty(child, property, childPath, problems, key)
  }
}

/** Removes the fields a definition does not know, in place. */
export function pruneShape(object: Json, model: string): void {
  const definition = schemas()[model]
  if (!definition || isOpen(model) || typeof object !== 'object' || object === null) return
  for (const key of Object.keys(object)) {
    const property = Object.hasOwn(definition.properties, key) ? definition.properties[key] : undefined
    if (property) pruneProperty(object[key], property)
    else delete object[key]
  }
}

function pruneProperty(value: unknown, property: Property): void {
  if (typeof value !== 'object' || value === null) return
  if (property.ref) pruneShape(value, property.ref)
  else if (Array.isArray(value)) {
    if (property.items) for (const item of value) pruneProperty(item, property.items)
  } else if (property.additional) for (const item of Object.values(value)) pruneProperty(item, property.additional)
}

/** Definitions whose fields the generator does not list: JSON schemas, raw extensions, managed fields. */
function isOpen(model: string): boolean {
  return /\.(JSONSchemaProps|ManagedFieldsEntry|RawExtension|FieldsV1)$/.test(model)
}

/** `key` is the name of the field, or of the map that holds the value when `held` is set. */
function checkProperty(
  value: unknown,
  property: Property,
  path: string,
  problems: ShapeProblems,
  key: string,
  held = false,
): void {
  if (property.ref) return checkDefinition(value, property.ref, path, problems)
  switch (property.type) {
    case 'array':
      if (!Array.isArray(value)) problems.types.push(mismatch(value, '[]', path))
      else if (property.items)
        for (let i = 0; i < value.length; i++) checkProperty(value[i], property.items, `${path}[${i}]`, problems, key)
      return
    case 'object':
      if (typeof value !== 'object' || Array.isArray(value)) problems.types.push(mismatch(value, 'map', path))
      else if (property.additional)
        for (const name in value as Json) {
          const child = (value as Json)[name]
          if (child !== null) checkProperty(child, property.additional, `${path}.${name}`, problems, key, true)
        }
      return
    case 'string':
      if (typeof value === 'string') {
        if (isQuantity(key, held) && parseQuantity(value) === undefined) problems.types.push(BAD_QUANTITY)
        return
      }
      if (typeof value === 'number' && (property.format === 'int-or-string' || isQuantity(key, held))) return
      problems.types.push(mismatch(value, property.format === 'date-time' ? 'time.Time' : 'string', path))
      return
    case 'integer':
      if (typeof value === 'number' && Number.isInteger(value)) return
      problems.types.push(mismatch(value, property.format ?? 'int64', path))
      return
    case 'number':
      if (typeof value !== 'number') problems.types.push(mismatch(value, 'float64', path))
      return
    case 'boolean':
      if (typeof value !== 'boolean') problems.types.push(mismatch(value, 'bool', path))
      return
  }
}

const BAD_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

/** Fields, and maps of them, that hold a resource.Quantity, which may be written as a number. */
const QUANTITIES = new Set(['sizeLimit', 'divisor', 'averageValue', 'maximumVolumeSize', 'targetAverageValue'])
const QUANTITY_MAPS = new Set(
  'limits requests capacity allocatable allocatedResources hard used max min default defaultRequest maxLimitRequestRatio podFixed'.split(
    ' ',
  ),
)

const isQuantity = (key: string, held: boolean) => (held ? QUANTITY_MAPS : QUANTITIES).has(key)

function mismatch(value: unknown, goType: string, path: string): string {
  const kind = Array.isArray(value)
    ? 'array'
    : typeof value === 'boolean'
      ? 'bool'
      : typeof value === 'number'
        ? `number${Number.isInteger(value) ? '' : ` ${value}`}`
        : typeof value
  return `cannot unmarshal ${kind} into Go struct field ${path} of type ${goType}`
}
