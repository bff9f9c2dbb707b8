// Byte streams: from a client to an endpoint and back, with back-pressure and half-closes.

import { connect, type Socket } from 'node:net'
import { pickEndpoint } from './balance.ts'
import type { Destination, ExchangeContext } from './exchange.ts'

/** Connects a client to a cluster. `first` is what has been read of the client. */
export function serveTcp(
  client: Socket,
  first: Buffer,
  clusterName: string,
  context: ExchangeContext,
  destination: Destination,
): void {
  const { config, stats } = context
  const cluster = config.clusters.get(clusterName)
  if (!cluster) return void client.destroy()
  const target =
    cluster.type === 'originalDst'
      ? { host: destination.host, port: destination.port }
      : pickEndpoint(cluster, config.endpoints.get(clusterName) ?? [], context.random)
  if (!target) return void client.destroy()
  const upstream = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true })
  const timer = setTimeout(() => upstream.destroy(), cluster.connectTimeout)
  upstream.once('connect', () => clearTimeout(timer))
  const service = cluster.service.host
  stats.recordTcp(destination.inbound, service, { opened: 1 })
  let closed = false
  const end = () => {
    clearTimeout(timer)
    client.destroy()
    upstream.destroy()
    if (closed) return
    closed = true
    stats.recordTcp(destination.inbound, service, {
      closed: 1,
      sent: upstream.bytesRead,
      received: upstream.bytesWritten,
    })
  }
  if (first.length > 0) upstream.write(first)
  client.pipe(upstream)
  upstream.pipe(client)
  for (const socket of [client, upstream]) {
    socket.on('error', end)
    socket.on('close', (hadError: boolean) => {
      if (hadError || (client.destroyed && upstream.destroyed)) end()
    })
  }
}
