// xDS messages as Envoy's admin interface shows them: protobuf's JSON, fields under their own names
// (protobuf.dev/programming-guides/json).

import type { Message } from '#wire'
import { enumOf, fieldsOf, isXds, unpackAny } from './messages.ts'
import { fromStruct, fromValue } from './struct.ts'

/** The JSON of a message whose full name is given. Secrets are not hidden: that is up to the caller. */
export function toJson(name: string, message: Message): unknown {
  const special = SPECIAL[name]
  if (special) return special(message)
  const fields = fieldsOf(name) ?? {}
  const json: Record<string, unknown> = {}
  for (const field in message) {
    const [, type = ''] = fields[field] ?? []
    const value = message[field]
    if (value === undefined) continue
    if (type.startsWith('*')) {
      if (value.length > 0) json[field] = (value as unknown[]).map((item) => valueJson(type.slice(1), item))
    } else if (type.startsWith('{')) {
      const of = type.slice(type.indexOf('}') + 1)
      json[field] = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, valueJson(of, item)]))
    } else json[field] = valueJson(type, value)
  }
  return json
}

function valueJson(type: string, value: unknown): unknown {
  if (type.startsWith('@')) return toJson(type.slice(1), value as Message)
  if (type.startsWith('#')) return enumOf(type.slice(1))?.[String(value)] ?? value
  if (type === 'bytes') return Buffer.from(value as Uint8Array).toString('base64')
  return type === 'int64' || type === 'uint64' || type === 'fixed64' ? String(value) : value
}

const wrapped = (m: Message) => m.value ?? 0
const longWrapped = (m: Message) => String(m.value ?? 0)

const SPECIAL: Readonly<Record<string, (m: Message) => unknown>> = {
  'google.protobuf.Struct': fromStruct,
  'google.protobuf.Value': fromValue,
  'google.protobuf.ListValue': (m) => (m.values ?? []).map(fromValue),
  'google.protobuf.Any': anyJson,
  'google.protobuf.Duration': durationJson,
  'google.protobuf.Timestamp': (m) => new Date((m.seconds ?? 0) * 1000 + (m.nanos ?? 0) / 1e6).toISOString(),
  'google.protobuf.BoolValue': (m) => m.value ?? false,
  'google.protobuf.StringValue': (m) => m.value ?? '',
  'google.protobuf.BytesValue': (m) => Buffer.from(m.value ?? '').toString('base64'),
  'google.protobuf.UInt32Value': wrapped,
  'google.protobuf.Int32Value': wrapped,
  'google.protobuf.DoubleValue': wrapped,
  'google.protobuf.FloatValue': wrapped,
  'google.protobuf.UInt64Value': longWrapped,
  'google.protobuf.Int64Value': longWrapped,
}

function durationJson({ seconds = 0, nanos = 0 }: Message): string {
  const fraction =
    nanos === 0
      ? ''
      : `.${String(Math.abs(nanos))
          .padStart(9, '0')
          .replace(/(000)+$/, '')}`
  return `${nanos < 0 && seconds === 0 ? '-' : ''}${seconds}${fraction}s`
}

function anyJson(any: Message): unknown {
  const name =
    String(any.type_url ?? '')
      .split('/')
      .at(-1) ?? ''
  if (!isXds(name)) return { '@type': any.type_url, value: Buffer.from(any.value ?? []).toString('base64') }
  const json = toJson(name, unpackAny(any).value)
  const plain = typeof json === 'object' && json !== null && !SPECIAL[name]
  return plain ? { '@type': any.type_url, ...json } : { '@type': any.type_url, value: json }
}
