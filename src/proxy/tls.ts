// Ends TLS on a connection whose first bytes have been read.

import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { ChainTls, TlsSecret } from './model.ts'

/** A handshake takes this long at most. */
const HANDSHAKE_MS = 15_000

type Done = (plain: TLSSocket, alpn: string) => void

/** A server that never listens: it is handed connections. Made once for a certificate, for making one parses keys. */
class Terminator {
  readonly #server: Server
  /** What follows the handshakes under way, by the client's address. */
  readonly #waiting = new Map<string, Done>()

  constructor(tls: ChainTls, secret: TlsSecret, authority: TlsSecret | undefined) {
    this.#server = createServer({
      cert: secret.certificate,
      key: secret.key,
      minVersion: 'TLSv1.2',
      ALPNProtocols: [...tls.alpn],
      handshakeTimeout: HANDSHAKE_MS,
      requestCert: authority !== undefined,
      rejectUnauthorized: tls.requireClient,
      ...(authority ? { ca: authority.authority } : {}),
    })
    this.#server.on('secureConnection', (plain) =>
      this.#waiting.get(addressOf(plain))?.(plain, plain.alpnProtocol || ''),
    )
  }

  take(socket: Socket, done: Done): void {
    const address = addressOf(socket)
    this.#waiting.set(address, done)
    socket.on('close', () => this.#waiting.delete(address))
    this.#server.emit('connection', socket)
  }
}

const addressOf = (s: Socket) => `${s.remoteAddress} ${s.remotePort} ${s.localPort}`

const terminators = new WeakMap<TlsSecret, Map<ChainTls, Terminator>>()

/**
 * Finishes the handshake. `first` is what has been read. `done` gets the plain side and the protocol agreed
 * upon; it is not called when the handshake fails, the connection is closed then.
 */
export function endTls(
  socket: Socket,
  first: Buffer,
  tls: ChainTls,
  secrets: ReadonlyMap<string, TlsSecret>,
  done: Done,
): void {
  const secret = secrets.get(tls.certificate)
  const authority = tls.authority === undefined ? undefined : secrets.get(tls.authority)
  if (!secret || (tls.authority !== undefined && !authority)) return void socket.destroy()
  const known = terminators.get(secret) ?? new Map<ChainTls, Terminator>()
  terminators.set(secret, known)
  let terminator = known.get(tls)
  try {
    terminator ??= new Terminator(tls, secret, authority)
  } catch {
    // A certificate that does not fit its key.
    return void socket.destroy()
  }
  known.set(tls, terminator)
  socket.pause()
  if (first.length > 0) socket.unshift(first)
  terminator.take(socket, done)
}
