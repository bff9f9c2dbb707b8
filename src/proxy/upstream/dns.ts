// Hosts of clusters that are told by name: looked up again and again, kept while the look-up fails.

import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Cluster, Endpoint } from '../config/model.ts'

/** Looks a cluster's names up until closed; tells the endpoints whenever they are known. */
export function resolveHosts(config: Cluster, tell: (endpoints: Endpoint[]) => void): { close(): void } {
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const known = new Map<string, Endpoint[]>()
  const resolve = async (endpoint: Endpoint): Promise<Endpoint[]> => {
    if (isIP(endpoint.host) || endpoint.port === 0) return [endpoint]
    const name = `${endpoint.host}:${endpoint.port}`
    try {
      const found = await lookup(endpoint.host, { all: true, family: 4 })
      // Of a logical name only one address is used.
      const used = config.type === 'logicalDns' ? found.slice(0, 1) : found
      const endpoints = used.map(({ address }) => ({ ...endpoint, host: address, hostname: endpoint.host }))
      known.set(name, endpoints)
      return endpoints
    } catch {
      return known.get(name) ?? []
    }
  }
  const turn = async () => {
    const all = (await Promise.all(config.inline.map(resolve))).flat()
    if (closed) return
    tell(all)
    timer = setTimeout(turn, config.dnsRefresh).unref()
  }
  void turn()
  return {
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
