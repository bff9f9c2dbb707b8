// A line for each exchange, in the text or the JSON that configuration asks for.

import { fromValue, unpackAny } from '#api/xds'
import type { Message } from '#wire'
import { compileHeader, headerFits, refuse } from '../config/matchers.ts'
import { compileFormat, type Formatter } from './formatter.ts'
import type { StreamInfo } from './stream-info.ts'

/** Where finished exchanges are written. */
export interface AccessLog {
  write(info: StreamInfo): void
}

/** Takes lines with their ends, by the file they go to. */
export type LineSink = (path: string, line: string) => void

/** Envoy's own default (access_log/usage.rst). */
const DEFAULT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'

const STREAMS: Readonly<Record<string, string>> = {
  'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog': '/dev/stdout',
  'envoy.extensions.access_loggers.stream.v3.StderrAccessLog': '/dev/stderr',
}

/** An access log out of xDS; undefined for kinds that are not written here. */
export function decodeAccessLog(m: Message, sink: LineSink, what: string): AccessLog | undefined {
  const { name, value } = unpackAny(m.typed_config ?? {})
  const path =
    STREAMS[name] ?? (name === 'envoy.extensions.access_loggers.file.v3.FileAccessLog' ? value.path : undefined)
  if (!path) return undefined
  const line = lineOf(value)
  const wanted = filterOf(m.filter, what)
  return {
    write(info) {
      if (wanted(info)) sink(path, line(info))
    },
  }
}

function lineOf(value: Message): Formatter {
  const format = value.log_format ?? {}
  const json = format.json_format ?? value.json_format ?? value.typed_json_format
  if (json) return jsonLine(json, format.omit_empty_values === true)
  const text = format.text_format ?? format.text_format_source?.inline_string ?? value.format
  const compiled = compileFormat(text || DEFAULT)
  return format.omit_empty_values ? (info) => compiled(info, '') : compiled
}

/** A value of a line in JSON: commands, a constant, or more of them by name or in order. */
type Shape =
  | { readonly kind: 'text'; readonly format: Formatter; readonly number: boolean }
  | { readonly kind: 'constant'; readonly value: unknown }
  | { readonly kind: 'object'; readonly fields: readonly (readonly [string, Shape])[] }
  | { readonly kind: 'list'; readonly items: readonly Shape[] }

/** Commands that are numbers: alone in a value they stay numbers. */
const NUMBER = /^%(RESPONSE_CODE|BYTES_\w+|(\w+_)?DURATION|\w+_PORT|UPSTREAM_REQUEST_ATTEMPT_COUNT)%$/

function jsonLine(struct: Message, omit: boolean): Formatter {
  const fields = Object.entries((struct.fields ?? {}) as Record<string, Message>)
    .map(([key, value]) => [key, shapeOf(fromValue(value))] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return (info) => {
    const out: Record<string, unknown> = {}
    for (const [key, shape] of fields) {
      const value = fill(shape, info)
      if (!omit || value !== null) out[key] = value
    }
    return `${JSON.stringify(out)}\n`
  }
}

function shapeOf(value: unknown): Shape {
  if (typeof value === 'string') return { kind: 'text', format: compileFormat(value), number: NUMBER.test(value) }
  if (Array.isArray(value)) return { kind: 'list', items: value.map(shapeOf) }
  if (typeof value === 'object' && value !== null)
    return { kind: 'object', fields: Object.entries(value).map(([k, v]) => [k, shapeOf(v)]) }
  return { kind: 'constant', value }
}

/** Stands for what is not there while a line is made. */
const NOTHING = '\0'

function fill(shape: Shape, info: StreamInfo): unknown {
  switch (shape.kind) {
    case 'constant':
      return shape.value
    case 'list':
      return shape.items.map((s) => fill(s, info))
    case 'object':
      return Object.fromEntries(shape.fields.map(([k, s]) => [k, fill(s, info)]))
    case 'text': {
      const text = shape.format(info, NOTHING)
      if (text === NOTHING) return null
      return shape.number ? Number(text) : text.replaceAll(NOTHING, '-')
    }
  }
}

type Filter = (info: StreamInfo) => boolean

/** envoy.config.accesslog.v3.AccessLogFilter. */
function filterOf(m: Message | undefined, what: string): Filter {
  if (!m) return () => true
  if (m.status_code_filter) return compare(m.status_code_filter.comparison, (i) => i.status)
  if (m.duration_filter) return compare(m.duration_filter.comparison, (i) => i.durationMs)
  if (m.response_flag_filter) {
    const flags: string[] = m.response_flag_filter.flags ?? []
    return (i) => (flags.length === 0 ? i.flags !== '' : i.flags.split(',').some((f) => flags.includes(f)))
  }
  if (m.header_filter) {
    const header = compileHeader(m.header_filter.header ?? {}, what)
    return (i) => headerFits(header, i.requestField(header.name))
  }
  if (m.and_filter) {
    const all: Filter[] = (m.and_filter.filters ?? []).map((f: Message) => filterOf(f, what))
    return (i) => all.every((f) => f(i))
  }
  if (m.or_filter) {
    const all: Filter[] = (m.or_filter.filters ?? []).map((f: Message) => filterOf(f, what))
    return (i) => all.some((f) => f(i))
  }
  if (m.not_health_check_filter || m.traceable_filter || m.runtime_filter || m.log_type_filter) return () => true
  if (m.grpc_status_filter) return (i) => i.grpcStatus !== ''
  return refuse(what, `access log filter ${Object.keys(m).join()} is not supported`)
}

const EQ = 0
const GE = 1

function compare(m: Message | undefined, read: (info: StreamInfo) => number): Filter {
  const wanted = m?.value?.default_value ?? 0
  const op = m?.op ?? EQ
  return (i) => (op === EQ ? read(i) === wanted : op === GE ? read(i) >= wanted : read(i) <= wanted)
}
