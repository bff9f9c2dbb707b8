// Counts, for each Service, how often its endpoints or the pods behind them have changed.

import { isPodReady, type KubeObject, keyOf, type Resource, resources, sameJson } from '#api'
import type { Informers } from '#client'
import { isHealthy } from './model/workload-entry.ts'

const SERVICE = 'kubernetes.io/service-name'

export class EndpointVersions {
  readonly #versions = new Map<string, number>()
  /** Of what concerns all of them. */
  #all = 0

  /** What is another whenever endpoints of the Service "namespace/name" are others. */
  of(service: string): string {
    return `${this.#all} ${this.#versions.get(service) ?? 0}`
  }

  #bump(service: string): void {
    this.#versions.set(service, (this.#versions.get(service) ?? 0) + 1)
  }

  /** Follows slices, pods, nodes and WorkloadEntries. `changed` is called when a pod's change is one. */
  follow(informers: Informers, changed: () => void): void {
    const slices = informers.for(resources.endpointSlices)
    const serviceOf = (slice: KubeObject) => `${slice.metadata.namespace}/${slice.metadata.labels?.[SERVICE] ?? ''}`
    slices.on(({ object }) => this.#bump(serviceOf(object)))
    informers.for(resources.services).on(({ type, object }) => {
      if (type === 'deleted') this.#versions.delete(keyOf(object))
    })
    for (const resource of [resources.workloadEntries, resources.nodes] satisfies Resource[])
      informers.for(resource).on(({ type, object, old }) => {
        const same =
          type === 'updated' &&
          old &&
          sameJson(object.metadata.labels, old.metadata.labels) &&
          sameJson(object.spec, old.spec) &&
          isHealthy(object) === isHealthy(old)
        if (same) return
        this.#all++
        changed()
      })
    informers.for(resources.pods).on(({ type, object, old }) => {
      const same =
        type === 'updated' &&
        old &&
        sameJson(object.metadata.labels, old.metadata.labels) &&
        object.status?.podIP === old.status?.podIP &&
        isPodReady(object) === isPodReady(old)
      if (same) return
      for (const ip of new Set([object.status?.podIP, old?.status?.podIP]))
        if (ip) for (const slice of slices.byIndex('address', ip)) this.#bump(serviceOf(slice))
      changed()
    })
  }
}
