// Kinds whose objects are not stored but worked out when asked for: the usage of pods and nodes.

import type { ServerResponse } from 'node:http'
import { errors, groupVersion, type Json, type ResourceKind } from '#api'
import { sendJson } from './http-io.ts'
import { represent, tableOf, type Wanted } from './negotiate.ts'
import { selectionOf } from './read-verbs.ts'
import type { ResourceRequest } from './request-info.ts'

/** A kind and who works out its objects. */
export interface ComputedKind {
  readonly kind: ResourceKind
  objects(): Promise<readonly Json[]>
}

const metricsKind = (plural: string, kind: string, namespaced: boolean): ResourceKind => ({
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  kind,
  plural,
  singular: '',
  namespaced,
  verbs: ['get', 'list'],
  subresources: [],
  shortNames: [],
  categories: [],
  storageVersion: 'v1beta1',
  // Described to clients as an open object, as a custom kind without a schema is.
  custom: { schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } },
})

/** metrics.k8s.io, which kubectl top reads. */
export function metricsKinds(usage: { pods(): Promise<Json[]>; nodes(): Promise<Json[]> }): ComputedKind[] {
  return [
    { kind: metricsKind('pods', 'PodMetrics', true), objects: () => usage.pods() },
    { kind: metricsKind('nodes', 'NodeMetrics', false), objects: () => usage.nodes() },
  ]
}

/** GET and LIST of a computed kind. */
export async function computedVerb(
  { kind, objects }: ComputedKind,
  request: ResourceRequest,
  wanted: Wanted,
  now: number,
  response: ServerResponse,
): Promise<void> {
  if (!kind.verbs.includes(request.verb)) throw errors.methodNotAllowed('')
  const { namespace, name, labels } = selectionOf(request)
  const found = (await objects()).filter(
    (o) =>
      (!namespace || o.metadata.namespace === namespace) &&
      (!name || o.metadata.name === name) &&
      (!labels || labels(o.metadata.labels)),
  )
  if (request.verb === 'get') {
    if (!found[0]) throw errors.notFound(kind, name)
    return sendJson(response, 200, represent(kind, found[0], wanted, now))
  }
  if (wanted.representation === 'table')
    return sendJson(response, 200, tableOf(kind, found, {}, { now, includeObject: wanted.includeObject }))
  sendJson(response, 200, { kind: `${kind.kind}List`, apiVersion: groupVersion(kind), metadata: {}, items: found })
}
