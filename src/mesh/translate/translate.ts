// Translation: the mesh at one moment into the xDS resources of one proxy. Pure.
// Names and shapes follow Istio's (pilot/pkg/networking), so that its tools and habits fit.

import { createSnapshot, type Snapshot } from '../model/snapshot.ts'
import { emptyResources, type MeshView, type ProxyNode, type XdsResources } from '../model/view.ts'
import { filterPatches } from './envoy-filter.ts'
import { translateGateway } from './gateway.ts'
import { translateGrpc } from './grpc.ts'
import { addInbound } from './inbound.ts'
import { addOutbound } from './outbound.ts'
import { placeOf } from './place.ts'

/** A part of a proxy's resources that all proxies with the same key have in common. */
export interface Layer {
  readonly key: string
  make(): XdsResources
}

/** The parts a proxy's resources are made of. */
export function layersOf(snapshot: Snapshot, node: ProxyNode): Layer[] {
  const place = once(() => placeOf(snapshot, node))
  const patches = once(() => filterPatches(snapshot, node))
  const { namespace, labels, locality, ports, readsSecrets } = node
  const all = Object.keys(labels)
    .sort()
    .map((k) => [k, labels[k]])
  if (node.role === 'router')
    return [
      {
        key: JSON.stringify(['router', namespace, all, locality, readsSecrets, node.servesIngresses]),
        make: () => translateGateway(place(), patches()),
      },
    ]
  if (node.generator === 'grpc')
    return [
      {
        key: JSON.stringify(['grpc', namespace, all, ports, node.ip]),
        make: () => translateGrpc(place()),
      },
    ]
  const relevant = snapshot.labelKeys.map((k) => labels[k] ?? null)
  // Only a Sidecar may send what arrives to the workload's own address.
  const ip = snapshot.view.sidecars.length > 0 ? node.ip : ''
  return [
    {
      key: JSON.stringify(['outbound', namespace, relevant, locality, readsSecrets]),
      make: () => {
        const result = emptyResources()
        addOutbound(result, place(), patches())
        return result
      },
    },
    {
      key: JSON.stringify(['inbound', namespace, all, ports, ip]),
      make: () => {
        const result = emptyResources()
        addInbound(result, place(), patches())
        return result
      },
    },
  ]
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
