// google.protobuf.Struct as plain JSON, and Any.

import type { Message, MessageType } from '#wire'

/** A Struct of a JSON object. */
export function toStruct(object: Record<string, unknown>): Message {
  return { fields: Object.fromEntries(Object.entries(object).map(([k, v]) => [k, toValue(v)])) }
}

/** A Value of a JSON value. */
export function toValue(value: unknown): Message {
  if (value === null || value === undefined) return { null_value: 0 }
  if (typeof value === 'string') return { string_value: value }
  if (typeof value === 'number') return { number_value: value }
  if (typeof value === 'boolean') return { bool_value: value }
  if (Array.isArray(value)) return { list_value: { values: value.map(toValue) } }
  return { struct_value: toStruct(value as Record<string, unknown>) }
}

/** The JSON object of a Struct. */
export function fromStruct(struct: Message | undefined): Record<string, unknown> {
  return Object.fromEntries(Object.entries(struct?.fields ?? {}).map(([k, v]) => [k, fromValue(v as Message)]))
}

/** The JSON value of a Value. */
export function fromValue(value: Message): unknown {
  if (value.string_value !== undefined) return value.string_value
  if (value.number_value !== undefined) return value.number_value
  if (value.bool_value !== undefined) return value.bool_value
  if (value.struct_value !== undefined) return fromStruct(value.struct_value)
  if (value.list_value !== undefined) return (value.list_value.values ?? []).map(fromValue)
  return null
}

/** Packs a message with its type. */
export function packAny(type: MessageType, value: Message): Message {
  return { type_url: `type.googleapis.com/${type.name}`, value: type.encode(value) }
}

/** A Duration of milliseconds. */
export function toDuration(ms: number): Message {
  return { seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) }
}

/** Milliseconds of a Duration. */
export function fromDuration(duration: Message | undefined): number | undefined {
  return duration ? (duration.seconds ?? 0) * 1000 + (duration.nanos ?? 0) / 1e6 : undefined
}
