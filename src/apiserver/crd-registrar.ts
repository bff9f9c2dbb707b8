// Serves what CustomResourceDefinitions define: keeps the registry in step with them.

import { type KindRegistry, type KubeObject, resources as R, sameJson } from '#api'
import { type Log, messageOf, rfc3339 } from '#base'
import { definitionStatus, isEstablished, kindsOf } from './custom-resources.ts'
import { systemContext } from './identity.ts'
import type { Resources } from './resources.ts'
import type { CacheEvent } from './watch-cache.ts'

/** Watches CRDs from now on; those that exist are served when this resolves. */
export async function registerCustomResources(resources: Resources, log: Log): Promise<() => void> {
  const { registry } = resources
  const cache = await resources.store.cache(R.customResourceDefinitions)
  const all = () => cache.entries().map((e) => e.object)
  /** Serves a definition whose names are its own, and brings its status up to date. */
  const look = (crd: KubeObject) => {
    const status = definitionStatus(crd, all(), rfc3339(resources.clock.now()))
    if (status) void establish(resources, registry, crd, status, log)
    return isEstablished(status ? { ...crd, status } : crd)
  }
  const serve = (crd: KubeObject) => {
    const established = look(crd)
    registry.remove(crd.spec.group, crd.spec.names.plural)
    if (established) for (const kind of kindsOf(crd)) registry.add(kind)
  }
  for (const object of all()) serve(object)
  const onChange = (event: CacheEvent) => {
    const { object } = event.entry
    if (event.type === 'DELETED') {
      registry.remove(object.spec.group, object.spec.names.plural)
      // A name that was taken may be free now.
      for (const other of all()) if (other.spec.group === object.spec.group) serve(other)
      return
    }
    const before = event.previous?.object
    if (!before || !sameJson(before.spec, object.spec) || isEstablished(before) !== isEstablished(object)) serve(object)
    else look(object)
  }
  return cache.subscribe({}, ({ events }) => events.forEach(onChange))
}

async function establish(
  resources: Resources,
  registry: KindRegistry,
  crd: KubeObject,
  status: object,
  log: Log,
): Promise<void> {
  const kind = registry.resource('apiextensions.k8s.io', 'v1', 'customresourcedefinitions')!
  try {
    await resources.modify(
      kind,
      '',
      crd.metadata.name,
      systemContext(),
      (current) => ({ ...current, status }),
      'status',
    )
  } catch (error) {
    log.warn('custom resource not established', { crd: crd.metadata.name, error: messageOf(error) })
  }
}
