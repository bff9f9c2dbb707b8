// Where a request comes from and was on its way to: what the connection tells.

import type { Ends } from '#wire'

/** The other side's certificate, as far as it was checked. */
export interface PeerIdentity {
  readonly uri: string
  readonly subject: string
  readonly dns: readonly string[]
  /** SHA-256 of the certificate, hexadecimal. */
  readonly hash: string
  readonly pem: () => string
}

/** A connection from a client. */
export interface Source {
  /** Where it was on its way to. */
  readonly host: string
  readonly port: number
  readonly inbound: boolean
  /** The client's address, and with its port. */
  readonly client: string
  readonly remote: string
  readonly local: string
  /** TLS that ended here. */
  readonly tls?: {
    readonly serverName: string
    readonly version: string
    readonly peer: PeerIdentity | undefined
    /** Our own URI, as forwarded certificates name it. */
    readonly own: string
  }
}

/** Both ends of a client's connection, as the PROXY protocol tells them. */
export const endsOf = (source: Source): Ends => ({
  from: source.remote,
  to: localEnd(source),
})

/** Where a client's connection was on its way to: our end, or the place it was redirected from. */
export const localEnd = (source: Source): string =>
  source.inbound || source.local ? source.local : `${source.host}:${source.port}`
