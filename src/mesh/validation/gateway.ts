// What Istio refuses in Gateways, in its wording. Pure.

import type { Json } from '#api'
import { type Check, isPort, LABEL, type Problems, portMessage, wholeHost } from './problems.ts'

const PROTOCOLS = ['HTTP', 'HTTPS', 'GRPC', 'GRPC-WEB', 'HTTP2', 'MONGO', 'TCP', 'TLS']

/** Checks the spec of a Gateway. */
export const gateway: Check = (spec, p) => {
  const servers: Json[] = spec.servers ?? []
  if (servers.length === 0) p.add('spec.servers', 'gateway must have at least one server')
  const names = new Set<string>()
  for (const [i, server] of servers.entries()) {
    const at = `spec.servers[${i}]`
    if (!server.hosts?.length) p.add(`${at}.hosts`, 'server config must contain at least one host')
    for (const [j, h] of ((server.hosts ?? []) as string[]).entries()) {
      const [namespace, name] = h.includes('/') ? [h.slice(0, h.indexOf('/')), h.slice(h.indexOf('/') + 1)] : ['*', h]
      p.check(
        ['*', '.'].includes(namespace!) || LABEL.test(namespace!),
        `${at}.hosts[${j}]`,
        `invalid namespace value ${JSON.stringify(namespace)} in gateway`,
      )
      wholeHost(name!, `${at}.hosts[${j}]`, p)
    }
    if (!server.port) p.add(`${at}.port`, 'port is required')
    else {
      p.check(isPort(server.port.number), `${at}.port.number`, portMessage(server.port.number))
      p.check(
        PROTOCOLS.includes(String(server.port.protocol ?? '').toUpperCase()),
        `${at}.port.protocol`,
        `invalid protocol ${JSON.stringify(server.port.protocol ?? '')}, supported protocols are ${PROTOCOLS.join(', ')}`,
      )
      p.check(server.port.name, `${at}.port.name`, 'port name must be set')
      p.check(
        !names.has(server.port.name),
        `${at}.port.name`,
        `port names in servers must be unique: duplicate name ${server.port.name}`,
      )
      names.add(server.port.name)
    }
    serverTls(server, at, p)
  }
}

/** Protocols that are HTTP without TLS. */
const HTTP = new Set(['HTTP', 'HTTP2', 'HTTP_PROXY', 'GRPC', 'GRPC-WEB'])

function serverTls(server: Json, at: string, p: Problems): void {
  const protocol = String(server.port?.protocol ?? '').toUpperCase()
  const tls: Json | undefined = server.tls
  const secure = protocol === 'HTTPS' || protocol === 'TLS'
  if (secure && !tls) return p.add(`${at}.tls`, 'server must have TLS settings for HTTPS/TLS protocols')
  if (!tls) return
  p.warn(!tls.httpsRedirect || HTTP.has(protocol), 'tls.httpsRedirect should only be used with http servers')
  if (!secure && protocol !== 'TCP') {
    if (tls.httpsRedirect !== true)
      p.check(
        !tls.mode || tls.mode === 'PASSTHROUGH',
        `${at}.tls`,
        `server cannot have TLS settings for plain text ${protocol} ports`,
      )
    return
  }
  tlsOptions(tls, at, p)
}

/** Checks that a server's TLS has what its mode needs, and nothing that it may not have. */
export function tlsOptions(tls: Json, at: string, p: Problems): void {
  const {
    mode = 'PASSTHROUGH',
    credentialName,
    credentialNames,
    serverCertificate,
    privateKey,
    caCertificates,
    tlsCertificates,
  } = tls
  const given = credentialName || credentialNames?.length || tlsCertificates?.length
  if (['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'].includes(mode) && !given) {
    p.check(serverCertificate, `${at}.tls`, `${mode} TLS requires a server certificate: set credentialName`)
    p.check(privateKey, `${at}.tls.privateKey`, `${mode} TLS requires a private key`)
    if (mode !== 'SIMPLE')
      p.check(
        !serverCertificate || caCertificates,
        `${at}.tls.caCertificates`,
        `${mode} TLS requires a client CA bundle`,
      )
  }
  if (mode === 'ISTIO_MUTUAL')
    for (const [field, value] of Object.entries({ serverCertificate, privateKey, caCertificates, credentialName }))
      p.check(!value, `${at}.tls.${field}`, `ISTIO_MUTUAL TLS cannot have associated ${field}`)
}
