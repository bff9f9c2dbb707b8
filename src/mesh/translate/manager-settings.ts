// What a proxy's own configuration says of its connection managers: which headers it makes, and whom in front of it it
// trusts (mesh/v1alpha1, ProxyConfig.proxy_headers and gateway_topology). Pure.

import type { Json } from '#api'
import { packAny, xds } from '#api/xds'
import type { Message } from '#wire'
import { ROUTER } from './extension.ts'

/** ForwardClientCertDetails in their order at Envoy. */
const CLIENT_CERT = ['SANITIZE', 'FORWARD_ONLY', 'APPEND_FORWARD', 'SANITIZE_SET', 'ALWAYS_FORWARD_ONLY']
const PASS_THROUGH = 2
const SILENT: Message = {
  ...ROUTER,
  typed_config: packAny(xds('envoy.extensions.filters.http.router.v3.Router'), { suppress_envoy_headers: true }),
}

/** Settings of headers; `server` is what the proxy calls itself in answers, where it is not Envoy's usual name. */
export function headerSettings(config: Json, server?: string): Message {
  const { server: own, requestId, xForwardedPort }: Json = config.proxyHeaders ?? {}
  const name = own?.value || server
  return {
    ...(own?.disabled ? { server_header_transformation: PASS_THROUGH } : name ? { server_name: name } : {}),
    ...(requestId?.disabled ? { generate_request_id: { value: false } } : {}),
    ...(xForwardedPort?.enabled ? { append_x_forwarded_port: true } : {}),
  }
}

/** Whether requests say how often they were tried. */
export const countsAttempts = (config: Json): boolean => config.proxyHeaders?.attemptCount?.disabled !== true

/** Whether servers are told which host a rewritten one was. */
export const tellsHost = (config: Json): boolean => config.proxyHeaders?.xForwardedHost?.enabled === true

/** The filter that routes, which tells of itself in x-envoy- fields unless that is not wanted. */
export const routerOf = (config: Json): Message => (config.proxyHeaders?.envoyDebugHeaders?.disabled ? SILENT : ROUTER)

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
