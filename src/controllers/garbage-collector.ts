// The garbage collector: objects go when their last owner is gone; foreground and orphan deletion.

import { isNotFound, type KubeObject, keyOf, type OwnerReference, type Resource, sameJson, splitKey } from '#api'
import type { Log } from '#base'
import { type Change, Controller, type Informer, type Informers } from '#client'

const FOREGROUND = 'foregroundDeletion'
const ORPHAN = 'orphan'
/** Resources nobody owns and that change all the time. */
const IGNORED = new Set(['events', 'leases', 'bindings', 'componentstatuses'])

export interface GarbageCollectorOptions {
  informers: Informers
  log: Log
  /** Everything that can be listed and deleted, as served now. */
  served: () => Resource[]
}

/** Keys are "group/plural|namespace/name" of an object that may have to go, or whose dependents must. */
export function garbageCollector({
  informers,
  log,
  served,
}: GarbageCollectorOptions): Controller & { refresh(): void } {
  const { client, clock } = informers
  const watched = new Map<string, { resource: Resource; informer: Informer }>()
  const controller = new Controller({ name: 'garbage-collector', clock, log, workers: 8, reconcile })

  const refresh = () => {
    for (const resource of served()) {
      const name = `${resource.group}/${resource.plural}`
      if (watched.has(name) || IGNORED.has(resource.plural)) continue
      const informer = informers.for(resource)
      informer.addIndex('ownerUid', (o) => (o.metadata.ownerReferences ?? []).map((r) => r.uid))
      watched.set(name, { resource, informer })
      informer.on((change) => onChange(name, change))
    }
  }
  refresh()
  return Object.assign(controller, { refresh })

  function onChange(name: string, { type, object, old }: Change): void {
    if (type === 'deleted') {
      for (const { name: child, object: dependent } of dependentsOf(object.metadata.uid))
        controller.queue.add(`${child}|${keyOf(dependent)}`)
      // An owner that waits for its dependents may go on.
      for (const owner of object.metadata.ownerReferences ?? []) {
        const found = locate(owner, object.metadata.namespace)
        if (found?.object?.metadata.finalizers?.includes(FOREGROUND)) controller.queue.add(found.key)
      }
      return
    }
    // A reference that no longer blocks, or is gone, lets its owner go on.
    if (old && !sameJson(old.metadata.ownerReferences, object.metadata.ownerReferences))
      for (const owner of old.metadata.ownerReferences ?? []) {
        const found = locate(owner, object.metadata.namespace)
        if (found?.object?.metadata.finalizers?.includes(FOREGROUND)) controller.queue.add(found.key)
      }
    const waits =
      object.metadata.deletionTimestamp && object.metadata.finalizers?.some((f) => f === FOREGROUND || f === ORPHAN)
    if (waits || object.metadata.ownerReferences?.length) controller.queue.add(`${name}|${keyOf(object)}`)
  }

  function dependentsOf(uid: string): { name: string; resource: Resource; object: KubeObject }[] {
    const result = []
    for (const [name, { resource, informer }] of watched)
      for (const object of informer.byIndex('ownerUid', uid)) result.push({ name, resource, object })
    return result
  }

  /** Finds an owner among what is watched; `object` is undefined when it does not exist. */
  function locate(
    owner: OwnerReference,
    namespace: string | undefined,
  ): { key: string; object: KubeObject | undefined } | undefined {
    const slash = owner.apiVersion.indexOf('/')
    const group = slash < 0 ? '' : owner.apiVersion.slice(0, slash)
    for (const [name, { resource, informer }] of watched) {
      if (resource.group !== group || resource.kind !== owner.kind) continue
      const key = resource.namespaced ? `${namespace}/${owner.name}` : owner.name
      const object = informer.get(key)
      return { key: `${name}|${key}`, object: object?.metadata.uid === owner.uid ? object : undefined }
    }
    return undefined
  }

  async function reconcile(key: string): Promise<void> {
    const bar = key.indexOf('|')
    const entry = watched.get(key.slice(0, bar))
    const object = entry?.informer.get(key.slice(bar + 1))
    if (!entry || !object) return
    await entry.informer.synced()
    if (object.metadata.deletionTimestamp) {
      if (object.metadata.finalizers?.includes(ORPHAN)) return orphanDependents(entry.resource, object)
      if (object.metadata.finalizers?.includes(FOREGROUND)) return deleteForeground(entry.resource, object)
      return
    }
    const owners = object.metadata.ownerReferences ?? []
    if (owners.length === 0) return
    const states = await Promise.all(owners.map((owner) => ownerState(owner, object.metadata.namespace)))
    const kept = owners.filter((_, i) => states[i] === 'present')
    if (kept.length > 0) {
      // Owned by somebody still: what is gone or going is no owner any more.
      if (kept.length < owners.length) await setOwners(entry.resource, object, kept)
      return
    }
    const waiting = states.some((s) => s === 'waiting')
    const policy = waiting ? ('Foreground' as const) : ('Background' as const)
    // Objects that own each other in a circle would wait for each other for ever.
    if (waiting && dependentsOf(object.metadata.uid).some((d) => isWaiting(d.object)))
      await setOwners(
        entry.resource,
        object,
        owners.map((o) => ({ ...o, blockOwnerDeletion: false })),
      )
    await ignoreMissing(
      client.delete(entry.resource, object.metadata.namespace ?? '', object.metadata.name, {
        uid: object.metadata.uid,
        propagationPolicy: object.metadata.finalizers?.includes(ORPHAN) ? 'Orphan' : policy,
      }),
    )
  }

  /** Whether an owner is there, is waiting for its dependents to go, or is gone (asked of the server). */
  async function ownerState(
    owner: OwnerReference,
    namespace: string | undefined,
  ): Promise<'present' | 'waiting' | 'absent'> {
    const found = locate(owner, namespace)
    // An owner of a kind nobody serves cannot be judged: the object stays.
    if (!found) return 'present'
    let object = found.object
    if (!object) {
      const { resource } = watched.get(found.key.slice(0, found.key.indexOf('|')))!
      try {
        const live = await client.get(
          resource,
          splitKey(found.key.slice(found.key.indexOf('|') + 1)).namespace,
          owner.name,
        )
        if (live.metadata.uid === owner.uid) object = live
      } catch (error) {
        if (!isNotFound(error)) throw error
      }
    }
    if (!object) return 'absent'
    return isWaiting(object) ? 'waiting' : 'present'
  }

  async function deleteForeground(resource: Resource, owner: KubeObject): Promise<void> {
    const dependents = dependentsOf(owner.metadata.uid)
    const blocking = dependents.filter(({ object }) =>
      object.metadata.ownerReferences?.some((r) => r.uid === owner.metadata.uid && r.blockOwnerDeletion),
    )
    // Each dependent decides by all of its owners.
    for (const { name, object } of dependents)
      if (!object.metadata.deletionTimestamp) controller.queue.add(`${name}|${keyOf(object)}`)
    if (blocking.length === 0) await removeFinalizer(resource, owner, FOREGROUND)
  }

  async function setOwners(resource: Resource, object: KubeObject, owners: readonly OwnerReference[]): Promise<void> {
    const { namespace = '', name, uid, resourceVersion } = object.metadata
    // As one piece: a strategic merge would keep what is left out.
    const metadata = { uid, resourceVersion, ownerReferences: [...owners] }
    await ignoreMissing(client.patch(resource, namespace, name, { metadata }, 'merge'))
  }

  async function orphanDependents(resource: Resource, owner: KubeObject): Promise<void> {
    for (const { resource: r, object } of dependentsOf(owner.metadata.uid))
      await ignoreMissing(
        client.patch(r, object.metadata.namespace ?? '', object.metadata.name, {
          metadata: {
            uid: object.metadata.uid,
            ownerReferences: (object.metadata.ownerReferences ?? []).filter((o) => o.uid !== owner.metadata.uid),
          },
        }),
      )
    await removeFinalizer(resource, owner, ORPHAN)
  }

  async function removeFinalizer(resource: Resource, object: KubeObject, finalizer: string): Promise<void> {
    const finalizers = (object.metadata.finalizers ?? []).filter((f) => f !== finalizer)
    await ignoreMissing(
      client.patch(resource, object.metadata.namespace ?? '', object.metadata.name, {
        metadata: {
          uid: object.metadata.uid,
          resourceVersion: object.metadata.resourceVersion,
          finalizers: finalizers.length > 0 ? finalizers : null,
        },
      }),
    )
  }
}

/** An object that waits for its dependents to go. */
function isWaiting(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined && object.metadata.finalizers?.includes(FOREGROUND) === true
}

async function ignoreMissing(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
}
