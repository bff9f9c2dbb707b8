// Istio's API as text: messages and the types of their fields, and what is made of it: OpenAPI schemas and checks.

import type { Json } from '#api'

/** The type of a value. */
export type Type = TypeKind & {
  /** What a field is when it is left out. */
  readonly usual?: string | number | boolean
  /** Whether a field must be there. */
  readonly required?: boolean
  /** What an OpenAPI schema says of its values besides. */
  readonly bounds?: Json
}

type TypeKind =
  | { readonly kind: 'string' | 'integer' | 'number' | 'boolean' | 'duration' | 'any' }
  | { readonly kind: 'enum'; readonly values: readonly string[] }
  | { readonly kind: 'list' | 'map'; readonly of: Type }
  | { readonly kind: 'message'; readonly name: string }

/** The fields of a message by name. */
export type Fields = ReadonlyMap<string, Type> & {
  /** Groups of fields of which one may be set at most. */
  readonly alternatives?: readonly (readonly string[])[]
}

const SCALARS = new Set(['string', 'integer', 'number', 'boolean', 'duration', 'any'])

/**
 * Reads messages written as "Name < field type, field type >". A type is a scalar (string, integer, number, boolean,
 * duration, any), the name of a message, [a list of], {a map from strings to}, or (ONE|OF|THESE). "=x" after a type is
 * what the field is when it is left out; "!" after a field's name says that it must be there. A list may say how
 * many items it has, "[a list of]1..16", and by which field they differ, "[a list of]..16/name"; "/set" is for lists
 * of scalars. A map may say how many entries, "{a map to}..256". "one(a|b)" behind a message: of these
 * fields one is set at most. `scalars` are more types by name, as OpenAPI schemas.
 */
export function parseIdl(text: string, scalars: Readonly<Record<string, Json>> = {}): ReadonlyMap<string, Fields> {
  const messages = new Map<string, Fields>()
  for (const [, name = '', body = '', rest = ''] of text.matchAll(/(\w+)\s*<([^>]*)>((?:\s*one\([^)]*\))*)/g)) {
    const alternatives = [...rest.matchAll(/one\(([^)]*)\)/g)].map(([, group = '']) => group.split('|'))
    const fields = new Map(
      body
        .split(',')
        .map((line) => line.trim())
        .filter(Boolean)
        .map((line) => {
          const space = line.indexOf(' ')
          const [field = '', mark] = line.slice(0, space).split('!')
          return [
            field,
            {
              ...parseType(line.slice(space + 1).trim(), scalars),
              ...(mark === undefined ? {} : { required: true }),
            },
          ] as const
        }),
    )
    messages.set(name, alternatives.length > 0 ? Object.assign(fields, { alternatives }) : fields)
  }
  return messages
}

function parseType(text: string, scalars: Readonly<Record<string, Json>>): Type {
  const equals = text.indexOf('=')
  if (equals > 0) {
    const type = parseType(text.slice(0, equals), scalars)
    const usual = text.slice(equals + 1)
    return {
      ...type,
      usual: type.kind === 'integer' ? Number(usual) : type.kind === 'boolean' ? usual === 'true' : usual,
    }
  }
  if (text.startsWith('[')) {
    const end = text.lastIndexOf(']')
    const of = parseType(text.slice(1, end), scalars)
    return end === text.length - 1
      ? { kind: 'list', of }
      : { kind: 'list', of, bounds: listBounds(text.slice(end + 1)) }
  }
  if (text.startsWith('{')) {
    const end = text.lastIndexOf('}')
    const of = parseType(text.slice(1, end), scalars)
    const { minItems, maxItems } = listBounds(text.slice(end + 1))
    const bounds = {
      ...(minItems === undefined ? {} : { minProperties: minItems }),
      ...(maxItems === undefined ? {} : { maxProperties: maxItems }),
    }
    return { kind: 'map', of, bounds }
  }
  if (text.startsWith('(')) return { kind: 'enum', values: text.slice(1, -1).split('|') }
  if (SCALARS.has(text)) return { kind: text } as Type
  const scalar = scalars[text]
  return scalar ? ({ kind: scalar.type, bounds: scalar } as Type) : { kind: 'message', name: text }
}

/** "1..16/name" as OpenAPI says it. */
function listBounds(text: string): Json {
  const [, least, most, key] = /^(?:(\d*)\.\.(\d+))?(?:\/(\w+))?$/.exec(text) ?? []
  return {
    ...(least ? { minItems: Number(least) } : {}),
    ...(most ? { maxItems: Number(most) } : {}),
    ...(key === 'set'
      ? { 'x-kubernetes-list-type': 'set' }
      : key
        ? { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [key] }
        : {}),
  }
}

/** The OpenAPI schema of a message, as a CustomResourceDefinition bears it. */
export function openApi(messages: ReadonlyMap<string, Fields>, name: string): Json {
  const properties: Json = {}
  const required: string[] = []
  for (const [field, type] of messages.get(name) ?? []) {
    const schema = schemaOf(messages, type)
    properties[field] = type.usual === undefined ? schema : { ...schema, default: type.usual }
    if (type.required) required.push(field)
  }
  const groups = (messages.get(name)?.alternatives ?? []).map(atMostOne)
  return {
    type: 'object',
    properties,
    ...(required.length > 0 ? { required } : {}),
    ...(groups.length > 1 ? { allOf: groups } : groups[0]),
  }
}

/** None of some fields, or one. */
const atMostOne = (names: readonly string[]): Json => {
  const each = names.map((n) => ({ required: [n] }))
  return { oneOf: [{ not: { anyOf: each } }, ...each] }
}

function schemaOf(messages: ReadonlyMap<string, Fields>, type: Type): Json {
  switch (type.kind) {
    case 'list':
      return { type: 'array', items: schemaOf(messages, type.of), ...type.bounds }
    case 'map':
      return { type: 'object', additionalProperties: schemaOf(messages, type.of), ...type.bounds }
    case 'enum':
      return { type: 'string', enum: [...type.values] }
    case 'message':
      return openApi(messages, type.name)
    case 'any':
      return { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }
    case 'duration':
      return { type: 'string' }
    default:
      return { type: type.kind, ...type.bounds }
  }
}
