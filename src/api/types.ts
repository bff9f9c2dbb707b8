// The shapes every API object shares.

/** metav1.OwnerReference. */
export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

/** metav1.ObjectMeta, as stored: name and uid are always there. */
export interface ObjectMeta {
  name: string
  namespace?: string
  generateName?: string
  uid: string
  resourceVersion: string
  generation?: number
  creationTimestamp: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  finalizers?: string[]
  ownerReferences?: OwnerReference[]
  managedFields?: unknown[]
}

/**
 * An API object. Specs are as varied as Kubernetes' kinds; code that reads one names the fields of
 * the schema, and writes are checked against the schema by the API server.
 */
export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
  // biome-ignore lint/suspicious/noExplicitAny: the schema, not the compiler, types an object's body
  [field: string]: any
}

/** An object as a client writes it: the server fills in the rest of the metadata. */
export interface KubeInput {
  apiVersion?: string
  kind?: string
  metadata: Partial<ObjectMeta>
  // biome-ignore lint/suspicious/noExplicitAny: the schema, not the compiler, types an object's body
  [field: string]: any
}

/** Any JSON object. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
export type Json = Record<string, any>

/** The key of an object among those of its kind: "namespace/name", or "name". */
export function keyOf(object: { metadata: { name?: string; namespace?: string } }): string {
  const { namespace, name } = object.metadata
  return namespace ? `${namespace}/${name}` : (name ?? '')
}

/** Splits a key made by `keyOf`. */
export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/')
  return slash < 0 ? { namespace: '', name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}

/** The owner that controls an object, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((r) => r.controller)
}

/** A controller reference to `owner`. */
export function controllerRef(owner: KubeObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  }
}

/** A condition of `status.conditions` by its type. */
export function condition(object: Json | undefined, type: string): Json | undefined {
  return object?.status?.conditions?.find((c: Json) => c.type === type)
}

/** True when a pod says that it is ready. */
export function isPodReady(pod: KubeObject): boolean {
  return condition(pod, 'Ready')?.status === 'True'
}

/** A deep copy of JSON data. */
export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map(clone) as T
  if (typeof value !== 'object' || value === null) return value
  const copy: Json = {}
  for (const key in value) copy[key] = clone(value[key])
  return copy as T
}

/** Deep equality of JSON data; an absent field equals an undefined one. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const x = a as Json
  const y = b as Json
  for (const key in x) if (!sameJson(x[key], y[key])) return false
  for (const key in y) if (y[key] !== undefined && x[key] === undefined) return false
  return true
}

/** Freezes JSON data all the way down. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const key in value) deepFreeze(value[key])
  }
  return value
}
