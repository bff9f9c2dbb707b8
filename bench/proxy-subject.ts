// The data plane with one route to one cluster on a port. Arguments: kind, port, the back end's port, the folder of
// certificates, clusters besides.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DownstreamTlsContext, packAny, UpstreamTlsContext } from '#api/xds'
import { giveBackMemoryAtRest } from '#base'
import {
  httpListener,
  speaking,
  startProxy,
  staticCluster,
  tcpChain,
  tcpListener,
  toCluster,
} from '../test/kit/proxy.ts'

const [kind = 'http1', port = '0', backend = '0', folder = '', more = '0'] = process.argv.slice(2)
const at = Number(port)
const to = Number(backend)

function tls() {
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

const http = (more: object = {}) =>
  httpListener('l', {
    port: at,
    hosts: [{ name: 'greeter', domains: ['greeter', `127.0.0.1:${at}`, `localhost:${at}`], routes: [toCluster('c')] }],
    ...more,
  })
const others = Array.from({ length: Number(more) }, (_, i) => staticCluster(`c${i}`, [to]))

const kinds = {
  http1: () => ({ listeners: [http()], clusters: [staticCluster('c', [to])] }),
  http2: () => ({ listeners: [http()], clusters: [staticCluster('c', [to], speaking('http2'))] }),
  mtls: () => ({ listeners: [http({ chain: tls().down })], clusters: [staticCluster('c', [to], tls().up)] }),
  tcp: () => ({ listeners: [tcpListener('l', at, [tcpChain('c')])], clusters: [staticCluster('c', [to])] }),
}
const config = kinds[kind as keyof typeof kinds]()
const { context } = await startProxy({ ...config, clusters: [...config.clusters, ...others] })
// As the program itself does.
giveBackMemoryAtRest(() => context.stats.counters.downstreamConnections + context.stats.counters.requests)
process.send?.('ready')
