// Admission: objects are created only in namespaces that exist and are not going away.

import { errors, resources } from '#api'
import type { Admission } from './identity.ts'
import type { WatchCache } from './watch-cache.ts'

export function namespaceLifecycle(namespaces: WatchCache): Admission {
  return {
    name: 'NamespaceLifecycle',
    mutate({ kind, operation, namespace, object }) {
      if (operation !== 'CREATE' || !kind.namespaced) return
      const found = namespaces.entry(namespace)
      if (!found) throw errors.notFound(resources.namespaces, namespace)
      if (found.object.metadata.deletionTimestamp && object.kind !== 'Event')
        throw errors.forbidden(
          kind,
          object.metadata.name,
          `unable to create new content in namespace ${namespace} because it is being terminated`,
        )
    },
  }
}
