// What a sidecar is configured with: every Service it may call, and what arrives for its own workload.

import type { Json, KubeObject } from '#api'
import { ClusterType, Direction, LbPolicy, toDuration, toStruct } from '#api/xds'
import type { Message } from '#wire'
import { httpChain, INSPECTOR, inboundHttpChain, tcpChain } from './chains.ts'
import { addClusters, httpOptions } from './clusters.ts'
import { type Protocol, protocolOf } from './protocol.ts'
import { virtualHost } from './routes.ts'
import {
  clusterName,
  destinationRules,
  emptyResources,
  fqdnOf,
  type MeshView,
  type ProxyNode,
  servicePortsOf,
  type XdsResources,
} from './view.ts'

/** All resources of a sidecar. */
export function translateSidecar(view: MeshView, node: ProxyNode): XdsResources {
  const result = emptyResources()
  const rules = destinationRules(view)
  const httpPorts = new Map<number, { service: KubeObject; port: Json }[]>()
  for (const { service, port } of servicePortsOf(view)) {
    const protocol = protocolOf(port)
    addClusters(result, view, service, port, protocol, rules.get(fqdnOf(service)))
    if (protocol === 'tcp') addTcpListener(result, service, port)
    else if (protocol === 'auto') addAutoListener(result, view, node, service, port)
    else {
      const list = httpPorts.get(port.port) ?? []
      list.push({ service, port })
      httpPorts.set(port.port, list)
    }
  }
  for (const [number, entries] of httpPorts) {
    const name = String(number)
    result.listeners.set(
      `0.0.0.0_${number}`,
      outboundListener(`0.0.0.0_${number}`, '0.0.0.0', number, [httpChain(name)], undefined, false),
    )
    const hosts = entries.map(({ service, port }) => virtualHost(view, node, service, port))
    hosts.push({
      name: 'allow_any',
      domains: ['*'],
      routes: [
        { name: 'allow_any', match: { prefix: '/' }, route: { cluster: 'PassthroughCluster', timeout: toDuration(0) } },
      ],
    })
    result.routes.set(name, { name, virtual_hosts: hosts })
  }
  addInbound(result, view, node)
  addVirtual(result)
  return result
}

function outboundListener(
  name: string,
  address: string,
  port: number,
  chains: Message[],
  fallback: Message | undefined,
  inspect: boolean,
): Message {
  return {
    name,
    address: { socket_address: { address, port_value: port } },
    filter_chains: chains,
    ...(fallback ? { default_filter_chain: fallback } : {}),
    ...(inspect ? { listener_filters: [INSPECTOR] } : {}),
    traffic_direction: Direction.outbound,
    bind_to_port: { value: false },
  }
}

function addTcpListener(result: XdsResources, service: KubeObject, port: Json): void {
  const ip = service.spec.clusterIP
  if (!ip || ip === 'None') return
  const name = `${ip}_${port.port}`
  result.listeners.set(
    name,
    outboundListener(name, ip, port.port, [tcpChain(clusterName(port.port, '', fqdnOf(service)))], undefined, false),
  )
}

/** A port whose protocol is not declared: HTTP when it looks like HTTP, else bytes. */
function addAutoListener(result: XdsResources, view: MeshView, node: ProxyNode, service: KubeObject, port: Json): void {
  const ip = service.spec.clusterIP
  if (!ip || ip === 'None') return
  const name = `${ip}_${port.port}`
  const route = `${fqdnOf(service)}:${port.port}`
  const chain = { ...httpChain(route), filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] } }
  result.listeners.set(
    name,
    outboundListener(name, ip, port.port, [chain], tcpChain(clusterName(port.port, '', fqdnOf(service))), true),
  )
  result.routes.set(route, {
    name: route,
    virtual_hosts: [{ ...virtualHost(view, node, service, port), domains: ['*'] }],
  })
}

