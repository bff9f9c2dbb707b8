// Translation: the cluster's objects into the xDS resources of one proxy. Pure.
// Names and shapes follow Istio's (pilot/pkg/networking), so that its tools and habits fit.

import { translateGateway } from './gateway.ts'
import { translateSidecar } from './sidecar.ts'
import type { MeshView, ProxyNode, XdsResources } from './view.ts'

/** All resources of a proxy. */
export function translate(view: MeshView, node: ProxyNode): XdsResources {
  return node.role === 'router' ? translateGateway(view, node) : translateSidecar(view, node)
}
