// Sets of fields, as managedFields writes them: a tree of "f:name", "k:{keys}" and "v:value" elements.

import { KEY_DEFAULTS, type SchemaNode, structureOf } from './structure.ts'
import { type Json, sameJson } from './types.ts'

/** A tree of path elements. `self` tells whether the path that ends here is in the set. */
export interface FieldSet {
  readonly self: boolean
  readonly children: ReadonlyMap<string, FieldSet>
}

const NONE: ReadonlyMap<string, FieldSet> = new Map()
export const EMPTY: FieldSet = { self: false, children: NONE }
const LEAF: FieldSet = { self: true, children: NONE }

export const isEmpty = (s: FieldSet) => !s.self && s.children.size === 0

function make(self: boolean, children: Map<string, FieldSet>): FieldSet {
  for (const [key, child] of children) if (isEmpty(child)) children.delete(key)
  return { self, children }
}

/** Reads fieldsV1. Anything odd is taken for an empty set. */
export function decodeFields(fields: unknown, depth = 0): FieldSet {
  if (typeof fields !== 'object' || fields === null || depth > 100) return EMPTY
  const children = new Map<string, FieldSet>()
  let self = false
  for (const [key, value] of Object.entries(fields)) {
    if (key === '.') {
      self = true
      continue
    }
    const child = decodeFields(value, depth + 1)
    children.set(key, isEmpty(child) ? LEAF : child)
  }
  return { self, children }
}

/** Writes fieldsV1, elements in order. */
export function encodeFields(set: FieldSet): Json {
  const result: Json = {}
  if (set.self && set.children.size > 0) result['.'] = {}
  for (const key of [...set.children.keys()].sort()) result[key] = encodeFields(set.children.get(key)!)
  return result
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmpty(a)) return b
  if (isEmpty(b)) return a
  const children = new Map(a.children)
  for (const [key, child] of b.children) children.set(key, union(children.get(key) ?? EMPTY, child))
  return make(a.self || b.self, children)
}

/** What of `a` is in `b` too, path by path. */
export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const children = new Map<string, FieldSet>()
  for (const [key, child] of a.children) {
    const other = b.children.get(key)
    if (other) children.set(key, intersection(child, other))
  }
  return make(a.self && b.self, children)
}

/** What of `a` is not in `b`, path by path. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  const children = new Map<string, FieldSet>()
  for (const [key, child] of a.children) {
    const other = b.children.get(key)
    children.set(key, other ? difference(child, other) : child)
  }
  return make(a.self && !b.self, children)
}

/** Whether every path of `a` is in `b`. */
export function within(a: FieldSet, b: FieldSet): boolean {
  if (a.self && !b.self) return false
  for (const [key, child] of a.children) {
    const other = b.children.get(key)
    if (!other || !within(child, other)) return false
  }
  return true
}

/** The set with every field that has owned fields within it: such a field is not given up. */
export function withParents(set: FieldSet): FieldSet {
  if (set.children.size === 0) return set
  return { self: true, children: new Map([...set.children].map(([key, child]) => [key, withParents(child)])) }
}

export function sameFields(a: FieldSet, b: FieldSet): boolean {
  if (a.self !== b.self || a.children.size !== b.children.size) return false
  for (const [key, child] of a.children) {
    const other = b.children.get(key)
    if (!other || !sameFields(child, other)) return false
  }
  return true
}

/** Paths as people read them: .spec.containers[name="c"].image */
export function pathsOf(set: FieldSet, prefix = ''): string[] {
  const result: string[] = set.self ? [prefix] : []
  for (const [key, child] of set.children) result.push(...pathsOf(child, prefix + elementText(key)))
  return result
}

function elementText(key: string): string {
  if (key.startsWith('f:')) return `.${key.slice(2)}`
  if (key.startsWith('v:')) return `[=${key.slice(2)}]`
  const keys = JSON.parse(key.slice(2)) as Json
  return `[${Object.entries(keys)
    .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
    .join(',')}]`
}

/** The element of an item of a list that is merged by keys. */
export function itemElement(item: unknown, keys: readonly string[]): string {
  const values: Json = {}
  for (const key of [...keys].sort()) {
    const value = (item as Json | null)?.[key] ?? KEY_DEFAULTS[key]
    if (value !== undefined) values[key] = value
  }
  return `k:${JSON.stringify(values)}`
}

