// What a request's fields say of its way here: taken over, added to, or thrown away, by whom the chain trusts.

import { isFieldValue, utf8 } from '#wire'
import type { HttpChain } from '../config/model.ts'
import { dropField, fieldOf, type HttpRequest, setField } from './request.ts'
import type { Source } from './source.ts'

/** What the mesh says of clients is written by its edge, not by the clients (Envoy's header_sanitizing.rst). */
const UNTRUSTED = new Set([
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-force-trace',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-internal',
  'x-envoy-ip-tags',
  'x-envoy-max-retries',
  'x-envoy-original-path',
  'x-envoy-original-host',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
  'x-envoy-retry-grpc-on',
  'x-envoy-retry-on',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms',
])

/** Writes what is known of the client into a request; returns the client's address as it is believed. */
export function markOrigin(request: HttpRequest, chain: HttpChain, source: Source): string {
  const { fields } = request
  if (source.tls) request.scheme = 'https'
  forwardCertificate(request, chain, source)
  // It says what the request does to whoever serves it, not to the application.
  if (source.inbound) dropField(fields, 'x-envoy-decorator-operation')
  if (!chain.edge) {
    const told = fieldOf(fields, 'x-forwarded-proto')
    if (told === 'http' || told === 'https') request.scheme = told
    else setField(fields, 'x-forwarded-proto', request.scheme)
    return source.client
  }
  const before = fieldOf(fields, 'x-forwarded-for')
  const chainOf = before === undefined ? [] : before.split(',').map((a) => a.trim())
  let client = source.client
  // Of the addresses told, as many are believed as there are trusted proxies in front.
  if (chain.xffHops > 0) {
    client = chainOf.at(-chain.xffHops) ?? source.client
    const told = fieldOf(fields, 'x-forwarded-proto')
    if (told === 'http' || told === 'https') request.scheme = told
  }
  if (!chain.skipXff) setField(fields, 'x-forwarded-for', before ? `${before},${source.client}` : source.client)
  for (let i = fields.length - 2; i >= 0; i -= 2) if (UNTRUSTED.has(fields[i]!)) fields.splice(i, 2)
  // No address is internal unless configuration says so (since Envoy 1.33), and Istio's does not.
  fields.push('x-envoy-external-address', client)
  setField(fields, 'x-forwarded-proto', request.scheme)
  // What trusted proxies in front say of it stays.
  if (chain.tellsPort && (chain.xffHops === 0 || fieldOf(fields, 'x-forwarded-port') === undefined))
    setField(fields, 'x-forwarded-port', String(source.port))
  return client
}

/** x-forwarded-client-cert as the chain says (Envoy's forward_client_cert_details). */
function forwardCertificate(request: HttpRequest, chain: HttpChain, source: Source): void {
  const { fields } = request
  const { clientCert: how, clientCertDetails: details } = chain
  if (how === 'alwaysForward') return
  const peer = source.tls?.peer
  if (how === 'sanitize' || !source.tls || !peer) return dropField(fields, 'x-forwarded-client-cert')
  if (how === 'forwardOnly') return
  const parts = [...(source.tls.own ? [`By=${source.tls.own}`] : []), `Hash=${peer.hash}`]
  if (details.has('cert')) parts.push(`Cert="${encodeURIComponent(peer.pem())}"`)
  if (details.has('subject')) parts.push(`Subject="${utf8(peer.subject).replace(/["\\]/g, '\\$&')}"`)
  if (details.has('uri')) parts.push(`URI=${peer.uri}`)
  if (details.has('dns')) for (const name of peer.dns) parts.push(`DNS=${name}`)
  const own = parts.join(';')
  if (!isFieldValue(own)) return dropField(fields, 'x-forwarded-client-cert')
  const before = how === 'appendForward' ? fieldOf(fields, 'x-forwarded-client-cert') : undefined
  setField(fields, 'x-forwarded-client-cert', before ? `${before},${own}` : own)
}
