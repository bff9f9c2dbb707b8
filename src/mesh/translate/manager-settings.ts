// What a proxy's own configuration says of its connection managers: which headers it makes, and whom in front of it it
// trusts (mesh/v1alpha1, ProxyConfig.proxy_headers and gateway_topology). Pure.

import type { Json } from '#api'
import type { Message } from '#wire'

/** ForwardClientCertDetails in their order at Envoy. */
const CLIENT_CERT = ['SANITIZE', 'FORWARD_ONLY', 'APPEND_FORWARD', 'SANITIZE_SET', 'ALWAYS_FORWARD_ONLY']
const PASS_THROUGH = 2

/** Settings of headers; `server` is what the proxy calls itself in answers, where it is not Envoy's usual name. */
export function headerSettings(config: Json, server?: string): Message {
  const { server: own, requestId }: Json = config.proxyHeaders ?? {}
  const name = own?.value || server
  return {
    ...(own?.disabled ? { server_header_transformation: PASS_THROUGH } : name ? { server_name: name } : {}),
    ...(requestId?.disabled ? { generate_request_id: { value: false } } : {}),
  }
}

/** Whether requests say how often they were tried. */
export const countsAttempts = (config: Json): boolean => config.proxyHeaders?.attemptCount?.disabled !== true

/** A gateway's: at the edge the client's address is the connection's, but for the proxies that are known to be before it. */
export function edgeSettings(config: Json): Message {
  const { numTrustedProxies, forwardClientCertDetails }: Json = config.gatewayTopology ?? {}
  const given = CLIENT_CERT.indexOf(forwardClientCertDetails)
  const details = given < 0 ? CLIENT_CERT.indexOf('SANITIZE_SET') : given
  const told = CLIENT_CERT[details] === 'SANITIZE_SET' || CLIENT_CERT[details] === 'APPEND_FORWARD'
  return {
    use_remote_address: { value: true },
    ...headerSettings(config, 'istio-envoy'),
    ...(numTrustedProxies ? { xff_num_trusted_hops: numTrustedProxies } : {}),
    forward_client_cert_details: details,
    ...(told
      ? { set_current_client_cert_details: { subject: { value: true }, cert: true, dns: true, uri: true } }
      : {}),
  }
}

/** Whether connections to a gateway begin with the PROXY protocol's line. */
export const expectsProxyLine = (config: Json): boolean => Boolean(config.gatewayTopology?.proxyProtocol)