/** What arrives for the workload: a cluster and a chain for each port it declares or serves. */
function addInbound(result: XdsResources, view: MeshView, node: ProxyNode): void {
  const ports = new Map<number, { protocol: Protocol; service: KubeObject | undefined }>()
  for (const p of node.ports) ports.set(p.containerPort, { protocol: protocolOf({ name: p.name }), service: undefined })
  for (const service of view.services)
    for (const slice of view.slices(service))
      if ((slice.endpoints ?? []).some((e: Json) => e.addresses[0] === node.ip))
        for (const p of (slice.ports ?? []) as Json[]) {
          const declared = (service.spec.ports ?? []).find((x: Json) => (x.name ?? '') === (p.name ?? ''))
          ports.set(p.port, { protocol: protocolOf(declared ?? p), service })
        }
  const chains: Message[] = []
  for (const [port, { protocol, service }] of [...ports].sort(([a], [b]) => a - b)) {
    const name = `inbound|${port}||`
    result.clusters.set(name, {
      name,
      type: ClusterType.originalDst,
      connect_timeout: toDuration(10_000),
      lb_policy: LbPolicy.clusterProvided,
      ...(service
        ? {
            metadata: {
              filter_metadata: {
                istio: toStruct({
                  services: [
                    { host: fqdnOf(service), name: service.metadata.name, namespace: service.metadata.namespace },
                  ],
                }),
              },
            },
          }
        : {}),
      ...(protocol === 'tcp' ? {} : { typed_extension_protocol_options: httpOptions('auto') }),
    })
    const match = { destination_port: { value: port } }
    if (protocol !== 'tcp')
      chains.push({
        ...inboundHttpChain(name, port),
        name: `0.0.0.0_${port}`,
        filter_chain_match: protocol === 'auto' ? { ...match, application_protocols: ['http/1.1', 'h2c'] } : match,
      })
    if (protocol === 'tcp' || protocol === 'auto')
      chains.push({ ...tcpChain(name), name: `0.0.0.0_${port}`, filter_chain_match: match })
  }
  result.clusters.set('InboundPassthroughCluster', {
    name: 'InboundPassthroughCluster',
    type: ClusterType.originalDst,
    connect_timeout: toDuration(10_000),
    lb_policy: LbPolicy.clusterProvided,
    typed_extension_protocol_options: httpOptions('auto'),
  })
  const passthrough = {
    ...inboundHttpChain('InboundPassthroughCluster', 0),
    name: 'virtualInbound-catchall-http',
    filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] },
  }
  result.listeners.set('virtualInbound', {
    name: 'virtualInbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15006 } },
    filter_chains: [...chains, passthrough],
    default_filter_chain: { ...tcpChain('InboundPassthroughCluster'), name: 'virtualInbound' },
    use_original_dst: { value: true },
    listener_filters: [{ name: 'envoy.filters.listener.original_dst' }, INSPECTOR],
    traffic_direction: Direction.inbound,
  })
}

/** The listener everything outbound is redirected to, and the clusters for destinations nobody knows. */
function addVirtual(result: XdsResources): void {
  result.clusters.set('PassthroughCluster', {
    name: 'PassthroughCluster',
    type: ClusterType.originalDst,
    connect_timeout: toDuration(10_000),
    lb_policy: LbPolicy.clusterProvided,
    typed_extension_protocol_options: httpOptions('auto'),
  })
  result.clusters.set('BlackHoleCluster', {
    name: 'BlackHoleCluster',
    type: ClusterType.static,
    connect_timeout: toDuration(10_000),
  })
  result.listeners.set('virtualOutbound', {
    name: 'virtualOutbound',
    address: { socket_address: { address: '0.0.0.0', port_value: 15001 } },
    filter_chains: [],
    default_filter_chain: { ...tcpChain('PassthroughCluster'), name: 'virtualOutbound-catchall-tcp' },
    use_original_dst: { value: true },
    traffic_direction: Direction.outbound,
  })
}
