// Ends TLS on connections that chains have been chosen for.

import { createHash, X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { createServer, type PeerCertificate, type Server, type TLSSocket } from 'node:tls'
import type { ChainTls, TlsSecret } from '../config/model.ts'
import type { ProxyContext } from '../http/context.ts'
import type { PeerIdentity, Source } from '../http/source.ts'
import { certificatesOf, isSignedBy } from './trust.ts'

/** A handshake takes this long at most. */
const HANDSHAKE_MS = 15_000

type Done = (plain: TLSSocket, alpn: string, session: NonNullable<Source['tls']>) => void

/** A server that never listens: it is handed connections. Made once for a certificate, for making one parses keys. */
class Terminator {
  readonly #server: Server
  readonly #tls: ChainTls
  readonly #own: string
  /** What follows the handshakes under way, by the client's address. */
  readonly #waiting = new Map<string, Done>()
  /** Whether a certificate that is shown must be a good one, though none need be. */
  readonly #strict: boolean
  /** Where anybody is let in: whose certificates tell who a client is. */
  readonly #authorities: readonly X509Certificate[] | undefined

  constructor(tls: ChainTls, secret: TlsSecret, authority: TlsSecret | undefined) {
    this.#tls = tls
    this.#strict = authority !== undefined && !tls.acceptUntrusted
    const lenient = tls.acceptUntrusted && authority !== undefined && !authority.revoked
    this.#authorities = lenient ? certificatesOf(authority.authority ?? '') : undefined
    this.#own = tls.requireClient ? uriOf(secret.certificate ?? '') : ''
    this.#server = createServer({
      cert: secret.certificate,
      key: secret.key,
      minVersion: tls.minVersion ?? 'TLSv1.2',
      ...(tls.maxVersion ? { maxVersion: tls.maxVersion } : {}),
      ...(tls.ciphers ? { ciphers: tls.ciphers } : {}),
      ALPNCallback: ({ protocols }) => tls.alpn.find((p) => protocols.includes(p)) as string,
      handshakeTimeout: HANDSHAKE_MS,
      allowHalfOpen: true,
      // Who must show a certificate is asked for one, whoever may have signed it.
      requestCert: authority !== undefined || tls.requireClient,
      rejectUnauthorized: tls.requireClient && !tls.acceptUntrusted,
      ...(authority && !lenient ? { ca: authority.authority } : {}),
      ...(authority?.revoked ? { crl: authority.revoked } : {}),
    })
    this.#server.on('secureConnection', (plain) => this.#done(plain))
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy())
  }

  take(socket: Socket, done: Done): void {
    const address = addressOf(socket)
    this.#waiting.set(address, done)
    socket.on('close', () => this.#waiting.delete(address))
    this.#server.emit('connection', socket)
  }

  #done(plain: TLSSocket): void {
    plain.on('error', () => plain.destroy())
    const address = addressOf(plain)
    const done = this.#waiting.get(address)
    this.#waiting.delete(address)
    if (!done) return void plain.destroy()
    if (!isPinned(plain, this.#tls)) return void plain.destroy()
    const known = this.#isKnown(plain)
    if (this.#strict && !known && plain.getPeerX509Certificate()) return void plain.destroy()
    const peer = known ? identityOf(plain) : undefined
    const wanted = this.#tls.subjectAltNames
    const names = peer ? [peer.uri, ...peer.dns] : []
    if (wanted.length > 0 && !names.some((n) => wanted.some((w) => w.test(n)))) return void plain.destroy()
    done(plain, plain.alpnProtocol || '', {
      serverName: typeof plain.servername === 'string' ? plain.servername : '',
      version: plain.getProtocol() ?? '',
      peer,
      own: this.#own,
    })
  }

  /** Whether a client's certificate was checked and found good. */
  #isKnown(plain: TLSSocket): boolean {
    if (!this.#authorities) return plain.authorized
    const certificate = plain.getPeerX509Certificate()
    return certificate !== undefined && isSignedBy(certificate, this.#authorities, new Date())
  }
}

/** Whether a client shows a certificate where it must, and one of those that are named. */
function isPinned(socket: TLSSocket, { pins, requireClient, acceptUntrusted }: ChainTls): boolean {
  if (pins.length === 0 && !(requireClient && acceptUntrusted)) return true
  const raw = socket.getPeerCertificate()?.raw
  if (!raw) return !requireClient
  if (pins.length === 0) return true
  const key = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' })
  const shown = [createHash('sha256').update(raw).digest('hex'), createHash('sha256').update(key).digest('base64')]
  return shown.some((s) => pins.includes(s))
}

const addressOf = (s: Socket) => `${s.remoteAddress} ${s.remotePort} ${s.localPort}`

/** Who a client's certificate says that it is. */
function identityOf(socket: TLSSocket): PeerIdentity | undefined {
  const certificate = socket.getPeerCertificate()
  if (!certificate?.raw) return undefined
  const names = (certificate.subjectaltname ?? '').split(', ')
  return {
    uri: names.find((n) => n.startsWith('URI:'))?.slice(4) ?? '',
    dns: names.filter((n) => n.startsWith('DNS:')).map((n) => n.slice(4)),
    subject: subjectOf(certificate),
    hash: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    pem: () =>
      `-----BEGIN CERTIFICATE-----\n${certificate.raw.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
  }
}

/** A name as RFC 2253 writes it: the last part first. */
function subjectOf({ subject }: PeerCertificate): string {
  return Object.entries(subject ?? {})
    .flatMap(([key, value]) => (Array.isArray(value) ? value : [value]).map((v) => `${key}=${v}`))
    .reverse()
    .join(',')
}

function uriOf(pem: string): string {
  try {
    return /URI:([^,]+)/.exec(new X509Certificate(pem).subjectAltName ?? '')?.[1] ?? ''
  } catch {
    return ''
  }
}

interface Known {
  readonly secret: TlsSecret
  readonly authority: TlsSecret | undefined
  readonly terminator: Terminator
}

/** What was made for a chain; anew when its certificate, its authority or what that has revoked is another. */
const terminators = new WeakMap<ChainTls, Known>()

/**
 * Finishes the handshake. `first` is what has been read. `done` gets the plain side and the protocol agreed
 * upon; it is not called when the handshake fails, the connection is closed then.
 */
export function endTls(socket: Socket, first: Buffer, tls: ChainTls, { config }: ProxyContext, done: Done): void {
  const secret = tls.certificate ? config.secrets.get(tls.certificate) : tls.inline
  const authority = tls.authority ? config.secrets.get(tls.authority) : tls.inline?.authority ? tls.inline : undefined
  if (!secret || (tls.authority !== undefined && !authority)) return void socket.destroy()
  let known = terminators.get(tls)
  if (known?.secret !== secret || known.authority !== authority) {
    try {
      known = { secret, authority, terminator: new Terminator(tls, secret, authority) }
    } catch {
      // A certificate that does not fit its key.
      return void socket.destroy()
    }
    terminators.set(tls, known)
  }
  socket.pause()
  if (first.length > 0) socket.unshift(first)
  known.terminator.take(socket, done)
}
