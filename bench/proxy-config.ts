// What the data plane, and an Envoy beside it, are configured with: one route to one cluster on a port.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DownstreamTlsContext, packAny, UpstreamTlsContext } from '#api/xds'
import type { Message } from '#wire'
import { httpListener, speaking, staticCluster, tcpChain, tcpListener, toCluster } from '../test/kit/proxy.ts'

export type ProxyKind = 'http1' | 'http2' | 'mtls' | 'tcp'

/** Listeners and clusters; `folder` has the certificates, `others` are clusters that nobody uses. */
export function proxyConfig(
  kind: ProxyKind,
  { at, to, folder, others = 0 }: { at: number; to: number; folder: string; others?: number },
): { listeners: Message[]; clusters: Message[] } {
  const more = Array.from({ length: others }, (_, i) => staticCluster(`c${i}`, [to]))
  const http = (chain: Message = {}) => [
    httpListener('l', {
      port: at,
      hosts: [
        { name: 'greeter', domains: ['greeter', `127.0.0.1:${at}`, `localhost:${at}`], routes: [toCluster('c')] },
      ],
      chain,
    }),
  ]
  switch (kind) {
    case 'http1':
      return { listeners: http(), clusters: [staticCluster('c', [to]), ...more] }
    case 'http2':
      return { listeners: http(), clusters: [staticCluster('c', [to], speaking('http2'))] }
    case 'mtls': {
      const { down, up } = tls(folder)
      return { listeners: http(down), clusters: [staticCluster('c', [to], up)] }
    }
    case 'tcp':
      return { listeners: [tcpListener('l', at, [tcpChain('c')])], clusters: [staticCluster('c', [to])] }
  }
}

function tls(folder: string) {
  const pem = (name: string) => ({ inline_string: readFileSync(join(folder, name), 'utf8') })
  const common = (name: string) => ({
    tls_certificates: [{ certificate_chain: pem(`${name}.crt`), private_key: pem(`${name}.key`) }],
    validation_context: { trusted_ca: pem('ca.crt') },
    alpn_protocols: ['http/1.1'],
  })
  const socket = (config: object, type: typeof DownstreamTlsContext) => ({
    transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: packAny(type, config) },
  })
  return {
    down: socket(
      { common_tls_context: common('server'), require_client_certificate: { value: true } },
      DownstreamTlsContext,
    ),
    up: socket({ common_tls_context: common('admin'), sni: 'localhost' }, UpstreamTlsContext),
  }
}
