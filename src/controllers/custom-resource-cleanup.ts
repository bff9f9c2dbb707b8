// Empties a CustomResourceDefinition that is going away: its objects go before it does.

import { isNotFound, type KubeObject, keyOf, type Resource, resources } from '#api'
import type { Log } from '#base'
import { Controller, type Informers, type ReconcileResult } from '#client'

/** Upstream's own finalizer: what holds a definition until its objects are gone. */
const FINALIZER = 'customresourcecleanup.apiextensions.k8s.io'

export function customResourceCleanupController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const definitions = informers.for(resources.customResourceDefinitions)
  const controller = new Controller({ name: 'custom-resource-cleanup', clock, log, workers: 2, reconcile })
  definitions.on(({ object }) => controller.queue.add(keyOf(object)))
  return controller

  async function reconcile(name: string): Promise<ReconcileResult> {
    const definition = definitions.get(name)
    if (!definition) return
    const finalizers: string[] = definition.metadata.finalizers ?? []
    if (!definition.metadata.deletionTimestamp) {
      if (!finalizers.includes(FINALIZER)) await setFinalizers(definition, [...finalizers, FINALIZER])
      return
    }
    if (!finalizers.includes(FINALIZER)) return
    const resource = resourceOf(definition)
    const { items } = await client.list(resource)
    for (const object of items)
      if (!object.metadata.deletionTimestamp)
        await client.delete(resource, object.metadata.namespace ?? '', object.metadata.name).catch((error) => {
          if (!isNotFound(error)) throw error
        })
    // Objects may have finalizers of their own.
    if (items.length > 0) return { requeueAfter: 200 }
    await setFinalizers(
      definition,
      finalizers.filter((f) => f !== FINALIZER),
    )
  }

  async function setFinalizers(definition: KubeObject, finalizers: string[]): Promise<void> {
    const metadata = { ...definition.metadata, finalizers }
    await client.update(resources.customResourceDefinitions, { ...definition, metadata })
  }
}

/** The resource a definition defines, in the version it is stored in. */
function resourceOf(definition: KubeObject): Resource {
  const { group, names, scope, versions } = definition.spec
  const version = (versions as { name: string; storage: boolean }[]).find((v) => v.storage)?.name ?? versions[0].name
  return { group, version, plural: names.plural, kind: names.kind, namespaced: scope === 'Namespaced' }
}
