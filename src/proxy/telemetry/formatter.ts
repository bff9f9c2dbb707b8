// Envoy's command operators in access logs and header values: %REQ(NAME?OTHER):LENGTH% and their kin (usage.rst).

import { SampanError } from '#base'
import { firstOf, queryParameter } from '../http/request.ts'
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
      return fieldCommand(argument, (info, field) => firstOf(info.responseFields, field))
    case 'TRAILER':
      return fieldCommand(argument, (info, field) => firstOf(info.responseTrailers, field))
    case 'START_TIME':
      return (info) => startTime(info.startTime, argument)
    case 'START_TIME_LOCAL':
      return (info) => startTime(info.startTime, argument)
    case 'EMIT_TIME':
    case 'EMIT_TIME_LOCAL':
      return (info) => startTime(info.startTime + info.durationMs, argument)
    case 'DYNAMIC_METADATA':
    case 'FILTER_STATE':
    case 'CLUSTER_METADATA':
    case 'UPSTREAM_METADATA':
    case 'UPSTREAM_FILTER_STATE':
    case 'COMMON_DURATION':
      return () => undefined
    case 'QUERY_PARAM':
      return (info) => queryParameter(info.requestField(':path') ?? '', argument ?? '')
    case 'GRPC_STATUS':
      return grpcStatus(argument)
    default: {
      const command = PLAIN[name] ?? (UNTOLD.has(name) ? () => undefined : undefined)
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
  RESPONSE_FLAGS_LONG: (i) => or(i.flags.replace(/[A-Z]+/g, (flag) => FLAGS[flag] ?? flag)),
  CONNECTION_TERMINATION_DETAILS: (i) => or(i.terminationDetails),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (i) => or(i.upstreamFailure),
  BYTES_RECEIVED: (i) => String(i.bytesReceived),
  BYTES_SENT: (i) => String(i.bytesSent),
  DURATION: (i) => String(Math.round(i.durationMs)),
  REQUEST_DURATION: (i) => (i.requestMs < 0 ? undefined : String(Math.round(i.requestMs))),
  RESPONSE_DURATION: (i) => (i.responseMs < 0 ? undefined : String(Math.round(i.responseMs))),
  RESPONSE_TX_DURATION: (i) => (i.responseMs < 0 ? undefined : String(Math.round(i.durationMs - i.responseMs))),
  UPSTREAM_HOST: (i) => or(i.upstreamHost),
  UPSTREAM_HOST_NAME: (i) => or(i.upstreamHost),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: (i) => or(host(i.upstreamHost)),
  UPSTREAM_REMOTE_ADDRESS: (i) => or(i.upstreamHost),
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (i) => or(host(i.upstreamHost)),
  UPSTREAM_REMOTE_PORT: (i) => port(i.upstreamHost),
  UPSTREAM_CLUSTER: (i) => or(i.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: (i) => or(i.upstreamCluster),
  UPSTREAM_LOCAL_ADDRESS: (i) => or(i.upstreamLocal),
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (i) => or(host(i.upstreamLocal)),
  UPSTREAM_LOCAL_PORT: (i) => port(i.upstreamLocal),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (i) => String(i.attempts),
  DOWNSTREAM_LOCAL_ADDRESS: (i) => or(i.downstreamLocal),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamLocal)),
  DOWNSTREAM_LOCAL_PORT: (i) => port(i.downstreamLocal),
  DOWNSTREAM_REMOTE_ADDRESS: (i) => or(i.downstreamRemote),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamRemote)),
  DOWNSTREAM_REMOTE_PORT: (i) => port(i.downstreamRemote),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (i) => or(i.downstreamDirect),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (i) => or(host(i.downstreamDirect)),
  DOWNSTREAM_DIRECT_REMOTE_PORT: (i) => port(i.downstreamDirect),
  DOWNSTREAM_PEER_URI_SAN: (i) => or(i.peerUri),
  DOWNSTREAM_PEER_SUBJECT: (i) => or(i.peerSubject),
  DOWNSTREAM_TLS_VERSION: (i) => or(i.tlsVersion),
  REQUESTED_SERVER_NAME: (i) => or(i.serverName),
  ROUTE_NAME: (i) => or(i.routeName),
  GRPC_STATUS_NUMBER: (i) => or(i.grpcStatus),
  HOSTNAME: (i) => or(i.hostname),
  METHOD: (i) => i.requestField(':method'),
  PATH: (i) => i.requestField(':path'),
  QUERY_PARAMS: (i) => or(queryOf(i)),
  TRACE_ID: (i) => or(i.traceId),
  STREAM_ID: (i) => i.requestField('x-request-id'),
}

