// Serves what CustomResourceDefinitions define: keeps the registry in step with them.

import { type KindRegistry, type KubeObject, resources as R } from '#api'
import { type Log, messageOf, rfc3339 } from '#base'
import { establishedStatus, kindsOf } from './custom-resources.ts'
import { systemContext } from './identity.ts'
import type { Resources } from './resources.ts'

/** Watches CRDs from now on; those that exist are served when this resolves. */
export async function registerCustomResources(resources: Resources, log: Log): Promise<() => void> {
  const { registry } = resources
  const cache = await resources.store.cache(R.customResourceDefinitions)
  const serve = (crd: KubeObject) => {
    registry.remove(crd.spec.group, crd.spec.names.plural)
    for (const kind of kindsOf(crd)) registry.add(kind)
    const status = establishedStatus(crd, rfc3339(resources.clock.now()))
    if (status) void establish(resources, registry, crd, status, log)
  }
  for (const { object } of cache.entries()) serve(object)
  return cache.subscribe((event) => {
    const { object } = event.entry
    if (event.type === 'DELETED') registry.remove(object.spec.group, object.spec.names.plural)
    else if (JSON.stringify(event.previous?.object.spec) !== JSON.stringify(object.spec)) serve(object)
  })
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
