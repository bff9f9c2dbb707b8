// An answer that the proxy makes itself.

/** What is answered, and how it is written down. */
export interface LocalReply {
  readonly status: number
  readonly body: string | Buffer
  /** Envoy's response flag; "" for none. */
  readonly flags: string
  readonly details: string
  readonly fields?: readonly string[]
  /** The route's edits are not for this one. */
  readonly plain?: boolean
  /** What gRPC clients are told, when it is not what the status stands for. */
  readonly grpcStatus?: number
}

/** The gRPC status that stands for an HTTP status (doc/http-grpc-status-mapping.md of grpc/grpc). */
export function grpcStatusOf(status: number): number {
  switch (status) {
    case 400:
      return 13
    case 401:
      return 16
    case 403:
      return 7
    case 404:
      return 12
    case 429:
    case 502:
    case 503:
    case 504:
      return 14
    default:
      return 2
  }
}

/** A text as grpc-message carries it: percent-encoded beyond printable ASCII. */
export function grpcMessage(text: string): string {
  return [...Buffer.from(text)]
    .map((b) =>
      b >= 32 && b < 127 && b !== 37 ? String.fromCharCode(b) : `%${b.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('')
}
