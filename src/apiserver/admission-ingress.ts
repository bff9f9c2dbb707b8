// Admission of Ingresses: the default class for those that name none.

import { groupResource } from '#api'
import type { Admission } from './identity.ts'
import type { WatchCache } from './watch-cache.ts'

const DEFAULT = 'ingressclass.kubernetes.io/is-default-class'
const OLD_CLASS = 'kubernetes.io/ingress.class'

export function ingressAdmission(classes: WatchCache): Admission {
  return {
    name: 'DefaultIngressClass',
    mutate({ kind, operation, subresource, object }) {
      if (groupResource(kind) !== 'ingresses.networking.k8s.io' || operation !== 'CREATE' || subresource) return
      if (object.spec?.ingressClassName || object.metadata.annotations?.[OLD_CLASS]) return
      // The newest of several, as upstream chooses.
      const [first] = classes
        .entries()
        .map((e) => e.object)
        .filter((c) => c.metadata.annotations?.[DEFAULT] === 'true')
        .sort((a, b) => b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp))
      if (first) (object.spec ??= {}).ingressClassName = first.metadata.name
    },
  }
}