/** What Envoy 1.40 knows and is not known here: written as empty. */
const UNTOLD = new Set(
  `ACCESS_LOG_TYPE BYTES_RETRANSMITTED CONNECTION_ID CUSTOM_FLAGS ENVIRONMENT FILTER_CHAIN_NAME LOCAL_REPLY_BODY
  DOWNSTREAM_CX_RTT DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
  DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_HANDSHAKE_DURATION
  DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID
  DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN
  DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT
  DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1
  DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN
  DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN
  DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER_SERIAL
  DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP
  DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
  DOWNSTREAM_WIRE_BYTES_SENT PACKETS_RETRANSMITTED REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_HEADERS_BYTES
  RESPONSE_TRAILERS_BYTES ROUNDTRIP_DURATION ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID
  TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT UNIQUE_ID UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED
  UPSTREAM_CONNECTION_POOL_READY_DURATION UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED
  UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
  UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_LOCAL_CLOSE_REASON
  UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_CERT_V_END
  UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT
  UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_SERVER_NAME UPSTREAM_TLS_CIPHER
  UPSTREAM_TLS_GROUP UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_WIRE_BYTES_RECEIVED
  UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME`.split(/\s+/),
)

/** What response flags stand for. */
const FLAGS: Readonly<Record<string, string>> = Object.fromEntries(
  `DC DownstreamConnectionTermination DF DnsResolutionFailed DI DelayInjected DO DropOverload DPE DownstreamProtocolError
  DR DownstreamRemoteReset DT DurationTimeout FI FaultInjected IH InvalidEnvoyRequestHeaders LH FailedLocalHealthCheck
  LR LocalReset NC NoClusterFound NFCF NoFilterConfigFound NR NoRouteFound OM OverloadManagerTerminated RL RateLimited
  RLSE RateLimitServiceError SI StreamIdleTimeout UAEX UnauthorizedExternalService UC UpstreamConnectionTermination
  UF UpstreamConnectionFailure UH NoHealthyUpstream UMSDR UpstreamMaxStreamDurationReached UO UpstreamOverflow
  UPE UpstreamProtocolError UR UpstreamRemoteReset URX UpstreamRetryLimitExceeded UT UpstreamRequestTimeout`
    .split(/\s+/)
    .flatMap((word, i, all) => (i % 2 === 0 ? [[word, all[i + 1]!]] : [])),
)

const queryOf = (info: StreamInfo) => {
  const path = info.requestField(':path') ?? ''
  return path.includes('?') ? path.slice(path.indexOf('?') + 1) : ''
}

const GRPC_NAMES =
  'OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated'.split(
    ' ',
  )

/** A status of gRPC by its name, CAMEL_STRING or SNAKE_STRING, or as a NUMBER. */
function grpcStatus(form = 'CAMEL_STRING'): Command {
  const names =
    form === 'SNAKE_STRING'
      ? GRPC_NAMES.map((n) =>
          n
            .replace(/(?<=[a-z])(?=[A-Z])/g, '_')
            .toUpperCase()
            .replace('CANCELED', 'CANCELLED'),
        )
      : GRPC_NAMES
  return ({ grpcStatus: status }) =>
    status === '' ? undefined : form === 'NUMBER' ? status : (names[Number(status)] ?? status)
}
