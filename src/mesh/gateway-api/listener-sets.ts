// ListenerSets: listeners that others add to a Gateway, and whether it lets them (gateway-api, GEP-1713). Pure.

import { type KubeObject, keyOf } from '#api'
import { type GatewayApiView, GROUP, letsIn } from './view.ts'

const namespaceOf = (o: KubeObject) => o.metadata.namespace ?? ''

/** The Gateway that a ListenerSet is for, "namespace/name"; undefined where it names something else. */
export function parentOf(set: KubeObject): string | undefined {
  const { group = GROUP, kind = 'Gateway', name, namespace = namespaceOf(set) } = set.spec?.parentRef ?? {}
  return group === GROUP && kind === 'Gateway' ? `${namespace}/${name}` : undefined
}

/** Whether a Gateway takes listeners of a namespace; it takes nobody's unless it says so. */
export const allowsListeners = (view: GatewayApiView, gateway: KubeObject, namespace: string): boolean =>
  letsIn(view, gateway.spec?.allowedListeners?.namespaces ?? {}, 'None', gateway, namespace)

/** The ListenerSets that a Gateway lets in, in the order in which their listeners count: the oldest first. */
export function listenerSetsOf(view: GatewayApiView, gateway: KubeObject): KubeObject[] {
  return view.listenerSets
    .filter((set) => parentOf(set) === keyOf(gateway) && allowsListeners(view, gateway, namespaceOf(set)))
    .sort(
      (a, b) =>
        a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp) || keyOf(a).localeCompare(keyOf(b)),
    )
}
