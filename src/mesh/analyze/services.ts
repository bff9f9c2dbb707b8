// Analyzers of Services, Deployments and ServiceEntries: ports, protocols, addresses.

import { type Json, type KubeObject, keyOf } from '#api'
import { byName, declaredProtocol } from '../model/protocol.ts'
import { matches } from '../model/view.ts'
import { isExported } from '../model/visibility.ts'
import { inMesh } from './in-mesh.ts'
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

/** Services that disagree about the ports of one Deployment in the mesh (IST0116, IST0137). */
export function deploymentPorts(world: World): void {
  for (const deployment of world.of('Deployment')) {
    if (deployment.metadata.labels?.['gateway.istio.io/managed'] === 'istio.io-mesh-controller') continue
    if (!inMesh(world, deployment.metadata.namespace, deployment.spec?.template ?? {})) continue
    const labels = deployment.spec?.template?.metadata?.labels
    const behind = world
      .in('Service', deployment.metadata.namespace)
      .filter((s) => Object.keys(s.spec?.selector ?? {}).length > 0 && matches(s.spec.selector, labels))
    if (behind.length === 0) continue
    const { name } = deployment.metadata
    const protocols = new Map<number, Map<string, string[]>>()
    const ports = new Map<string, Map<number, string>>()
    for (const service of behind)
      for (const port of (service.spec?.ports ?? []) as Json[]) {
        const by = protocols.get(port.port) ?? new Map<string, string[]>()
        const protocol = port.protocol || 'TCP'
        protocols.set(port.port, by.set(protocol, [...(by.get(protocol) ?? []), keyOf(service)]))
        const target = String(port.targetPort || port.port)
        ports.set(target, (ports.get(target) ?? new Map<number, string>()).set(port.port, keyOf(service)))
      }
    const path = ['metadata', 'name'] as const
    for (const [port, by] of protocols)
      if (by.size > 1)
        world.report(
          'DEPLOYMENT_PROTOCOLS',
          deployment,
          `This deployment ${name} is associated with multiple services using port ${port} but different protocols: [${[...by.values()].flat().sort().join(' ')}]`,
          path,
        )
    for (const [target, by] of ports)
      if (by.size > 1)
        world.report(
          'DEPLOYMENT_PORTS',
          deployment,
          `This deployment ${name} is associated with multiple services [${[...by.values()].sort().join(' ')}] using targetPort "${target}" but different ports: [${[...by.keys()].sort((x, y) => x - y).join(' ')}].`,
          path,
        )
  }
}

/** Bytes told apart by nothing, and one port with two protocols (IST0134, IST0177). */
export function serviceEntries(world: World): void {
  const entries = world.of('ServiceEntry')
  for (const entry of entries) {
    if (entry.spec?.addresses || entry.status?.addresses?.length) continue
    for (const [i, port] of ((entry.spec?.ports ?? []) as Json[]).entries())
      if (!port.protocol || String(port.protocol).toUpperCase() === 'TCP')
        world.report('ADDRESSES_REQUIRED', entry, 'ServiceEntry addresses are required for this protocol.', [
          'spec',
          'ports',
          i,
        ])
  }
  const claims = new Map<string, { entry: KubeObject; protocol: string }[]>()
  for (const entry of entries)
    for (const host of (entry.spec?.hosts ?? []) as string[])
      for (const port of (entry.spec?.ports ?? []) as Json[]) {
        const key = `${host} ${port.number}`
        claims.set(key, [...(claims.get(key) ?? []), { entry, protocol: declaredProtocol(port.protocol || port.name) }])
      }
  for (const [key, all] of claims) {
    // Those that nobody sees together do not contradict.
    const sees = (a: KubeObject, b: KubeObject) =>
      a.metadata.namespace === b.metadata.namespace ||
      (isExported(a.spec?.exportTo, a.metadata.namespace ?? '', b.metadata.namespace ?? '') &&
        isExported(b.spec?.exportTo, b.metadata.namespace ?? '', a.metadata.namespace ?? ''))
    const odd = all.filter((a) => all.some((b) => a.protocol !== b.protocol && sees(a.entry, b.entry)))
    const [host, number] = key.split(' ')
    const who = odd.map(({ entry }) => `${entry.metadata.namespace}/${entry.metadata.name}`).sort()
    for (const { entry } of odd)
      world.report(
        'ENTRY_PROTOCOLS',
        entry,
        `Multiple ServiceEntries (${who.join(', ')}) define the same host "${host}" and port ${number} with conflicting protocols (${[...new Set(odd.map((o) => o.protocol))].sort().join(', ')}).`,
      )
  }
}
