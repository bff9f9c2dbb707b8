// The protocol of a port: by appProtocol, then by the prefix of its name (istio.io, "Protocol Selection").

import type { Json } from '#api'

/** What a proxy does with a port: speaks HTTP, tells TLS names apart, passes bytes, or finds out by looking. */
export type Protocol = 'http' | 'http2' | 'tls' | 'tcp' | 'udp' | 'auto'

const NAMES: Readonly<Record<string, Protocol>> = {
  http: 'http',
  http_proxy: 'http',
  http2: 'http2',
  grpc: 'http2',
  'grpc-web': 'http',
  tcp: 'tcp',
  https: 'tls',
  tls: 'tls',
  // Their filters are off in Istio unless asked for.
  mongo: 'tcp',
  redis: 'tcp',
  mysql: 'tcp',
  udp: 'udp',
}
const APP: Readonly<Record<string, Protocol>> = {
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'tls',
}
/** Ports of protocols in which the server speaks first: never looked into (Istio's list). */
const SERVER_FIRST = new Set([25, 53, 3306, 27017])

/** The protocol of a Service's port. */
export function protocolOf(port: Json): Protocol {
  if (port.protocol === 'UDP') return 'udp'
  const app = port.appProtocol?.toLowerCase()
  const found = (app && (APP[app] ?? NAMES[app])) || byName(port.name)
  return found ?? (SERVER_FIRST.has(port.port) ? 'tcp' : 'auto')
}

/** The protocol by a port's name, "<protocol>[-suffix]"; undefined when the name says none. */
export function byName(name: unknown): Protocol | undefined {
  const text = String(name ?? '').toLowerCase()
  return NAMES[text.startsWith('grpc-web') ? 'grpc-web' : (text.split('-')[0] ?? '')]
}

/** The protocol as Istio's own kinds write it: "HTTP", "TLS", "GRPC" and so on. */
export function declaredProtocol(text: unknown): Protocol {
  return NAMES[String(text ?? '').toLowerCase()] ?? 'auto'
}

export const isHttp = (protocol: Protocol): boolean => protocol === 'http' || protocol === 'http2'
