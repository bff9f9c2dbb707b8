// Translation: the mesh at one moment into the xDS resources of one proxy. Pure.
// Names and shapes follow Istio's (pilot/pkg/networking), so that its tools and habits fit.

import { sidecarFor } from '../model/sidecar-scope.ts'
import { createSnapshot, distinction, type Snapshot } from '../model/snapshot.ts'
import { emptyResources, labelsKey, type MeshView, type ProxyNode, type XdsResources } from '../model/view.ts'
import { usesSecrets } from './clusters.ts'
import { type FilterPatches, filterPatches } from './envoy-filter.ts'
import { translateGateway } from './gateway.ts'
import { translateGrpc } from './grpc.ts'
import { addInbound, servicesOf } from './inbound.ts'
import { addOutbound } from './outbound.ts'
import { type Place, placeOf } from './place.ts'

/** A part of a proxy's resources that all proxies with the same key have in common. */
export interface Layer {
  readonly key: string
  /** What it is made of: as long as these are the same objects, so is what is made. Undefined is never. */
  inputs(): readonly unknown[] | undefined
  make(): XdsResources
}

/** The parts a proxy's resources are made of. */
export function layersOf(snapshot: Snapshot, node: ProxyNode): Layer[] {
  const place = once(() => placeOf(snapshot, node))
  const patches = once(() => filterPatches(snapshot, node))
  const { namespace, labels, locality, ports, readsSecrets, trusted, dnsCapture = false, config } = node
  const all = labelsKey(labels)
  const relevant = distinction(snapshot, node)
  if (node.role === 'router')
    return [
      {
        key: JSON.stringify([
          'router',
          namespace,
          all,
          relevant,
          locality,
          readsSecrets,
          trusted,
          node.servesIngresses,
          config,
        ]),
        inputs: () => undefined,
        make: () => withClusters(translateGateway(place(), patches()), patches()),
      },
    ]
  if (node.generator === 'grpc')
    return [
      {
        key: JSON.stringify(['grpc', namespace, all, relevant, ports, node.ip]),
        inputs: () => undefined,
        make: () => translateGrpc(place()),
      },
    ]
  // Only a Sidecar may send what arrives to the workload's own address.
  const ip = snapshot.view.sidecars.length > 0 ? node.ip : ''
  return [
    {
      key: JSON.stringify(['outbound', namespace, relevant, locality, readsSecrets, trusted, dnsCapture, config]),
      inputs: () => outboundInputs(place()),
      make: () => {
        const result = emptyResources()
        addOutbound(result, place(), patches())
        return withClusters(result, patches())
      },
    },
    {
      key: JSON.stringify(['inbound', namespace, all, ports, node.entryPorts ?? {}, ip, config]),
      inputs: () => [...commonInputs(snapshot, node), ...servicesOf({ snapshot, node })],
      make: () => {
        const result = emptyResources()
        addInbound(result, place(), patches())
        return result
      },
    },
  ]
}

/** With the clusters that EnvoyFilters add; one that is there already stays as it is. */
function withClusters(result: XdsResources, { clusters }: FilterPatches): XdsResources {
  for (const cluster of clusters) if (!result.clusters.has(cluster.name)) result.clusters.set(cluster.name, cluster)
  return result
}

const commonInputs = (snapshot: Snapshot, node: ProxyNode): unknown[] => [
  snapshot.view.mesh,
  sidecarFor(snapshot, node),
  ...snapshot.view.envoyFilters,
]

/** What a sidecar's way out is made of: what it imports, the rules for that, and the endpoints. */
function outboundInputs(place: Place): unknown[] | undefined {
  const { snapshot, scope } = place
  const { view } = snapshot
  // Who counts neither endpoints nor what selectors find is looked at anew.
  if (!view.endpointsVersion) return undefined
  const inputs = commonInputs(snapshot, place.node)
  for (const egress of scope.egress) {
    for (const service of egress.services) {
      if (service.object.spec?.workloadSelector) return undefined
      const rule = place.rule(service)
      if (rule && usesSecrets(rule)) return undefined
      inputs.push(service, rule, view.endpointsVersion(service.object))
    }
    for (const rule of egress.rules) inputs.push(rule.object, ...rule.http)
  }
  return inputs
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}

/** All resources of a proxy. */
export function translate(mesh: MeshView, node: ProxyNode): XdsResources {
  const result = emptyResources()
  for (const layer of layersOf(createSnapshot(mesh), node)) {
    const made = layer.make()
    for (const kind of Object.keys(result) as (keyof XdsResources)[])
      for (const [name, message] of made[kind]) result[kind].set(name, message)
  }
  return result
}
