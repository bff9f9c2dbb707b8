// Analyzers of Services, Deployments and ServiceEntries: ports, protocols, addresses.

import type { Json, KubeObject } from '#api'
import { byName, declaredProtocol, protocolOf } from '../model/protocol.ts'
import { matches } from '../model/view.ts'
import type { World } from './world.ts'

const SYSTEM = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage', 'istio-system'])

/** Names of ports that say no protocol (IST0118, IST0150). */
export function portNames(world: World): void {
  for (const service of world.of('Service')) {
    if (SYSTEM.has(service.metadata.namespace ?? '')) continue
    const external = service.spec?.type === 'ExternalName'
    for (const [i, port] of ((service.spec?.ports ?? []) as Json[]).entries()) {
      if (port.protocol === 'UDP' || port.appProtocol) continue
      const protocol = byName(port.name)
      const path = ['spec', 'ports', i] as const
      if (external) {
        if (!protocol || protocol === 'tcp')
          world.report(
            'EXTERNAL_NAME_PORT',
            service,
            'Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports serving TCP protocol from being forwarded correctly',
            path,
          )
      } else if (!protocol && service.metadata.name !== 'kubernetes')
        world.report(
          'PORT_NAME',
          service,
          `Port name ${port.name ?? ''} (port: ${port.port}, targetPort: ${port.targetPort ?? port.port}) doesn't follow the naming convention of Istio port.`,
          path,
        )
    }
  }
}

/** Services that disagree about the ports of one Deployment (IST0116, IST0137). */
export function deploymentPorts(world: World): void {
  for (const deployment of world.of('Deployment')) {
    const labels = deployment.spec?.template?.metadata?.labels
    const behind = world
      .in('Service', deployment.metadata.namespace)
      .filter((s) => s.spec?.selector && matches(s.spec.selector, labels))
    if (behind.length < 2) continue
    const name = `${deployment.metadata.namespace}/${deployment.metadata.name}`
    const protocols = new Map<number, Map<string, KubeObject>>()
    const ports = new Map<string, Map<number, KubeObject>>()
    for (const service of behind)
      for (const port of (service.spec?.ports ?? []) as Json[]) {
        const byProtocol = protocols.get(port.port) ?? new Map()
        protocols.set(port.port, byProtocol.set(protocolOf(port), service))
        const target = String(port.targetPort ?? port.port)
        const byPort = ports.get(target) ?? new Map()
        ports.set(target, byPort.set(port.port, service))
      }
    for (const [port, by] of protocols)
      if (by.size > 1)
        world.report(
          'DEPLOYMENT_PROTOCOLS',
          deployment,
          `This deployment ${name} is associated with multiple services using port ${port} but different protocols: [${[...by.keys()].join(' ')}]`,
        )
    for (const [target, by] of ports)
      if (by.size > 1)
        world.report(
          'DEPLOYMENT_PORTS',
          deployment,
          `This deployment ${name} is associated with multiple services [${[...new Set([...by.values()].map((s) => `${s.metadata.namespace}/${s.metadata.name}`))].sort().join(' ')}] using targetPort "${target}" but different ports: [${[...by.keys()].join(' ')}].`,
        )
  }
}

/** Bytes told apart by nothing, and one port with two protocols (IST0134, IST0177). */
export function serviceEntries(world: World): void {
  const claimed = new Map<string, { protocol: string; entry: KubeObject }>()
  for (const entry of world.of('ServiceEntry')) {
    const { ports = [], addresses = [], resolution = 'NONE', hosts = [] } = (entry.spec ?? {}) as Json
    for (const [i, port] of (ports as Json[]).entries()) {
      const protocol = declaredProtocol(port.protocol || port.name)
      if ((protocol === 'tcp' || protocol === 'auto') && addresses.length === 0 && resolution === 'NONE')
        world.report('ADDRESSES_REQUIRED', entry, 'ServiceEntry addresses are required for this protocol.', [
          'spec',
          'ports',
          i,
        ])
      for (const host of hosts as string[]) {
        const key = `${host}:${port.number}`
        const other = claimed.get(key)
        if (other && other.protocol !== protocol && other.entry !== entry)
          world.report(
            'ENTRY_PROTOCOLS',
            entry,
            `Host ${host} port ${port.number} is declared with protocol ${protocol} here and ${other.protocol} in ${other.entry.metadata.namespace}/${other.entry.metadata.name}; the older one is used.`,
            ['spec', 'ports', i],
          )
        else claimed.set(key, { protocol, entry })
      }
    }
  }
}
