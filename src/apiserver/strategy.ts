// What the server itself decides about an object being written: metadata, generation, who owns status.

import { randomUUID } from 'node:crypto'
import {
  checkAnnotations,
  checkLabels,
  checkName,
  checkQualifiedName,
  checkSubdomain,
  errors,
  type FieldError,
  field,
  groupResource,
  groupVersion,
  type Json,
  type KubeInput,
  type KubeObject,
  type ResourceKind,
  sameJson,
} from '#api'
import { randomSuffix } from '#base'

/** The server's own metadata for a new object. `now` is RFC 3339. */
export function prepareCreate(kind: ResourceKind, input: KubeInput, namespace: string, now: string): KubeObject {
  const given = input.metadata
  const metadata: KubeObject['metadata'] = {
    ...given,
    name: given.name || (given.generateName ? `${given.generateName.slice(0, 58)}${randomSuffix(5)}` : ''),
    uid: randomUUID(),
    creationTimestamp: now,
    resourceVersion: '',
  }
  if (kind.namespaced) metadata.namespace = namespace
  else delete metadata.namespace
  delete metadata.deletionTimestamp
  delete metadata.deletionGracePeriodSeconds
  delete (metadata as { selfLink?: string }).selfLink
  const object: KubeObject = { ...input, apiVersion: storedVersion(kind), kind: kind.kind, metadata }
  if (tracksGeneration(kind, object)) metadata.generation = 1
  if (hasStatus(kind)) {
    if (kind.custom) delete object.status
    // A kubelet registers its node with what it found.
    else if (groupResource(kind) === 'nodes') object.status = input.status ?? {}
    else object.status = structuredClone(NEW_STATUS[groupResource(kind)] ?? {})
  }
  return object
}

/** What a status says before anybody has written it: the fields Go writes even when they are zero. */
const NEW_STATUS: Readonly<Record<string, Json>> = {
  pods: { phase: 'Pending' },
  replicationcontrollers: { replicas: 0 },
  'replicasets.apps': { replicas: 0 },
  'statefulsets.apps': { replicas: 0, availableReplicas: 0 },
  'daemonsets.apps': { currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0 },
  'horizontalpodautoscalers.autoscaling': { desiredReplicas: 0, currentMetrics: null },
  'poddisruptionbudgets.policy': { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 },
  'ingresses.networking.k8s.io': { loadBalancer: {} },
  services: { loadBalancer: {} },
  'volumeattachments.storage.k8s.io': { attached: false },
}

/** The apiVersion objects of a resource are stored with. */
export function storedVersion(kind: ResourceKind): string {
  return groupVersion({ group: kind.group, version: kind.storageVersion })
}

/** True when the main resource ignores changes of status. */
export function hasStatus(kind: ResourceKind): boolean {
  return kind.subresources.some((s) => s.name === 'status')
}

function tracksGeneration(kind: ResourceKind, object: KubeObject): boolean {
  if (kind.custom) return true
  return object.spec !== undefined && !['Namespace', 'Node', 'Service'].includes(object.kind)
}

/** What an object asks for: a change of it is a new generation. */
function desired(kind: ResourceKind, object: KubeObject): unknown {
  if (!kind.custom) return object.spec
  const { apiVersion: _a, kind: _k, metadata: _m, status, ...own } = object
  return hasStatus(kind) ? own : { ...own, status }
}

/**
 * Combines what a client sent with what is stored: fields the client may not change come from
 * `current`. A write to a subresource changes only the part that is the subresource's own.
 */
export function prepareUpdate(
  kind: ResourceKind,
  current: KubeObject,
  input: KubeInput,
  subresource: string,
): KubeObject {
  const metadata: KubeObject['metadata'] = {
    ...(subresource === '' ? input.metadata : { ...current.metadata, ...(kind.custom ? {} : statusMetadata(input)) }),
    name: current.metadata.name,
    uid: current.metadata.uid,
    creationTimestamp: current.metadata.creationTimestamp,
    resourceVersion: current.metadata.resourceVersion,
  }
  keep(metadata, current.metadata, [
    'namespace',
    'generateName',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
  ])
  delete (metadata as { selfLink?: string }).selfLink
  let object: KubeObject
  if (subresource !== '') {
    object = { ...current, metadata, ...ownPart(current, input, subresource) }
    if (object.status === undefined) delete object.status
    if (subresource === 'resize' && !sameJson(object.spec, current.spec))
      metadata.generation = (current.metadata.generation ?? 0) + 1
  } else {
    object = { ...input, apiVersion: current.apiVersion, kind: current.kind, metadata }
    const keeps = KEPT_SPEC[groupResource(kind)]
    if (keeps) object.spec = keeps(object.spec ?? {}, current.spec ?? {})
    if (hasStatus(kind)) {
      if (current.status === undefined) delete object.status
      else object.status = current.status
    }
    if (tracksGeneration(kind, object) && !sameJson(desired(kind, object), desired(kind, current)))
      metadata.generation = (current.metadata.generation ?? 0) + 1
  }
  return object
}

/** Specs that a plain update leaves as they are, in part or whole. */
const KEPT_SPEC: Readonly<Record<string, (next: Json, current: Json) => Json>> = {
  namespaces: (next, { finalizers }) => ({ ...next, finalizers }),
  'certificatesigningrequests.certificates.k8s.io': (_next, current) => current,
}