const valueElement = (value: unknown) => `v:${JSON.stringify(value)}`

/** All fields of an object: what whoever applies it owns. */
export function fieldsOf(value: unknown, node: SchemaNode): FieldSet {
  const structure = structureOf(node, value)
  const children = new Map<string, FieldSet>()
  switch (structure.kind) {
    case 'atomic':
      return LEAF
    case 'map': {
      const entries = Object.entries(value as Json)
      if (entries.length === 0) return LEAF
      for (const [key, child] of entries) children.set(`f:${key}`, fieldsOf(child, structure.child(key)))
      return { self: false, children }
    }
    case 'set':
      for (const item of value as unknown[]) children.set(valueElement(item), LEAF)
      return children.size === 0 ? LEAF : { self: false, children }
    case 'list':
      for (const item of value as unknown[]) {
        const inner = fieldsOf(item, structure.item)
        children.set(itemElement(item, structure.keys), { self: true, children: inner.children })
      }
      return children.size === 0 ? LEAF : { self: false, children }
  }
}

/** How two states of an object differ. */
export interface Changes {
  /** Added or modified. */
  readonly changed: FieldSet
  readonly removed: FieldSet
}

const NO_CHANGES: Changes = { changed: EMPTY, removed: EMPTY }

/** Everything below a value, containers included: what is added or removed with it. */
function whole(value: unknown, node: SchemaNode): FieldSet {
  const structure = structureOf(node, value)
  if (structure.kind === 'atomic') return LEAF
  const children = new Map<string, FieldSet>()
  if (structure.kind === 'map')
    for (const [key, child] of Object.entries(value as Json))
      children.set(`f:${key}`, whole(child, structure.child(key)))
  else if (structure.kind === 'set') for (const item of value as unknown[]) children.set(valueElement(item), LEAF)
  else
    for (const item of value as unknown[]) children.set(itemElement(item, structure.keys), whole(item, structure.item))
  return { self: true, children }
}

/**
 * A field by its name. All such reads share what the engine learns of this one: a place that has mostly seen one
 * name is compiled for that name, and compiled again at each other one, without end.
 */
const at = (object: Json, key: string): unknown => object[key]

/** What changed from `before` to `after`. */
export function compare(before: unknown, after: unknown, node: SchemaNode): Changes {
  if (before === after) return NO_CHANGES
  if (before === undefined || before === null)
    return after === undefined || after === null ? NO_CHANGES : { changed: whole(after, node), removed: EMPTY }
  if (after === undefined || after === null) return { changed: EMPTY, removed: whole(before, node) }
  if (typeof before !== 'object' || typeof after !== 'object' || Array.isArray(before) !== Array.isArray(after))
    return { changed: LEAF, removed: EMPTY }
  const structure = structureOf(node, after)
  if (structure.kind === 'atomic') return sameJson(before, after) ? NO_CHANGES : { changed: LEAF, removed: EMPTY }
  const changes = new ChangeNotes()
  if (structure.kind === 'map') {
    const [old, next] = [before as Json, after as Json]
    for (const key in next) {
      const [was, is] = [at(old, key), at(next, key)]
      if (was !== is) changes.note(`f:${key}`, compare(was, is, structure.child(key)))
    }
    for (const key in old) {
      const was = at(old, key)
      if (was !== undefined && at(next, key) === undefined)
        changes.note(`f:${key}`, compare(was, undefined, structure.child(key)))
    }
    return changes.result()
  }
  const [old, next] = [elements(before, structure), elements(after, structure)]
  for (const [element, { value, node: child }] of next)
    changes.note(element, compare(old.get(element)?.value, value, child))
  for (const [element, { value, node: child }] of old)
    if (!next.has(element)) changes.note(element, compare(value, undefined, child))
  return changes.result()
}

/** Collects what changed below a place. */
class ChangeNotes {
  #changed: Map<string, FieldSet> | undefined
  #removed: Map<string, FieldSet> | undefined

