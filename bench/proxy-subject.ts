// The data plane with one route to one cluster, on plain ports instead of redirected ones. Environment: CONFIG, the
// resources as JSON by type.

import { readFileSync } from 'node:fs'
import {
  acceptBound,
  createProxy,
  decodeCluster,
  decodeEndpoints,
  decodeListener,
  decodeRoutes,
  decodeSecret,
} from '#proxy'

const told = JSON.parse(readFileSync(process.argv[2]!, 'utf8'))
const workload = {
  workload: 'bench',
  namespace: 'default',
  canonicalName: 'bench',
  canonicalRevision: 'latest',
  app: 'bench',
  version: 'v1',
}
const { context } = createProxy({ local: workload, nodeId: 'bench' })
const { config } = context
config.setClusters(told.clusters.map(decodeCluster))
for (const m of told.endpoints ?? []) {
  const { name, endpoints } = decodeEndpoints(m)
  config.setEndpoints(name, endpoints)
}
config.routes = new Map((told.routes ?? []).map((m: { name: string }) => [m.name, decodeRoutes(m)]))
config.secrets = new Map((told.secrets ?? []).map((m: { name: string }) => [m.name, decodeSecret(m)]))
config.listeners = new Map(
  told.listeners.map((m: { name: string; filter_chains: { filters: object[] }[] }) => [
    m.name,
    decodeListener(m, () => {}),
  ]),
)
for (const [name, listener] of config.listeners) await acceptBound(name, listener, context)
process.send?.('ready')
