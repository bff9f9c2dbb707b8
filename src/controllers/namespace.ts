// The namespace controller: empties a namespace that is going away, then lets it go.

import {
  condition,
  isConflict,
  isNotFound,
  type Json,
  type KubeObject,
  keyOf,
  type Resource,
  resources,
  sameJson,
} from '#api'
import { type Log, rfc3339 } from '#base'
import { Controller, type Informers, type ReconcileResult } from '#client'

interface Content {
  readonly resource: Resource
  readonly object: KubeObject
}

/** The conditions of a namespace that is going away, in upstream's words. Pure. */
export function deletionConditions(namespace: KubeObject, left: readonly Content[], now: string): Json[] {
  const resourceName = ({ resource }: Content) =>
    resource.group ? `${resource.plural}.${resource.group}` : `${resource.plural}.`
  const count = (names: readonly string[]) =>
    [...Map.groupBy(names, (n) => n)].map(([n, all]) => [n, all.length] as const)
  const remaining = count(left.map(resourceName)).map(([n, k]) => `${n} has ${k} resource instances`)
  const finalizers = count(left.flatMap(({ object }) => object.metadata.finalizers ?? [])).map(
    ([n, k]) => `${n} in ${k} resource instances`,
  )
  const make = (type: string, on: boolean, reason: string, message: string): Json => {
    const before = condition(namespace, type)
    const status = on ? 'True' : 'False'
    return {
      type,
      status,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
      reason,
      message,
    }
  }
  return [
    make('NamespaceDeletionDiscoveryFailure', false, 'ResourcesDiscovered', 'All resources successfully discovered'),
    make(
      'NamespaceDeletionGroupVersionParsingFailure',
      false,
      'ParsedGroupVersions',
      'All legacy kube types successfully parsed',
    ),
    make(
      'NamespaceDeletionContentFailure',
      false,
      'ContentDeleted',
      'All content successfully deleted, may be waiting on finalization',
    ),
    remaining.length > 0
      ? make(
          'NamespaceContentRemaining',
          true,
          'SomeResourcesRemain',
          `Some resources are remaining: ${remaining.join(', ')}`,
        )
      : make('NamespaceContentRemaining', false, 'ContentRemoved', 'All content successfully removed'),
    finalizers.length > 0
      ? make(
          'NamespaceFinalizersRemaining',
          true,
          'SomeFinalizersRemain',
          `Some content in the namespace has finalizers remaining: ${finalizers.join(', ')}`,
        )
      : make(
          'NamespaceFinalizersRemaining',
          false,
          'ContentHasNoFinalizers',
          'All content-preserving finalizers finished',
        ),
  ]
}

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
    const found = await contents(name)
    // Pods first: what they need stays while they end (KEP-5080).
    const pods = found.filter(({ resource }) => resource.plural === 'pods' && resource.group === '')
    for (const { resource, object } of pods.length > 0 ? pods : found)
      if (!object.metadata.deletionTimestamp) await remove(resource, object)
    const left = found.length > 0 ? await contents(name) : []
    await report(namespace, left)
    // Events of the deletions themselves, and pods that take their time, need another look.
    if (left.length > 0) return { requeueAfter: 200 }
    try {
      await client.finalizeNamespace(namespace)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  async function contents(name: string): Promise<Content[]> {
    const found: Content[] = []
    for (const resource of served()) {
      if (!resource.namespaced) continue
      const { items } = await client.list(resource, { namespace: name })
      for (const object of items) found.push({ resource, object })
    }
    return found
  }

  /** Says in the namespace's conditions what is left in it. */
  async function report(namespace: KubeObject, left: readonly Content[]): Promise<void> {
    const conditions = deletionConditions(namespace, left, rfc3339(clock.now()))
    if (sameJson(conditions, namespace.status?.conditions)) return
    const status = { ...namespace.status, phase: 'Terminating', conditions }
    try {
      await client.updateStatus(resources.namespaces, { ...namespace, status })
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error
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