  note(element: string, { changed, removed }: Changes): void {
    if (!isEmpty(changed)) (this.#changed ??= new Map()).set(element, changed)
    if (!isEmpty(removed)) (this.#removed ??= new Map()).set(element, removed)
  }

  result(): Changes {
    if (!this.#changed && !this.#removed) return NO_CHANGES
    return {
      changed: this.#changed ? { self: false, children: this.#changed } : EMPTY,
      removed: this.#removed ? { self: false, children: this.#removed } : EMPTY,
    }
  }
}

/** The parts of a value by their elements. */
function elements(
  value: unknown,
  structure: Exclude<ReturnType<typeof structureOf>, { kind: 'atomic' }>,
): Map<string, { value: unknown; node: SchemaNode }> {
  const result = new Map<string, { value: unknown; node: SchemaNode }>()
  if (structure.kind === 'map')
    for (const [key, child] of Object.entries(value as Json))
      result.set(`f:${key}`, { value: child, node: structure.child(key) })
  else if (structure.kind === 'set')
    for (const item of value as unknown[]) result.set(valueElement(item), { value: item, node: undefined })
  else
    for (const item of value as unknown[])
      result.set(itemElement(item, structure.keys), { value: item, node: structure.item })
  return result
}

/** `value` with what `applied` says in place: maps and keyed lists by element, the rest whole. */
export function mergeApplied(value: unknown, applied: unknown, node: SchemaNode): unknown {
  if (applied === null || value === undefined || value === null) return applied
  const structure = structureOf(node, applied)
  if (structure.kind === 'atomic' || Array.isArray(value) !== Array.isArray(applied) || typeof value !== 'object')
    return applied
  if (structure.kind === 'map') {
    const result: Json = { ...(value as Json) }
    for (const [key, child] of Object.entries(applied as Json)) {
      const merged = mergeApplied(result[key], child, structure.child(key))
      if (merged === null) delete result[key]
      else result[key] = merged
    }
    return result
  }
  if (structure.kind === 'set') {
    const list = value as unknown[]
    return [...list, ...(applied as unknown[]).filter((a) => !list.some((v) => sameJson(v, a)))]
  }
  const { keys, item: itemNode } = structure
  const wanted = new Map((applied as unknown[]).map((a) => [itemElement(a, keys), a]))
  const merged = (value as unknown[]).map((v) => {
    const element = itemElement(v, keys)
    const change = wanted.get(element)
    wanted.delete(element)
    return change === undefined ? v : mergeApplied(v, change, itemNode)
  })
  return [...merged, ...wanted.values()]
}

/** `value` without the fields of a set; containers that the set names go when nothing is left in them. */
export function withoutFields(value: unknown, set: FieldSet, node: SchemaNode): unknown {
  if (isEmpty(set)) return value
  const structure = structureOf(node, value)
  if (structure.kind === 'atomic') return set.self ? undefined : value
  if (set.self && set.children.size === 0) return undefined
  if (structure.kind === 'map') {
    const result: Json = {}
    for (const [key, child] of Object.entries(value as Json)) {
      const gone = set.children.get(`f:${key}`)
      const kept = gone ? withoutFields(child, gone, structure.child(key)) : child
      if (kept !== undefined) result[key] = kept
    }
    // A container whose every field went with its last owner goes too.
    return Object.keys(result).length === 0 && Object.keys(value as Json).length > 0 ? undefined : result
  }
  const list = (value as unknown[]).flatMap((item) => {
    const element = structure.kind === 'set' ? valueElement(item) : itemElement(item, structure.keys)
    const gone = set.children.get(element)
    if (!gone) return [item]
    if (structure.kind === 'set' || gone.self) return []
    const kept = withoutFields(item, gone, structure.item)
    return kept === undefined ? [] : [kept]
  })
  return list.length === 0 && (value as unknown[]).length > 0 ? undefined : list
}

/** The part of a set that exists in a value. */
export function existing(set: FieldSet, value: unknown, node: SchemaNode): FieldSet {
  if (value === undefined) return EMPTY
  const structure = structureOf(node, value)
  if (structure.kind === 'atomic') return set.self ? LEAF : EMPTY
  const parts = elements(value, structure)
  const children = new Map<string, FieldSet>()
  for (const [element, child] of set.children) {
    const part = parts.get(element)
    if (part) children.set(element, existing(child, part.value, part.node))
  }
  return make(set.self, children)
}
