// What is known of an exchange when it is written down: Envoy's StreamInfo.

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