/** Conditions by which somebody decides on a certificate: only the approval subresource sets them. */
const DECISIONS = new Set(['Approved', 'Denied'])

function withDecisionsOf(current: KubeObject, status: Json | undefined): Json | undefined {
  const conditions = (list: Json[] | undefined, decisions: boolean) =>
    (list ?? []).filter((c) => DECISIONS.has(c.type) === decisions)
  const kept = conditions(current.status?.conditions, true)
  const others = conditions(status?.conditions, false)
  if (!status && kept.length === 0) return status
  const all = [...kept, ...others]
  const { conditions: _, ...rest } = status ?? {}
  return all.length > 0 ? { ...rest, conditions: all } : rest
}

/** What a write to a subresource may change of its object; all else stays. */
function ownPart(current: KubeObject, input: KubeInput, subresource: string): Partial<KubeObject> {
  const { spec = {} } = current
  switch (subresource) {
    case 'status':
      return {
        status: current.kind === 'CertificateSigningRequest' ? withDecisionsOf(current, input.status) : input.status,
      }
    case 'approval':
      return { status: { ...current.status, conditions: input.status?.conditions } }
    case 'finalize':
      return { spec: { ...spec, finalizers: input.spec?.finalizers ?? [] } }
    case 'ephemeralcontainers':
      return { spec: { ...spec, ephemeralContainers: input.spec?.ephemeralContainers ?? [] } }
    case 'resize':
      return {
        spec: {
          ...spec,
          containers: resized(spec.containers, input.spec?.containers),
          ...(spec.initContainers ? { initContainers: resized(spec.initContainers, input.spec?.initContainers) } : {}),
        },
      }
    default:
      throw errors.methodNotAllowed('')
  }
}

/** The stored containers with the resources that were sent. */
function resized(stored: Json[] = [], sent: Json[] = []): Json[] {
  return stored.map((c) => {
    const wanted = sent.find((s) => s.name === c.name)
    if (!wanted) return c
    const { resources: _r, resizePolicy: _p, ...rest } = c
    return {
      ...rest,
      ...(wanted.resources ? { resources: wanted.resources } : {}),
      ...(wanted.resizePolicy ? { resizePolicy: wanted.resizePolicy } : {}),
    }
  })
}

/** Clients of status may set labels, annotations and finalizers too (the node agent does). */
function statusMetadata(input: KubeInput): Partial<KubeObject['metadata']> {
  const { labels, annotations } = input.metadata
  return { ...(labels ? { labels } : {}), ...(annotations ? { annotations } : {}) }
}

function keep<T extends object>(target: T, source: T, keys: readonly (keyof T)[]): void {
  for (const key of keys) {
    if (source[key] === undefined) delete target[key]
    else target[key] = source[key]
  }
}

/** True when an update changes nothing. */
export function unchanged(current: KubeObject, next: KubeObject): boolean {
  return sameJson(current, next)
}

/** Checks the metadata every object has. */
export function validateMetadata(kind: ResourceKind, object: KubeObject): FieldError[] {
  const { name, generateName, labels, annotations, finalizers, ownerReferences } = object.metadata
  const problems: FieldError[] = []
  if (!name)
    problems.push(
      field.required(generateName ? 'metadata.generateName' : 'metadata.name', 'name or generateName is required'),
    )
  else for (const p of checkName(groupResource(kind), name)) problems.push(field.invalid('metadata.name', name, p))
  problems.push(...checkLabels(labels, 'metadata.labels'), ...checkAnnotations(annotations, 'metadata.annotations'))
  for (const [i, f] of (finalizers ?? []).entries())
    for (const p of checkQualifiedName(f)) problems.push(field.invalid(`metadata.finalizers[${i}]`, f, p))
  for (const [i, owner] of (ownerReferences ?? []).entries())
    for (const key of ['apiVersion', 'kind', 'name', 'uid'] as const)
      if (!owner[key])
        problems.push(
          field.invalid(`metadata.ownerReferences[${i}].${key}`, owner[key] ?? '', `${key} must not be empty`),
        )
  return problems
}

/** Refuses a body whose identity is not that of the request. */
export function checkIdentity(kind: ResourceKind, input: KubeInput, namespace: string, name: string): void {
  if (input.kind && input.kind !== kind.kind)
    throw errors.badRequest(
      `${input.kind} in version "${(input.apiVersion ?? '').split('/').pop()}" cannot be handled as a ${kind.kind}: no kind "${input.kind}" is registered for version "${groupVersion(kind)}"`,
    )
  if (input.apiVersion && input.apiVersion !== groupVersion(kind))
    throw errors.badRequest(
      `the API version in the data (${input.apiVersion}) does not match the expected API version (${groupVersion(kind)})`,
    )
  if (typeof input.metadata !== 'object' || input.metadata === null) throw errors.badRequest('metadata is required')
  const given = input.metadata
  if (kind.namespaced && given.namespace && given.namespace !== namespace)
    throw errors.badRequest(`the namespace of the provided object does not match the namespace sent on the request`)
  if (name && given.name && given.name !== name)
    throw errors.badRequest(`the name of the object (${given.name}) does not match the name on the URL (${name})`)
  if (given.namespace && checkSubdomain(given.namespace).length > 0 && kind.namespaced)
    throw errors.badRequest(`Invalid namespace "${given.namespace}"`)
}
