// The data plane with one route to one cluster, on a plain port instead of a redirected one.

import { createServer } from 'node:net'
import {
  ConfigStore,
  decodeRoutes,
  dispatch,
  type ExchangeContext,
  H1Pool,
  H2Pool,
  type Listener,
  PeerMetadata,
  Stats,
} from '#proxy'

const [port, backend] = process.argv.slice(2).map(Number)
const workload = {
  workload: 'bench',
  namespace: 'default',
  canonicalName: 'bench',
  canonicalRevision: 'latest',
  app: 'bench',
  version: 'v1',
}
const config = new ConfigStore()
config.clusters = new Map([
  [
    'c',
    {
      name: 'c',
      type: 'eds',
      policy: 'leastRequest',
      protocol: 'http1',
      connectTimeout: 1000,
      service: { host: 'greeter', name: 'greeter', namespace: 'default' },
      turn: 0,
    },
  ],
])
config.endpoints = new Map([
  ['c', [{ host: '127.0.0.1', port: backend!, workload: 'greeter;default;greeter;v1;Kubernetes', active: 0 }]],
])
config.routes = new Map([
  [
    '80',
    decodeRoutes({
      name: '80',
      virtual_hosts: [
        {
          name: 'greeter',
          domains: ['greeter'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'c', timeout: {} } }],
        },
      ],
    }),
  ],
])
const context: ExchangeContext = {
  config,
  stats: new Stats(workload),
  h1: new H1Pool(),
  h2: new H2Pool(),
  peers: new PeerMetadata(workload, 'bench'),
  random: Math.random,
}
const listener: Listener = {
  name: 'l',
  address: '0.0.0.0',
  port: 80,
  inbound: false,
  chains: [
    { port: 0, alpn: [], serverNames: [], chain: { kind: 'http', route: '80', serverName: 'envoy', edge: false } },
  ],
  fallback: undefined,
  inspect: false,
  inspectTls: false,
  bind: false,
}
createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
  socket.on('error', () => socket.destroy())
  dispatch(socket, listener, { host: '127.0.0.1', port: 80, inbound: false, client: '127.0.0.1' }, context)
}).listen(port, '127.0.0.1')
