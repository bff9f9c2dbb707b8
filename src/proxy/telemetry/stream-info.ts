// What is known of an exchange when it is written down: Envoy's StreamInfo.

import { localEnd, type Source } from '../http/source.ts'

export interface StreamInfo {
  /** Milliseconds since the epoch. */
  readonly startTime: number
  readonly durationMs: number
  /** Until the request was read whole, and until the answer began; -1 when that has not been. */
  readonly requestMs: number
  readonly responseMs: number
  readonly protocol: string
  readonly status: number
  readonly flags: string
  readonly details: string
  readonly terminationDetails: string
  readonly upstreamFailure: string
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly upstreamHost: string
  readonly upstreamCluster: string
  readonly upstreamLocal: string
  readonly attempts: number
  readonly downstreamLocal: string
  readonly downstreamRemote: string
  /** The other end of the connection, whatever fields say. */
  readonly downstreamDirect: string
  readonly peerUri: string
  readonly peerSubject: string
  readonly tlsVersion: string
  readonly serverName: string
  readonly routeName: string
  readonly grpcStatus: string
  readonly traceId: string
  readonly hostname: string
  readonly responseFields: readonly string[]
  readonly responseTrailers: readonly string[]
  /** A field of the request as it was sent on; pseudo-fields by their names. */
  requestField(name: string): string | undefined
}

/** What is known of a connection on which nothing has been exchanged. */
export const connectionInfo = (source: Source, hostname: string): StreamInfo => ({
  startTime: Date.now(),
  durationMs: 0,
  requestMs: -1,
  responseMs: -1,
  protocol: '',
  status: 0,
  flags: '',
  details: '',
  terminationDetails: '',
  upstreamFailure: '',
  bytesReceived: 0,
  bytesSent: 0,
  upstreamHost: '',
  upstreamCluster: '',
  upstreamLocal: '',
  attempts: 0,
  downstreamLocal: localEnd(source),
  downstreamRemote: source.remote,
  downstreamDirect: source.remote,
  peerUri: source.tls?.peer?.uri ?? '',
  peerSubject: source.tls?.peer?.subject ?? '',
  tlsVersion: source.tls?.version ?? '',
  serverName: source.tls?.serverName ?? '',
  routeName: '',
  grpcStatus: '',
  traceId: '',
  hostname,
  responseFields: [],
  responseTrailers: [],
  requestField: () => undefined,
})
