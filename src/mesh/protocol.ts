// The protocol of a Service port: by appProtocol, then by the prefix of its name (Istio's rules).

import type { Json } from '#api'

export type Protocol = 'http' | 'http2' | 'tcp' | 'auto'

const NAMES: Record<string, Protocol> = {
  http: 'http',
  http2: 'http2',
  grpc: 'http2',
  'grpc-web': 'http',
  tcp: 'tcp',
  https: 'tcp',
  tls: 'tcp',
  mongo: 'tcp',
  redis: 'tcp',
  mysql: 'tcp',
  udp: 'tcp',
}
const APP: Record<string, Protocol> = {
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'tcp',
}
/** Ports of protocols in which the server speaks first: never looked into (Istio's list). */
const SERVER_FIRST = new Set([25, 53, 3306, 27017])

export function protocolOf(port: Json): Protocol {
  const app = port.appProtocol?.toLowerCase()
  if (app) return APP[app] ?? NAMES[app] ?? 'auto'
  const name = String(port.name ?? '').toLowerCase()
  const found = NAMES[name.startsWith('grpc-web') ? 'grpc-web' : (name.split('-')[0] ?? '')]
  return found ?? (SERVER_FIRST.has(port.port) ? 'tcp' : 'auto')
}
