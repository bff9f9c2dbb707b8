// Gateways that pass TLS between workloads on by the cluster that its name spells (Gateway, tls.mode AUTO_PASSTHROUGH):
// how the mesh crosses from network to network. Pure.

import type { Json } from '#api'
import type { Message } from '#wire'
import { covers } from '../model/host.ts'
import { sealedName, type XdsResources } from '../model/view.ts'
import { tcpChain } from './chains.ts'
import { addSealedCluster } from './clusters.ts'
import { chainMatch } from './l4-routes.ts'
import type { Place } from './place.ts'

/** The protocols by which workloads of the mesh know each other (Istio's, in ALPN). */
const BETWEEN_WORKLOADS = ['istio', 'istio-peer-exchange', 'istio-http/1.0', 'istio-http/1.1', 'istio-h2']

/** A chain for each port and subset of the services whose names `hosts` cover; adds their clusters. */
export function autoPassthroughChains(result: XdsResources, place: Place, hosts: readonly string[]): Message[] {
  const { mesh } = place.snapshot.view
  const chains: Message[] = []
  for (const service of place.scope.services) {
    if (service.external || service.resolution === 'alias' || !hosts.some((h) => covers(h, service.host))) continue
    const subsets = ['', ...((place.rule(service)?.subsets ?? []) as Json[]).map((s) => String(s.name))]
    for (const port of service.ports)
      for (const subset of subsets) {
        const name = sealedName(port.number, subset, service.host)
        addSealedCluster(result, place, service, port, subset)
        chains.push({
          ...tcpChain(mesh, name, place.policy(service, subset, port.number)),
          ...chainMatch(
            { subnets: [], sources: [], serverNames: [name] },
            { transport_protocol: 'tls', application_protocols: BETWEEN_WORKLOADS },
          ),
        })
      }
  }
  return chains
}
