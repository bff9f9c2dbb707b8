// Ends TLS on a connection whose first bytes have been read.

import type { Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import type { ChainTls, TlsSecret } from './model.ts'

/** Contexts by certificate: making one parses keys, which is slow. */
const contexts = new WeakMap<TlsSecret, SecureContext>()

function contextOf(secret: TlsSecret, authority: TlsSecret | undefined): SecureContext {
  const known = contexts.get(secret)
  if (known) return known
  const context = createSecureContext({
    cert: secret.certificate,
    key: secret.key,
    minVersion: 'TLSv1.2',
    ...(authority ? { ca: authority.authority } : {}),
  })
  contexts.set(secret, context)
  return context
}

/** A handshake takes this long at most. */
const HANDSHAKE_MS = 15_000

/**
 * Finishes the handshake. `first` is what has been read. `done` gets the plain side and whether HTTP/2
 * was agreed upon; it is not called when the handshake fails, the connection is closed then.
 */
export function endTls(
  socket: Socket,
  first: Buffer,
  tls: ChainTls,
  secrets: ReadonlyMap<string, TlsSecret>,
  done: (plain: TLSSocket, alpn: string) => void,
): void {
  const secret = secrets.get(tls.certificate)
  const authority = tls.authority === undefined ? undefined : secrets.get(tls.authority)
  if (!secret || (tls.authority !== undefined && !authority)) return void socket.destroy()
  let context: SecureContext
  try {
    context = contextOf(secret, authority)
  } catch {
    // A certificate that does not fit its key.
    return void socket.destroy()
  }
  socket.pause()
  if (first.length > 0) socket.unshift(first)
  const plain = new TLSSocket(socket, {
    isServer: true,
    secureContext: context,
    ALPNProtocols: [...tls.alpn],
    requestCert: tls.authority !== undefined,
    rejectUnauthorized: tls.requireClient,
  })
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS)
  plain.on('error', () => socket.destroy())
  plain.on('close', () => clearTimeout(timer))
  plain.once('secure', () => {
    clearTimeout(timer)
    // A socket without a tls.Server leaves this check to its owner.
    const { ssl } = plain as unknown as { ssl: { verifyError(): Error | null } }
    if (tls.requireClient && ssl.verifyError()) return void socket.destroy()
    done(plain, plain.alpnProtocol || '')
  })
}
