// What a Gateway's parametersRef, and that of its class, say of the objects it is given: ConfigMaps with patches. Pure
// (istio.io, "Kubernetes Gateway API", automated deployment).

import { createHash } from 'node:crypto'
import { parse } from 'yaml'
import { type Json, type KubeInput, type KubeObject, strategicMerge } from '#api'
import { messageOf } from '#base'

/** The keys a ConfigMap may have, and the models of what they patch. */
const MODELS = {
  serviceAccount: 'io.k8s.api.core.v1.ServiceAccount',
  service: 'io.k8s.api.core.v1.Service',
  deployment: 'io.k8s.api.apps.v1.Deployment',
  horizontalPodAutoscaler: 'io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler',
  podDisruptionBudget: 'io.k8s.api.policy.v1.PodDisruptionBudget',
} as const

/** A part of what a Gateway is given. */
export type Part = keyof typeof MODELS

/** Marks objects with what they were patched by: they are made anew when that is another. */
export const PARAMETERS = 'gateway.istio.io/parameters'

/** Patches of a Gateway's objects; those of its class come first. */
export interface Parameters {
  readonly patches: Readonly<Partial<Record<Part, readonly Json[]>>>
  /** Why the Gateway's own reference is not followed. */
  readonly problem?: string
}

/** The patches of a Gateway. `configMap` finds one by namespace and name. */
export function parametersOf(
  gateway: KubeObject,
  gatewayClass: KubeObject | undefined,
  configMap: (namespace: string, name: string) => KubeObject | undefined,
): Parameters {
  const patches: Partial<Record<Part, Json[]>> = {}
  const read = (ref: Json, namespace: string): string | undefined => {
    if (ref.group !== '' || ref.kind !== 'ConfigMap')
      return `Unsupported parametersRef group/kind ${ref.group}/${ref.kind}, only ConfigMap is supported`
    const map = configMap(namespace, ref.name)
    if (!map) return `parametersRef ConfigMap ${namespace}/${ref.name} does not exist`
    const here: [Part, Json][] = []
    for (const part of Object.keys(MODELS) as Part[]) {
      const text = map.data?.[part]
      if (text === undefined) continue
      try {
        const patch: unknown = parse(text)
        if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) throw new TypeError('not an object')
        here.push([part, patch as Json])
      } catch (error) {
        return `parametersRef ConfigMap ${namespace}/${ref.name}, key ${part}: ${messageOf(error)}`
      }
    }
    for (const [part, patch] of here) (patches[part] ??= []).push(patch)
    return undefined
  }
  const ofClass: Json | undefined = gatewayClass?.spec?.parametersRef
  if (ofClass) read(ofClass, ofClass.namespace ?? '')
  const own: Json | undefined = gateway.spec?.infrastructure?.parametersRef
  const problem = own && read(own, gateway.metadata.namespace ?? '')
  return problem ? { patches, problem } : { patches }
}

/** An object with its patches, and marked with them; what it is, and whose, they do not change. */
export function patched(part: Part, object: KubeInput, { patches }: Parameters): KubeInput {
  const all = patches[part] ?? []
  if (all.length === 0) return object
  const { name, namespace, ownerReferences } = object.metadata
  const made = all.reduce((o: Json, patch) => strategicMerge(o, patch, MODELS[part]), object) as KubeInput
  const mark = createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 16)
  const annotations = { ...made.metadata.annotations, [PARAMETERS]: mark }
  return {
    ...made,
    metadata: { ...made.metadata, name, namespace, ownerReferences, annotations } as KubeInput['metadata'],
  }
}
