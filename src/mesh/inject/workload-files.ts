// Objects of files with sidecars in their pods, for clusters where no webhook does it. Pure.

import type { Json } from '#api'
import { type InjectionConfig, injectSidecar } from './inject.ts'

/** Where a kind keeps the template of its pods. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  DeploymentConfig: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
  Pod: [],
}

/** An object with sidecars in its pods; one that has no pods, or refuses, as it is. The object is not changed. */
export function injectObject(object: Json, namespace: string, config: InjectionConfig): Json {
  if (object?.kind === 'List')
    return { ...object, items: (object.items ?? []).map((o: Json) => injectObject(o, namespace, config)) }
  const at = TEMPLATES[object?.kind ?? '']
  if (!at) return object
  const copy: Json = structuredClone(object)
  const pod: Json | undefined = at.reduce<Json | undefined>((part, key) => part?.[key], copy)
  if (!pod?.spec || pod.spec.hostNetwork) return object
  pod.metadata ??= {}
  const own = pod.metadata.labels?.['sidecar.istio.io/inject'] ?? pod.metadata.annotations?.['sidecar.istio.io/inject']
  if (own === 'false') return object
  // The workload is the object itself, which owns pods that are not there yet.
  const { ownerReferences, name, generateName } = pod.metadata
  if (object.kind !== 'Pod')
    pod.metadata.ownerReferences = [{ kind: object.kind, name: object.metadata?.name ?? '', controller: true }]
  injectSidecar(pod, object.metadata?.namespace ?? namespace, config)
  if (object.kind !== 'Pod') {
    if (ownerReferences) pod.metadata.ownerReferences = ownerReferences
    else delete pod.metadata.ownerReferences
    if (name === undefined) delete pod.metadata.name
    if (generateName === undefined) delete pod.metadata.generateName
  }
  return copy
}
