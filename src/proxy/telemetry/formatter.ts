// Envoy's command operators in access logs and header values: %REQ(NAME?OTHER):LENGTH% and their kin (usage.rst).

import { SampanError } from '#base'
import { fieldOf } from '../http/request.ts'
import type { StreamInfo } from './stream-info.ts'

/** A text with commands in it, compiled. `empty` stands for what is not there. */
export type Formatter = (info: StreamInfo, empty?: string) => string

type Command = (info: StreamInfo) => string | undefined

const COMMAND = /%([A-Z_0-9]+)(?:\(([^()]*)\))?(?::(\d+))?%|%%/g

/** Compiles a text. Fails with BadResource on a command that is not known. */
export function compileFormat(text: string): Formatter {
  const parts: (string | Command)[] = []
  let at = 0
  for (const m of text.matchAll(COMMAND)) {
    if (m.index > at) parts.push(text.slice(at, m.index))
    at = m.index + m[0].length
    parts.push(m[0] === '%%' ? '%' : commandOf(m[1]!, m[2], m[3] === undefined ? undefined : Number(m[3])))
  }
  if (at < text.length) parts.push(text.slice(at))
  if (parts.length === 0) return () => ''
  if (parts.length === 1 && typeof parts[0] === 'string') {
    const [only] = parts
    return () => only
  }
  return (info, empty = '-') => {
    let out = ''
    for (const part of parts) out += typeof part === 'string' ? part : (part(info) ?? empty)
    return out
  }
}

function commandOf(name: string, argument: string | undefined, length: number | undefined): Command {
  const command = resolve(name, argument)
  return length === undefined ? command : (info) => command(info)?.slice(0, length)
}

function resolve(name: string, argument: string | undefined): Command {
  switch (name) {
    case 'REQ':
      return fieldCommand(argument, (info, field) => info.requestField(field))
    case 'RESP':
      return fieldCommand(argument, (info, field) => fieldOf(info.responseFields, field))
    case 'TRAILER':
      return fieldCommand(argument, (info, field) => fieldOf(info.responseTrailers, field))
    case 'START_TIME':
      return (info) => startTime(info.startTime, argument)
    case 'START_TIME_LOCAL':
      return (info) => startTime(info.startTime, argument)
    case 'DYNAMIC_METADATA':
    case 'FILTER_STATE':
    case 'CLUSTER_METADATA':
    case 'UPSTREAM_METADATA':
    case 'UPSTREAM_FILTER_STATE':
      return () => undefined
    default: {
      const command = PLAIN[name]
      if (!command) throw new SampanError('BadResource', `the command %${name}% is not known`)
      return command
    }
  }
}

function fieldCommand(
  argument: string | undefined,
  read: (info: StreamInfo, field: string) => string | undefined,
): Command {
  const [first = '', other] = (argument ?? '').toLowerCase().split('?')
  if (!first) throw new SampanError('BadResource', 'a command names no field')
  return other === undefined ? (info) => read(info, first) : (info) => read(info, first) ?? read(info, other)
}

/** RFC 3339 with milliseconds, or as strftime writes it. */
function startTime(ms: number, format: string | undefined): string {
  const date = new Date(ms)
  if (!format) return date.toISOString()
  const two = (n: number) => String(n).padStart(2, '0')
  const day = Math.floor(
    (Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) - Date.UTC(date.getUTCFullYear(), 0, 0)) /
      86_400_000,
  )
  const parts: Record<string, string> = {
    Y: String(date.getUTCFullYear()),
    m: two(date.getUTCMonth() + 1),
    d: two(date.getUTCDate()),
    H: two(date.getUTCHours()),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    s: String(Math.floor(ms / 1000)),
    j: String(day).padStart(3, '0'),
    F: date.toISOString().slice(0, 10),
    T: date.toISOString().slice(11, 19),
    '3f': String(date.getUTCMilliseconds()).padStart(3, '0'),
    '6f': `${String(date.getUTCMilliseconds()).padStart(3, '0')}000`,
    '9f': `${String(date.getUTCMilliseconds()).padStart(3, '0')}000000`,
    f: `${String(date.getUTCMilliseconds()).padStart(3, '0')}000000`,
    z: '+0000',
    Z: 'UTC',
  }
  return format.replace(/%([369]f|[A-Za-z])/g, (all, key: string) => parts[key] ?? all)
}

const or = (text: string) => text || undefined
const host = (address: string) => address.replace(/:\d+$/, '')
const port = (address: string) => /:(\d+)$/.exec(address)?.[1]

const PLAIN: Readonly<Record<string, Command>> = {
  PROTOCOL: (i) => or(i.protocol),
  RESPONSE_CODE: (i) => String(i.status),
  RESPONSE_CODE_DETAILS: (i) => or(i.details),
  RESPONSE_FLAGS: (i) => or(i.flags),
  CONNECTION_TERMINATION_DETAILS: (i) => or(i.terminationDetails),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (i) => or(i.upstreamFailure),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: () => undefined,
  BYTES_RECEIVED: (i) => String(i.bytesReceived),
  BYTES_SENT: (i) => String(i.bytesSent),
  DURATION: (i) => String(Math.round(i.durationMs)),
  REQUEST_DURATION: (i) => (i.requestMs < 0 ? undefined : String(Math.round(i.requestMs))),
  RESPONSE_DURATION: (i) => (i.responseMs < 0 ? undefined : String(Math.round(i.responseMs))),
  RESPONSE_TX_DURATION: (i) => (i.responseMs < 0 ? undefined : String(Math.round(i.durationMs - i.responseMs))),
  UPSTREAM_HOST: (i) => or(i.upstreamHost),
  UPSTREAM_REMOTE_ADDRESS: (i) => or(i.upstreamHost),
  UPSTREAM_CLUSTER: (i) => or(i.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: (i) => or(i.upstreamCluster),
  UPSTREAM_LOCAL_ADDRESS: (i) => or(i.upstreamLocal),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (i) => String(i.attempts),
  DOWNSTREAM_LOCAL_ADDRESS: (i) => or(i.downstreamLocal),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamLocal)),
  DOWNSTREAM_LOCAL_PORT: (i) => port(i.downstreamLocal),
  DOWNSTREAM_REMOTE_ADDRESS: (i) => or(i.downstreamRemote),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamRemote)),
  DOWNSTREAM_REMOTE_PORT: (i) => port(i.downstreamRemote),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (i) => or(i.downstreamDirect),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamDirect)),
  DOWNSTREAM_PEER_URI_SAN: (i) => or(i.peerUri),
  DOWNSTREAM_PEER_SUBJECT: (i) => or(i.peerSubject),
  DOWNSTREAM_TLS_VERSION: (i) => or(i.tlsVersion),
  REQUESTED_SERVER_NAME: (i) => or(i.serverName),
  ROUTE_NAME: (i) => or(i.routeName),
  VIRTUAL_CLUSTER_NAME: () => undefined,
  GRPC_STATUS: (i) => grpcStatusName(i.grpcStatus),
  GRPC_STATUS_NUMBER: (i) => or(i.grpcStatus),
  HOSTNAME: (i) => or(i.hostname),
  METHOD: (i) => i.requestField(':method'),
  PATH: (i) => i.requestField(':path'),
  TRACE_ID: (i) => or(i.traceId),
  STREAM_ID: (i) => i.requestField('x-request-id'),
  CONNECTION_ID: () => undefined,
}

const GRPC_NAMES =
  'OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated'.split(
    ' ',
  )

function grpcStatusName(status: string): string | undefined {
  return status === '' ? undefined : (GRPC_NAMES[Number(status)] ?? status)
}
