// What Istio refuses in the settings of connection pools, in its wording. Pure.

import type { Json } from '#api'
import { durationAtLeast, type Problems } from './problems.ts'

/** Numbers that must not be negative, and what Istio calls them. */
const COUNTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  http: {
    http1MaxPendingRequests: 'http1 max pending requests',
    http2MaxRequests: 'http2 max requests',
    maxRequestsPerConnection: 'max requests per connection',
    maxRetries: 'max retries',
    maxConcurrentStreams: 'max concurrent streams',
  },
  tcp: { maxConnections: 'max connections' },
}
const DURATIONS = [
  'http.idleTimeout',
  'tcp.connectTimeout',
  'tcp.maxConnectionDuration',
  'tcp.tcpKeepalive.time',
  'tcp.tcpKeepalive.interval',
]

/** Checks what a policy, or a Sidecar, says of connections. */
export function connectionPool(pool: Json | undefined, path: string, p: Problems): void {
  if (!pool) return
  if (!pool.tcp && !pool.http) return p.add(path, 'connection pool must have at least one field')
  for (const [part, fields] of Object.entries(COUNTS))
    for (const [field, name] of Object.entries(fields)) {
      const value = pool[part]?.[field]
      p.check(!(value < 0), `${path}.${part}.${field}`, `${name} must be non-negative`)
    }
  for (const at of DURATIONS) {
    const value = at.split('.').reduce<Json | undefined>((o, k) => o?.[k], pool) as string | undefined
    durationAtLeast(value, 1, `${path}.${at}`, p)
  }
  const { http } = pool
  p.check(
    !(http?.useClientProtocol && http.h2UpgradePolicy === 'UPGRADE'),
    `${path}.http`,
    'use client protocol must not be true when H2UpgradePolicy is UPGRADE',
  )
  if (http?.http2KeepAlive)
    for (const field of ['interval', 'timeout']) {
      const at = `${path}.http.http2KeepAlive.${field}`
      p.check(http.http2KeepAlive[field] !== undefined, at, `http2 keepalive ${field} is required`)
      durationAtLeast(http.http2KeepAlive[field], 1, at, p)
    }
}
