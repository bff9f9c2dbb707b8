// Whether workloads have a sidecar, by what their objects and namespaces say. Pure (istio: analyzers/util/in_mesh.go).

import type { Json, KubeObject } from '#api'
import type { World } from './world.ts'

const INJECT = 'sidecar.istio.io/inject'

/** Whether a pod, or what a template makes in a namespace, has a sidecar: one it brings, or one that labels ask for. */
export function inMesh(world: World, namespace: string | undefined, { metadata, spec }: Json): boolean {
  const containers: Json[] = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]
  if (containers.some((c) => c.name === 'istio-proxy' && c.image)) return true
  const own = metadata?.labels?.[INJECT] ?? metadata?.annotations?.[INJECT]
  if (own !== undefined) return own === 'true'
  return world.namespaceLabels(namespace)['istio-injection'] === 'enabled'
}

/** Whether a pod is served by its node instead of a sidecar. */
export const isAmbient = (pod: KubeObject): boolean =>
  pod.metadata.annotations?.['ambient.istio.io/redirection'] === 'enabled'

/** Whether pods of a namespace are. */
export function isAmbientNamespace(world: World, name: string | undefined): boolean {
  const labels = world.namespaceLabels(name)
  return (
    labels['istio-injection'] !== 'enabled' &&
    !labels['istio.io/rev'] &&
    labels['istio.io/dataplane-mode'] === 'ambient'
  )
}
