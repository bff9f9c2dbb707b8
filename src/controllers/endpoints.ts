// The endpoints controller: EndpointSlices, and the older Endpoints, of every Service with a selector.

import { isNotFound, type Json, type KubeObject, keyOf, mapSelector, resources, sameJson, splitKey } from '#api'
import type { Log } from '#base'
import { Controller, type Informers } from '#client'
import { MANAGED_BY, MANAGER, planSlices, planSubsets } from './endpoints-plan.ts'

export function endpointsController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const services = informers.for(resources.services)
  const pods = informers.for(resources.pods)
  const slices = informers.for(resources.endpointSlices)
  const endpoints = informers.for(resources.endpoints)
  pods.addIndex('namespace', (o) => [o.metadata.namespace ?? ''])
  slices.addIndex('service', (o) => [
    `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
  ])

  const controller = new Controller({ name: 'endpoints', clock, log, workers: 8, reconcile })
  services.on(({ object }) => controller.queue.add(keyOf(object)))
  slices.on(({ type, object }) => {
    // Somebody else's change of a slice is undone.
    if (type !== 'added')
      controller.queue.add(
        `${object.metadata.namespace}/${object.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
      )
  })
  pods.on(({ type, object, old }) => {
    if (type === 'updated' && old && !endpointFieldsChanged(object, old)) return
    for (const service of services.list(object.metadata.namespace)) {
      const matches = mapSelector(service.spec.selector)
      if (matches(object.metadata.labels) || (old && matches(old.metadata.labels))) controller.queue.add(keyOf(service))
    }
  })
  return controller

  async function reconcile(key: string): Promise<void> {
    const service = services.get(key)
    const { namespace, name } = splitKey(key)
    if (!service) {
      for (const slice of slices.byIndex('service', key))
        if (slice.metadata.labels?.[MANAGED_BY] === MANAGER) await remove(resources.endpointSlices, slice)
      const old = endpoints.get(key)
      if (old?.metadata.annotations?.['endpoints.kubernetes.io/last-change-trigger-time'] !== undefined)
        await remove(resources.endpoints, old)
      return
    }
    if (!Object.keys(service.spec.selector ?? {}).length || service.spec.type === 'ExternalName') return
    const inNamespace = pods.byIndex('namespace', namespace)
    const existing = slices.byIndex('service', key).filter((s) => s.metadata.labels?.[MANAGED_BY] === MANAGER)
    const wanted = planSlices(service, inNamespace)
    for (const slice of wanted) {
      const current = existing.find((s) => s.metadata.name === slice.metadata.name)
      if (!current) await client.create(resources.endpointSlices, slice as never)
      else if (
        !sameJson(current.endpoints, slice.endpoints) ||
        !sameJson(current.ports, slice.ports) ||
        !sameJson(current.metadata.labels, slice.metadata.labels)
      )
        await client.update(resources.endpointSlices, {
          ...current,
          metadata: { ...current.metadata, labels: slice.metadata.labels },
          endpoints: slice.endpoints,
          ports: slice.ports,
        })
    }
    for (const slice of existing)
      if (!wanted.some((w) => w.metadata.name === slice.metadata.name)) await remove(resources.endpointSlices, slice)
    await writeEndpoints(service, name, namespace, planSubsets(service, inNamespace))
  }

  async function writeEndpoints(service: KubeObject, name: string, namespace: string, subsets: Json[]): Promise<void> {
    const current = endpoints.get(`${namespace}/${name}`)
    const labels = {
      ...service.metadata.labels,
      'endpoints.kubernetes.io/managed-by': 'endpoint-controller',
      ...(service.spec.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
    }
    const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': service.metadata.creationTimestamp }
    if (!current)
      await client.create(resources.endpoints, {
        metadata: { name, namespace, labels, annotations },
        ...(subsets.length > 0 ? { subsets } : {}),
      })
    else if (!sameJson(current.subsets ?? [], subsets) || !sameJson(current.metadata.labels, labels)) {
      const { subsets: _, ...rest } = current
      await client.update(resources.endpoints, {
        ...rest,
        metadata: { ...current.metadata, labels },
        ...(subsets.length > 0 ? { subsets } : {}),
      })
    }
  }

  async function remove(
    resource: typeof resources.endpoints | typeof resources.endpointSlices,
    object: KubeObject,
  ): Promise<void> {
    try {
      await client.delete(resource, object.metadata.namespace ?? '', object.metadata.name, { uid: object.metadata.uid })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
}

function endpointFieldsChanged(a: KubeObject, b: KubeObject): boolean {
  return (
    a.status?.podIP !== b.status?.podIP ||
    a.metadata.deletionTimestamp !== b.metadata.deletionTimestamp ||
    a.metadata.uid !== b.metadata.uid ||
    a.status?.phase !== b.status?.phase ||
    !sameJson(a.metadata.labels, b.metadata.labels) ||
    readiness(a) !== readiness(b)
  )
}

const readiness = (pod: KubeObject) => pod.status?.conditions?.find((c: Json) => c.type === 'Ready')?.status
