// Connections to hosts: plain or with TLS, as the cluster and the endpoint's labels say.

import { connect, isIP, type OnReadOpts, type Socket } from 'node:net'
import {
  type ConnectionOptions,
  checkServerIdentity,
  connect as connectTls,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls'
import type { Endpoint, StringMatch, TlsSecret, UpstreamTls } from '../config/model.ts'
import type { Host } from './host.ts'

/** Where certificates are found by the names that clusters mention. */
export type Secrets = { readonly secrets: ReadonlyMap<string, TlsSecret> }

/** The TLS for a host: of the first transport whose labels it all bears. */
export function transportFor(host: Host): UpstreamTls | undefined {
  const { transports } = host.cluster.config
  if (transports.length === 1) return transports[0]!.tls
  const { labels } = host.endpoint
  return transports.find((t) => Object.entries(t.labels).every(([k, v]) => labels[k] === v))?.tls
}

export interface OpenOptions {
  readonly alpn?: readonly string[]
  readonly sni?: string
  readonly allowHalfOpen?: boolean
  /** Sent before anything else, before a handshake too. */
  readonly line?: Buffer
  /** Reads into buffers of the caller's; not with TLS, where the socket has no `onread` then. */
  readonly onread?: OnReadOpts
}

/** Where `net.connect` finds an endpoint. A path that begins with "@" is an abstract one (unix(7)). */
export const addressOf = ({ host, port }: Endpoint): { path: string } | { host: string; port: number } =>
  port === 0 ? { path: host.replace(/^@/, '\0') } : { host, port }

function keepAliveOf({ cluster }: Host): { keepAlive?: boolean; keepAliveInitialDelay?: number } {
  const { tcpKeepAlive } = cluster.config
  return tcpKeepAlive === undefined ? {} : { keepAlive: true, keepAliveInitialDelay: tcpKeepAlive }
}

/** A way to hosts that remembers what handshakes are worth remembering. */
export class Connector {
  readonly #config: Secrets
  readonly #contexts = new WeakMap<
    UpstreamTls,
    { own: TlsSecret | undefined; ca: TlsSecret | undefined; context: SecureContext }
  >()
  readonly #sessions = new WeakMap<Host, Buffer>()

  constructor(config: Secrets) {
    this.#config = config
  }

  /**
   * Opens a connection; the socket's "ready" says that it may be used, with TLS when the handshake is done. Fails
   * with Error when the certificates for it are not here.
   */
  open(host: Host, options: OpenOptions = {}): Socket {
    const { endpoint } = host
    const tls = transportFor(host)
    const to = {
      ...addressOf(endpoint),
      ...keepAliveOf(host),
      noDelay: true,
      allowHalfOpen: options.allowHalfOpen ?? false,
    }
    const plain = (more: object = {}) => {
      const socket = connect({ ...to, ...more })
      if (options.line) socket.write(options.line)
      return socket
    }
    if (!tls) return plain(options.onread ? { onread: options.onread } : {})
    const servername = tls.sni || (tls.autoSni ? (options.sni ?? '') : '')
    const session = this.#sessions.get(host)
    const alpn = tls.alpn.length > 0 ? tls.alpn : (options.alpn ?? [])
    const how: ConnectionOptions = {
      ...to,
      secureContext: this.#context(tls),
      ...(servername && !isIP(servername) ? { servername } : {}),
      ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
      ...(session ? { session } : {}),
      rejectUnauthorized: tls.systemRoots || this.#authority(tls) !== undefined,
      checkServerIdentity: (_name, certificate) =>
        tls.autoSan ? checkServerIdentity(servername, certificate) : checkNames(tls.subjectAltNames, certificate),
    }
    const socket = connectTls(options.line ? { ...how, socket: plain() } : how)
    socket.on('session', (ticket) => this.#sessions.set(host, ticket))
    socket.once('secureConnect', () => socket.emit('usable'))
    return socket
  }

  #own(tls: UpstreamTls): TlsSecret | undefined {
    return tls.certificate ? this.#config.secrets.get(tls.certificate) : tls.inline
  }

  #authority(tls: UpstreamTls): TlsSecret | undefined {
    return tls.authority ? this.#config.secrets.get(tls.authority) : tls.inline?.authority ? tls.inline : undefined
  }

  #context(tls: UpstreamTls): SecureContext {
    const own = this.#own(tls)
    const ca = this.#authority(tls)
    if ((tls.certificate && !own) || (tls.authority && !ca)) throw new Error('the certificates are not here yet')
    const known = this.#contexts.get(tls)
    if (known && known.own === own && known.ca === ca) return known.context
    const context = createSecureContext({
      ...(own?.certificate ? { cert: own.certificate, key: own.key } : {}),
      ...(ca?.authority ? { ca: ca.authority } : {}),
      ...(ca?.revoked ? { crl: ca.revoked } : {}),
      minVersion: tls.minVersion ?? 'TLSv1.2',
      ...(tls.maxVersion ? { maxVersion: tls.maxVersion } : {}),
    })
    this.#contexts.set(tls, { own, ca, context })
    return context
  }
}

/** Whether a certificate bears one of the names wanted (its URI and DNS alternative names). */
function checkNames(wanted: readonly StringMatch[], certificate: PeerCertificate): Error | undefined {
  if (wanted.length === 0) return undefined
  const names = (certificate.subjectaltname ?? '').split(', ').map((n) => n.replace(/^(URI|DNS|IP Address):/, ''))
  return names.some((n) => wanted.some((w) => w.test(n)))
    ? undefined
    : new Error('verify SAN list: no match between the certificate and the names wanted')
}

/** The event after which a socket may be used. */
export const usableEvent = (socket: Socket) => ('encrypted' in socket ? 'usable' : 'connect')
