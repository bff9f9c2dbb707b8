// One object in several versions of its resource: as stored, as read, as written.

import {
  clone,
  groupResource,
  groupVersion,
  type Json,
  type KindRegistry,
  type KubeInput,
  type KubeObject,
  type ResourceKind,
  rootNode,
  storedKind,
  type VersionViews,
} from '#api'

/** A stored object as a version of its resource reads. */
export function asVersion(kind: ResourceKind, object: Json): Json {
  const { apiVersion, kind: kindName } = versionHead(kind)
  if (object.apiVersion === apiVersion && object.kind === kindName) return object
  const conversion = kind.converted?.conversion
  if (!conversion?.fromStorage) return { ...object, apiVersion, kind: kindName }
  const copy = { ...clone(object as KubeObject), apiVersion, kind: kindName }
  conversion.fromStorage(copy)
  return copy
}

/** What a client sent in a version of a resource, as it is stored. Custom resources differ in apiVersion only. */
export function fromVersion(kind: ResourceKind, input: KubeInput): KubeInput {
  if (!kind.converted || typeof input !== 'object' || input === null) return input
  const { storage, conversion } = kind.converted
  const object = { ...structuredClone(input), ...versionHead(storage) }
  conversion.toStorage?.(object)
  return object
}

/** Views of an object given in one version of its resource, by apiVersion, for the record of who owns what. */
export function versionViews(kind: ResourceKind, registry: KindRegistry): VersionViews {
  return (apiVersion) => {
    const target = apiVersion === groupVersion(kind) ? kind : otherVersion(kind, apiVersion, registry)
    if (!target) return undefined
    const of = (object: Json) =>
      target === kind ? object : asVersion(target, fromVersion(kind, object as KubeInput) as Json)
    return { root: rootNode(target), of }
  }
}

/** Another version of the same resource, in another group perhaps. */
function otherVersion(kind: ResourceKind, apiVersion: string, registry: KindRegistry): ResourceKind | undefined {
  const other = registry.kind(apiVersion, kind.kind)
  return other && groupResource(storedKind(other)) === groupResource(storedKind(kind)) ? other : undefined
}

function versionHead(kind: ResourceKind): { apiVersion: string; kind: string } {
  return { apiVersion: groupVersion(kind), kind: kind.kind }
}
