// The namespace controller: empties a namespace that is going away, then lets it go.

import { isNotFound, type KubeObject, keyOf, type Resource, resources } from '#api'
import type { Log } from '#base'
import { Controller, type Informers, type ReconcileResult } from '#client'

export function namespaceController(informers: Informers, log: Log, served: () => Resource[]): Controller {
  const { client, clock } = informers
  const namespaces = informers.for(resources.namespaces)
  const controller = new Controller({ name: 'namespace', clock, log, workers: 2, reconcile })
  namespaces.on(({ object }) => {
    if (object.metadata.deletionTimestamp) controller.queue.add(keyOf(object))
  })
  return controller

  async function reconcile(name: string): Promise<ReconcileResult> {
    const namespace = namespaces.get(name)
    if (!namespace?.metadata.deletionTimestamp || !namespace.spec?.finalizers?.length) return
    const left: KubeObject[] = []
    for (const resource of served()) {
      if (!resource.namespaced) continue
      const { items } = await client.list(resource, { namespace: name })
      for (const object of items) {
        left.push(object)
        if (!object.metadata.deletionTimestamp) await remove(resource, object)
      }
    }
    // Events of the deletions themselves, and pods that take their time, need another look.
    if (left.length > 0) return { requeueAfter: 200 }
    try {
      await client.finalizeNamespace(namespace)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  async function remove(resource: Resource, object: KubeObject): Promise<void> {
    try {
      await client.delete(resource, object.metadata.namespace ?? '', object.metadata.name, {
        propagationPolicy: 'Background',
      })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
}
