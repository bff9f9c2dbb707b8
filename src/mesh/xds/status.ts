// How far every proxy has caught up, in the shapes istioctl reads: /debug/syncz and the debug types on ADS.

import { packAny, toStruct, xds } from '#api/xds'
import type { Message } from '#wire'
import type { Connection } from './connection.ts'
import type { Subscription } from './subscription.ts'

const CLIENT_CONFIG = xds('envoy.service.status.v3.ClientConfig')
export const CLUSTER_ID = 'Kubernetes'
export const ISTIO_VERSION = '1.32-sampan'

/** envoy.service.status.v3.ConfigStatus. */
const STATUS = { synced: 1, notSent: 2, stale: 3, error: 4 } as const

function statusOf(s: Subscription): number {
  if (s.error) return STATUS.error
  if (s.nonce === '') return STATUS.notSent
  return s.answered ? STATUS.synced : STATUS.stale
}

/** States of all proxies, as istioctl's proxy-status reads them. */
export const clientConfigs = (connections: Iterable<Connection>): Message[] =>
  [...connections]
    .filter((c) => c.proxy && c.subscriptions.length > 0)
    .map((c) => packAny(CLIENT_CONFIG, clientConfig(c)))

/** A proxy's state as envoy.service.status.v3.ClientConfig. */
function clientConfig(c: Connection): Message {
  const { proxy } = c
  return {
    node: {
      id: proxy?.id ?? c.id,
      metadata: toStruct({ CLUSTER_ID, ISTIO_VERSION, NAMESPACE: proxy?.namespace ?? '' }),
    },
    generic_xds_configs: c.subscriptions.map((s) => ({
      type_url: s.url,
      config_status: statusOf(s),
      ...(s.error ? { error_state: { details: s.error } } : {}),
    })),
  }
}

const NAMES = { clusters: 'cluster', listeners: 'listener', routes: 'route', endpoints: 'endpoint' } as const

/** /debug/syncz as Istio writes it. */
export function syncz(connections: Iterable<Connection>): object[] {
  return [...connections]
    .filter((c) => c.proxy && c.subscriptions.length > 0)
    .map((c) => {
      const states: Record<string, string> = {}
      for (const s of c.subscriptions) {
        if (s.kind === 'secrets') continue
        states[`${NAMES[s.kind]}_sent`] = s.nonce
        states[`${NAMES[s.kind]}_acked`] = s.acked
      }
      return {
        cluster_id: CLUSTER_ID,
        proxy: c.proxy?.id,
        proxy_type: c.proxy?.role,
        istio_version: ISTIO_VERSION,
        ...states,
      }
    })
}

/** /debug/connections. */
export function connectionList(connections: Iterable<Connection>): object {
  const clients = [...connections].map((c) => ({
    connectionId: c.id,
    connectedAt: c.connectedAt,
    address: c.proxy?.ip ?? '',
    watches: Object.fromEntries(c.subscriptions.map((s) => [s.url, []])),
  }))
  return { totalClients: clients.length, clients }
}
