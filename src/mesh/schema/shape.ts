// Whether an Istio object has the shape of its kind: what type each field has. Translation may rely on it.

import type { FieldError, Json } from '#api'
import { parseDuration } from '#base'
import { type Fields, openApi, type Type } from './idl.ts'
import { NETWORKING } from './networking.ts'
import { POLICIES } from './policies.ts'

const messagesOf = (kind: string) => (NETWORKING.has(kind) ? NETWORKING : POLICIES)

/** The fields of a message of a kind; none for kinds that are not Istio's. */
export const fieldsOf = (kind: string, message: string): Fields => messagesOf(kind).get(message) ?? new Map()

/** The OpenAPI schema of a kind's spec. */
export const specSchema = (kind: string): Json => openApi(messagesOf(kind), kind)

/** Where a spec's types are not those of its kind; empty for kinds that are not Istio's. */
export function shapeProblems(kind: string, spec: unknown): FieldError[] {
  const problems: FieldError[] = []
  if (messagesOf(kind).has(kind)) check(kind, spec, { kind: 'message', name: kind }, 'spec', problems)
  return problems
}

function check(root: string, value: unknown, type: Type, path: string, problems: FieldError[]): void {
  if (value === undefined) return
  const refuse = (message: string, reason: FieldError['reason'] = 'FieldValueInvalid') =>
    void problems.push({ path, reason, message })
  const wrong = (wanted: string) =>
    refuse(
      `Invalid value: "${typeOf(value)}": ${path} in body must be of type ${wanted}: "${typeOf(value)}"`,
      'FieldValueTypeInvalid',
    )
  switch (type.kind) {
    case 'any':
      return
    case 'duration':
      if (typeof value !== 'string') wrong('string')
      else if (parseDuration(value) === undefined) refuse(`invalid duration: ${JSON.stringify(value)}`)
      return
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) wrong('integer')
      return
    case 'string':
    case 'number':
    case 'boolean':
      if (typeof value !== type.kind) wrong(type.kind)
      return
    case 'enum':
      if (typeof value !== 'string') wrong('string')
      else if (!type.values.includes(value))
        refuse(
          `Unsupported value: ${JSON.stringify(value)}: supported values: ${type.values.map((v) => `"${v}"`).join(', ')}`,
          'FieldValueNotSupported',
        )
      return
    case 'list':
      if (!Array.isArray(value)) wrong('array')
      else for (const [i, item] of value.entries()) check(root, item, type.of, `${path}[${i}]`, problems)
      return
    case 'map':
      if (typeOf(value) !== 'object') wrong('object')
      else
        for (const [key, item] of Object.entries(value as Json)) check(root, item, type.of, `${path}[${key}]`, problems)
      return
    default: {
      if (typeOf(value) !== 'object') return wrong('object')
      const fields = messagesOf(root).get(type.name)
      for (const [key, item] of Object.entries(value as Json)) {
        const of = fields?.get(key)
        if (of) check(root, item, of, `${path}.${key}`, problems)
      }
    }
  }
}

/** Fields of a spec that its kind does not have, by path. */
export function unknownFields(kind: string, spec: unknown): string[] {
  const found: string[] = []
  const look = (value: unknown, type: Type, path: string): void => {
    if (type.kind === 'list' && Array.isArray(value))
      for (const [i, v] of value.entries()) look(v, type.of, `${path}[${i}]`)
    else if (typeOf(value) !== 'object') return
    else if (type.kind === 'map') for (const [k, v] of Object.entries(value as Json)) look(v, type.of, `${path}.${k}`)
    else if (type.kind === 'message')
      for (const [key, item] of Object.entries(value as Json)) {
        const of = messagesOf(kind).get(type.name)?.get(key)
        if (of) look(item, of, path ? `${path}.${key}` : key)
        else found.push(path ? `${path}.${key}` : key)
      }
  }
  if (messagesOf(kind).has(kind)) look(spec, { kind: 'message', name: kind }, 'spec')
  return found
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
