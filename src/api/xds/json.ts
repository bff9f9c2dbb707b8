// xDS messages as Envoy's admin interface shows them: protobuf's JSON, fields under their own names
// (protobuf.dev/programming-guides/json).

import type { Message } from '#wire'
import { enumOf, fieldsOf, isXds, unpackAny, xds } from './messages.ts'
import { fromStruct, fromValue, packAny, toDuration, toStruct, toValue } from './struct.ts'

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

/**
 * A message out of its JSON, with fields under their own names or in camel case. An Any names its type by "@type"; a
 * TypedStruct becomes the message it stands for. Fails with RangeError naming a type or field that is not known.
 */
export function fromJson(name: string, json: unknown): Message {
  const special = READ[name]
  if (special) return special(json)
  const fields = fieldsOf(name)
  if (!fields) throw new RangeError(`the message ${name} is not known`)
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new RangeError(`${name} is not an object`)
  const message: Message = {}
  for (const [key, value] of Object.entries(json)) {
    if (key === '@type' || value === null) continue
    const field = fields[key] ? key : key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
    const [, type] = fields[field] ?? []
    if (type === undefined) throw new RangeError(`${name} has no field ${key}`)
    if (type.startsWith('*'))
      message[field] = (Array.isArray(value) ? value : [value]).map((v) => fromValueJson(type.slice(1), v))
    else if (type.startsWith('{')) {
      const of = type.slice(type.indexOf('}') + 1)
      message[field] = Object.fromEntries(Object.entries(value as object).map(([k, v]) => [k, fromValueJson(of, v)]))
    } else message[field] = fromValueJson(type, value)
  }
  return message
}

function fromValueJson(type: string, value: unknown): unknown {
  if (type.startsWith('@')) return fromJson(type.slice(1), value)
  if (type.startsWith('#')) {
    if (typeof value === 'number') return value
    const found = Object.entries(enumOf(type.slice(1)) ?? {}).find(([, n]) => n === value)
    if (!found) throw new RangeError(`${type.slice(1)} has no value ${JSON.stringify(value)}`)
    return Number(found[0])
  }
  if (type === 'bytes') return Buffer.from(String(value), 'base64')
  if (type === 'string' || type === 'bool') return value
  const number = Number(value)
  if (Number.isNaN(number)) throw new RangeError(`${JSON.stringify(value)} is not a number`)
  return number
}

const wrap = (value: unknown): Message => ({ value })
const wrapNumber = (value: unknown): Message => ({ value: Number(value) })

const READ: Readonly<Record<string, (json: unknown) => Message>> = {
  'google.protobuf.Struct': (json) => toStruct(json as Record<string, unknown>),
  'google.protobuf.Value': toValue,
  'google.protobuf.Any': readAny,
  'google.protobuf.Duration': (json) => {
    const seconds = /^(-?[0-9.]+)s$/.exec(String(json))?.[1]
    if (seconds === undefined) throw new RangeError(`${JSON.stringify(json)} is not a duration in seconds, like "1.5s"`)
    return toDuration(Number(seconds) * 1000)
  },
  'google.protobuf.BoolValue': wrap,
  'google.protobuf.StringValue': wrap,
  'google.protobuf.UInt32Value': wrapNumber,
  'google.protobuf.Int32Value': wrapNumber,
  'google.protobuf.DoubleValue': wrapNumber,
  'google.protobuf.FloatValue': wrapNumber,
  'google.protobuf.UInt64Value': wrapNumber,
  'google.protobuf.Int64Value': wrapNumber,
}

const TYPED_STRUCT = /\.TypedStruct$/

function readAny(json: unknown): Message {
  const { '@type': url, ...rest } = (json ?? {}) as Record<string, unknown>
  if (typeof url !== 'string') throw new RangeError('an Any has no "@type"')
  if (TYPED_STRUCT.test(url)) return readAny({ '@type': rest.type_url ?? rest.typeUrl, ...(rest.value as object) })
  const name = url.split('/').at(-1) ?? ''
  return packAny(xds(name), fromJson(name, READ[name] ? rest.value : rest))
}
