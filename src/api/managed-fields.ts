// Who owns which field: metadata.managedFields through updates and server-side apply. Pure.
// The rules: kubernetes.io/docs/reference/using-api/server-side-apply.

import {
  compare,
  decodeFields,
  difference,
  encodeFields,
  existing,
  type FieldSet,
  fieldsOf,
  intersection,
  isEmpty,
  mergeApplied,
  pathsOf,
  sameFields,
  union,
  withoutFields,
  withParents,
} from './field-set.ts'
import type { SchemaNode } from './structure.ts'
import type { Json, KubeObject } from './types.ts'

/** Who writes, and how. */
export interface FieldManager {
  readonly name: string
  readonly operation: 'Apply' | 'Update'
  readonly apiVersion: string
  readonly subresource: string
  /** RFC 3339. */
  readonly time: string
}

interface Entry {
  readonly manager: string
  readonly operation: 'Apply' | 'Update'
  readonly apiVersion: string
  readonly subresource: string
  readonly time: string
  readonly fields: FieldSet
}

/** Fields nobody owns: identity, and what the server writes itself. */
const UNOWNED: FieldSet = decodeFields({
  'f:apiVersion': {},
  'f:kind': {},
  'f:metadata': {
    '.': {},
    'f:name': {},
    'f:namespace': {},
    'f:generateName': {},
    'f:uid': {},
    'f:resourceVersion': {},
    'f:generation': {},
    'f:creationTimestamp': {},
    'f:deletionTimestamp': {},
    'f:deletionGracePeriodSeconds': {},
    'f:selfLink': {},
    'f:managedFields': {},
  },
})

function read(object: Json): Entry[] {
  const list = object.metadata?.managedFields
  if (!Array.isArray(list)) return []
  return list
    .filter((e: Json) => e?.manager && e.fieldsV1)
    .map((e: Json) => ({
      manager: String(e.manager),
      operation: e.operation === 'Apply' ? 'Apply' : 'Update',
      apiVersion: String(e.apiVersion ?? ''),
      subresource: String(e.subresource ?? ''),
      time: String(e.time ?? ''),
      fields: decodeFields(e.fieldsV1),
    }))
}

function write(entries: readonly Entry[]): Json[] {
  return entries
    .filter((e) => !isEmpty(e.fields))
    .sort((a, b) => rank(a) - rank(b) || a.time.localeCompare(b.time) || a.manager.localeCompare(b.manager))
    .map((e) => ({
      manager: e.manager,
      operation: e.operation,
      apiVersion: e.apiVersion,
      time: e.time,
      fieldsType: 'FieldsV1',
      fieldsV1: encodeFields(e.fields),
      ...(e.subresource ? { subresource: e.subresource } : {}),
    }))
}

const rank = (e: Entry) => (e.operation === 'Apply' ? 0 : 1)

const isSame = (e: Entry, m: FieldManager) =>
  e.manager === m.name && e.operation === m.operation && e.subresource === m.subresource

/** The node at the top of an object of a kind. */
export function rootNode(kind: { model?: string; custom?: Json }): SchemaNode {
  if (!kind.custom) return kind.model ? { model: kind.model } : undefined
  const schema = kind.custom.schema?.openAPIV3Schema ?? {}
  return { custom: { ...schema, properties: { ...schema.properties, metadata: METADATA } } }
}

/** Metadata of custom resources is owned as that of others. */
const METADATA: Json = {
  properties: {
    finalizers: { 'x-kubernetes-list-type': 'set' },
    ownerReferences: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['uid'], items: {} },
  },
}

/** managedFields after somebody wrote `after` over `before` (undefined: created it). */
export function trackUpdate(before: Json | undefined, after: Json, manager: FieldManager, root: SchemaNode): Json[] {
  const given: unknown = after.metadata?.managedFields
  // One empty entry forgets all owners: upstream's way to start over.
  if (before && Array.isArray(given) && given.length === 1 && Object.keys(given[0] ?? {}).length === 0) return []
  // Clients may set the owners themselves; what cannot be read is what it was.
  const base = before && Array.isArray(given) && read(after).length > 0 ? after : (before ?? {})
  const entries = read(base)
  const { changed, removed } = compare(bare(before), bare(after), root)
  const own = difference(changed, UNOWNED)
  if (isEmpty(own) && isEmpty(removed) && before) return base.metadata?.managedFields ?? []
  const touched = union(changed, removed)
  const result: Entry[] = []
  let mine: FieldSet | undefined
  let time = manager.time
  for (const e of entries) {
    if (isSame(e, manager)) {
      mine = union(existing(e.fields, bare(after), root), own)
      if (sameFields(mine, e.fields) && isEmpty(own)) time = e.time
    } else result.push({ ...e, fields: difference(existing(e.fields, bare(after), root), touched) })
  }
  result.push({ ...entryOf(manager), time, fields: mine ?? own })
  return write(result)
}

function entryOf(m: FieldManager): Omit<Entry, 'fields'> {
  return {
    manager: m.name,
    operation: m.operation,
    apiVersion: m.apiVersion,
    subresource: m.subresource,
    time: m.time,
  }
}

/** Without the owners themselves. */
function bare(object: Json | undefined): Json | undefined {
  if (!object?.metadata?.managedFields) return object
  const { managedFields: _, ...metadata } = object.metadata
  return { ...object, metadata }
}

/** A field that another manager owns with another value. */
export interface ApplyConflict {
  readonly manager: string
  readonly operation: 'Apply' | 'Update'
  readonly subresource: string
  readonly apiVersion: string
  readonly time: string
  readonly path: string
}

export interface Applied {
  readonly object: KubeObject
  readonly conflicts: readonly ApplyConflict[]
}

/**
 * The object after a manager applied `config` over `live`. With conflicts nothing should be written,
 * unless the apply is forced: then the fields are the manager's alone.
 */
export function applyConfig(
  live: KubeObject,
  config: Json,
  manager: FieldManager,
  root: SchemaNode,
  force: boolean,
): Applied {
  const entries = read(live)
  const current = bare(live) as Json
  const wanted = bare(config) as Json
  const mine = difference(fieldsOf(wanted, root), UNOWNED)
  let merged = mergeApplied(current, wanted, root) as Json
  const before = entries.find((e) => isSame(e, manager))
  const others = entries.filter((e) => e !== before)
  if (before) {
    // What this manager no longer mentions goes, if nobody else owns it.
    let dropped = difference(before.fields, withParents(mine))
    for (const e of others) dropped = difference(dropped, withParents(e.fields))
    merged = (withoutFields(merged, dropped, root) ?? {}) as Json
    merged.metadata ??= current.metadata
  }
  const { changed } = compare(current, merged, root)
  const contested = intersection(changed, mine)
  const conflicts = others.flatMap((e) =>
    pathsOf(intersection(e.fields, contested)).map((path) => ({
      manager: e.manager,
      operation: e.operation,
      subresource: e.subresource,
      apiVersion: e.apiVersion,
      time: e.time,
      path,
    })),
  )
  if (conflicts.length > 0 && !force) return { object: live, conflicts }
  const kept = others.map((e) => ({ ...e, fields: difference(existing(e.fields, merged, root), contested) }))
  const unchanged = before && sameFields(before.fields, mine) && isEmpty(changed)
  const entry: Entry = { ...entryOf(manager), time: unchanged ? before.time : manager.time, fields: mine }
  const object = {
    ...merged,
    metadata: { ...merged.metadata, managedFields: write([...kept, entry]) },
  } as unknown as KubeObject
  return { object, conflicts: [] }
}
