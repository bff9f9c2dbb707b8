// An HTTP request on its way through the proxy, whatever the protocol on either side.

/** A request as the proxy sees it. `fields` alternates lower-case names and values, without pseudo-headers. */
export interface HttpRequest {
  readonly method: string
  readonly path: string
  readonly authority: string
  readonly scheme: string
  readonly fields: string[]
  readonly hasBody: boolean
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
}

/** The client's side of an exchange. `data` returns false when the client is slow. */
export interface Downstream {
  respond(status: number, fields: readonly string[], end: boolean): void
  data(chunk: Uint8Array): boolean
  end(trailers: readonly string[] | undefined): void
  /** The response cannot be completed: the client must notice. */
  abort(): void
  pauseRequest(): void
  resumeRequest(): void
}

/** The server's side of an exchange. `write` returns false when the server is slow. */
export interface Upstream {
  write(chunk: Uint8Array): boolean
  end(trailers: readonly string[] | undefined): void
  cancel(): void
  pause(): void
  resume(): void
}

/** What the server's side tells. */
export interface UpstreamEvents {
  onHead(status: number, fields: string[], end: boolean): void
  onData(chunk: Buffer): void
  onEnd(trailers: readonly string[] | undefined): void
  onDrain(): void
  /** `reused` tells that the connection had served others before: the server may just have closed it. */
  onError(kind: 'connect' | 'reset', reason: string, reused: boolean): void
}

export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}

/** Fields that concern one connection only (RFC 9110, 7.6.1); `te: trailers` is kept, gRPC needs it. */
const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'host'])

/** Copies fields without those of the connection and without `drop`. */
export function endToEnd(fields: readonly string[], drop?: ReadonlySet<string>): string[] {
  const result: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (HOP.has(name) || drop?.has(name) || name.charCodeAt(0) === 58) continue
    result.push(name, fields[i + 1]!)
  }
  return result
}
