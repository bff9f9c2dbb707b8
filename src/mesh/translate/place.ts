// Where resources will stand: a proxy, what it imports of the mesh, and the rules it uses.

import type { Json } from '#api'
import { ruleFor } from '../model/destination-rule.ts'
import type { MeshPort, MeshService } from '../model/service.ts'
import { type Scope, scopeOf } from '../model/sidecar-scope.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { ProxyNode } from '../model/view.ts'
import { policyFor } from './traffic-policy.ts'

export interface Place {
  readonly snapshot: Snapshot
  readonly node: ProxyNode
  readonly scope: Scope
  /** The services imported, by host. */
  readonly byHost: ReadonlyMap<string, MeshService>
  /** The DestinationRule's spec that this proxy uses for a service. */
  rule(service: MeshService): Json | undefined
  /** The policy for a port of a service's subset. */
  policy(service: MeshService, subset: string, port: number): Json
}

export function placeOf(snapshot: Snapshot, node: ProxyNode): Place {
  const scope = scopeOf(snapshot, node)
  const rules = new Map<MeshService, Json | undefined>()
  const { mesh } = snapshot.view
  const rule = (service: MeshService) => {
    if (!rules.has(service))
      rules.set(
        service,
        ruleFor(
          snapshot.destinationRules,
          service.host,
          service.namespace,
          node,
          mesh.rootNamespace,
          mesh.defaultDestinationRuleExportTo,
        ),
      )
    return rules.get(service)
  }
  return {
    snapshot,
    node,
    scope,
    // The first of several counts.
    byHost: new Map([...scope.services].reverse().map((s) => [s.host, s])),
    rule,
    policy: (service, subset, port) => policyFor(rule(service), subset, port),
  }
}

/** The service a host stands for here: itself, or what it is an alias of. */
export function serviceOf(place: Place, host: string): MeshService | undefined {
  const service = place.byHost.get(host)
  return service?.aliasOf ? place.byHost.get(service.aliasOf) : service
}

/** The port of a service by its number. */
export const portOf = (service: MeshService, number: number): MeshPort | undefined =>
  service.ports.find((p) => p.number === number)
