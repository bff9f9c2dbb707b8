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
  within,
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
  /** The fields as they are written, if they are as they were read. */
  readonly written?: Json
}

/** Sets read from stored objects, which do not change: the next write reads the same ones again. */
const decoded = new WeakMap<object, FieldSet>()

function fieldsIn(written: Json): FieldSet {
  if (!Object.isFrozen(written)) return decodeFields(written)
  let fields = decoded.get(written)
  if (!fields) decoded.set(written, (fields = decodeFields(written)))
  return fields
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
      fields: fieldsIn(e.fieldsV1),
      written: e.fieldsV1,
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
      fieldsV1: e.written ?? encodeFields(e.fields),
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

/** How an object reads in a version, and the node at the top of it there. */
export interface VersionView {
  readonly root: SchemaNode
  of(object: Json): Json
}

/**
 * Views of an object by apiVersion; undefined for a version that is not served. Fields are owned as they
 * are called in the version they were written in, so each owner's are compared there.
 */
export type VersionViews = (apiVersion: string) => VersionView | undefined

/** What changed between two objects, seen from each version once. */
function changesBy(before: Json | undefined, after: Json, views: VersionViews) {
  const seen = new Map<string, ReturnType<typeof compare> & { after: Json; root: SchemaNode }>()
  return (apiVersion: string) => {
    let changes = seen.get(apiVersion)
    if (!changes) {
      const view = views(apiVersion)
      if (!view) return undefined
      const now = bare(view.of(after)) as Json
      const then = before && bare(view.of(before))
      changes = { ...compare(then, now, view.root), after: now, root: view.root }
      seen.set(apiVersion, changes)
    }
    return changes
  }
}

/** managedFields after somebody wrote `after` over `before` (undefined: created it). */
export function trackUpdate(before: Json | undefined, after: Json, manager: FieldManager, views: VersionViews): Json[] {
  const given: unknown = after.metadata?.managedFields
  // One empty entry forgets all owners: upstream's way to start over.
  if (before && Array.isArray(given) && given.length === 1 && Object.keys(given[0] ?? {}).length === 0) return []
  // Clients may set the owners themselves; what cannot be read is what it was.
  const base = before && Array.isArray(given) && read(after).length > 0 ? after : (before ?? {})
  const entries = read(base)
  const changes = changesBy(before, after, views)
  const here = changes(manager.apiVersion)!
  const own = difference(here.changed, UNOWNED)
  if (isEmpty(own) && isEmpty(here.removed) && before) return base.metadata?.managedFields ?? []
  const result: Entry[] = []
  let mine: FieldSet | undefined
  let time = manager.time
  let written: Json | undefined
  for (const e of entries) {
    const there = changes(e.apiVersion)
    // The owners of a version that is gone own nothing any more.
    if (!there) continue
    // Only what was removed can be owned without being there.
    const left = isEmpty(there.removed) ? e.fields : existing(e.fields, there.after, there.root)
    if (isSame(e, manager) && e.apiVersion === manager.apiVersion) {
      mine = within(own, left) ? left : union(left, own)
      if (mine !== e.fields && !sameFields(mine, e.fields)) continue
      written = e.written
      if (isEmpty(own)) time = e.time
    } else {
      const fields = difference(left, union(there.changed, there.removed))
      result.push(sameFields(fields, e.fields) ? e : changedEntry(e, fields))
    }
  }
  result.push({ ...entryOf(manager), time, fields: mine ?? own, ...(written ? { written } : {}) })
  return write(result)
}

function changedEntry({ written: _, ...entry }: Entry, fields: FieldSet): Entry {
  return { ...entry, fields }
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
 * The object after a manager applied `config` over `live`, both in the manager's version. With conflicts
 * nothing should be written, unless the apply is forced: then the fields are the manager's alone.
 */
export function applyConfig(
  live: KubeObject,
  config: Json,
  manager: FieldManager,
  views: VersionViews,
  force: boolean,
): Applied {
  const { root } = views(manager.apiVersion)!
  const entries = read(live).filter((e) => views(e.apiVersion))
  const current = bare(live) as Json
  const wanted = bare(config) as Json
  const mine = difference(fieldsOf(wanted, root), UNOWNED)
  let merged = mergeApplied(current, wanted, root) as Json
  const before = entries.find((e) => isSame(e, manager))
  const others = entries.filter((e) => e !== before)
  if (before && before.apiVersion === manager.apiVersion) {
    // What this manager no longer mentions goes, if nobody else owns it.
    let dropped = difference(before.fields, withParents(mine))
    for (const e of others)
      if (e.apiVersion === manager.apiVersion) dropped = difference(dropped, withParents(e.fields))
    merged = (withoutFields(merged, dropped, root) ?? {}) as Json
    merged.metadata ??= current.metadata
  }
  const changes = changesBy(current, merged, views)
  const here = changes(manager.apiVersion)!
  /** The fields of another's that this apply sets to something else. */
  const contested = (e: Entry): FieldSet => {
    const { changed } = changes(e.apiVersion)!
    return e.apiVersion === manager.apiVersion ? intersection(changed, mine) : changed
  }
  const conflicts = others.flatMap((e) =>
    pathsOf(intersection(e.fields, contested(e))).map((path) => ({
      manager: e.manager,
      operation: e.operation,
      subresource: e.subresource,
      apiVersion: e.apiVersion,
      time: e.time,
      path,
    })),
  )
  if (conflicts.length > 0 && !force) return { object: live, conflicts }
  const kept = others.map((e) => {
    const there = changes(e.apiVersion)!
    return changedEntry(e, difference(existing(e.fields, there.after, there.root), contested(e)))
  })
  const unchanged = before && sameFields(before.fields, mine) && isEmpty(here.changed)
  const entry: Entry = { ...entryOf(manager), time: unchanged ? before.time : manager.time, fields: mine }
  const object = {
    ...merged,
    metadata: { ...merged.metadata, managedFields: write([...kept, entry]) },
  } as unknown as KubeObject
  return { object, conflicts: [] }
}
