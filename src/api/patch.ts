// The three patch types as pure functions: JSON Patch, JSON Merge Patch, strategic merge patch.

import { applyPatch as applyOperations, type Operation } from 'rfc6902'
import { mergeRule } from './merge-keys.ts'
import { schemas } from './schema.ts'
import { errors } from './status.ts'
import { clone, type Json } from './types.ts'

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return clone(patch)
  const result: Json = isObject(target) ? { ...target } : {}
  for (const key in patch) {
    if (patch[key] === null) delete result[key]
    else result[key] = mergePatch(result[key], patch[key])
  }
  return result
}

/** Operations of one JSON patch, and bytes its copies may add, as upstream bounds them. */
const MAX_OPERATIONS = 10_000
const MAX_COPIED = 3 * 1024 * 1024

/** RFC 6902. Fails with BadRequest (malformed) or an Invalid-like 422 when an operation does not apply. */
export function jsonPatch(target: Json, operations: unknown): Json {
  if (!Array.isArray(operations))
    throw errors.badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch')
  if (operations.length > MAX_OPERATIONS) throw errors.tooManyOperations(MAX_OPERATIONS, operations.length)
  const result = clone(target)
  let copied = 0
  for (const op of operations as Operation[]) {
    const problem = operationProblem(result, op)
    if (problem) throw errors.invalid('', '', '', [{ path: 'patch', reason: 'FieldValueInvalid', message: problem }])
    if (op.op === 'copy') {
      copied += JSON.stringify(pointed(result, op.from) ?? null).length
      if (copied > MAX_COPIED)
        throw errors.invalid('', '', '', [
          {
            path: 'patch',
            reason: 'FieldValueInvalid',
            message: `unable to complete the copy, the accumulated size increase of copy is ${copied}, exceeding the limit ${MAX_COPIED}`,
          },
        ])
    }
    const [error] = applyOperations(result, [op])
    if (error)
      throw errors.invalid('', '', '', [
        {
          path: 'patch',
          reason: 'FieldValueInvalid',
          message: `${op.op} operation does not apply: doc is missing path: "${op.path}": ${error.message || error.name}`,
        },
      ])
  }
  return result
}

const OPERATIONS = ['add', 'remove', 'replace', 'move', 'copy', 'test']

/** Why an operation cannot be applied to a document; fails with BadRequest when it is none. */
function operationProblem(document: unknown, op: Operation): string | undefined {
  if (typeof op !== 'object' || op === null || !OPERATIONS.includes(op.op) || typeof op.path !== 'string')
    throw errors.badRequest(`a JSON patch is a list of operations with op and path, not ${JSON.stringify(op)}`)
  if ('from' in op && typeof op.from !== 'string')
    throw errors.badRequest(`the operation ${op.op} at ${op.path} needs from, a path`)
  const missing = (path: string) => `${op.op} operation does not apply: doc is missing path: "${path}": missing value`
  if ((op.op === 'move' || op.op === 'copy') && pointed(document, op.from) === undefined) return missing(op.from)
  if (op.op === 'add' || op.op === 'move' || op.op === 'copy') {
    const parent = op.path === '' ? {} : pointed(document, op.path.slice(0, op.path.lastIndexOf('/')))
    if (typeof parent !== 'object' || parent === null) return missing(op.path)
    const last = op.path.slice(op.path.lastIndexOf('/') + 1)
    if (Array.isArray(parent) && last !== '-' && !(/^(0|[1-9]\d*)$/.test(last) && Number(last) <= parent.length))
      return `${op.op} operation does not apply: error in ${op.op} for path: '${op.path}': Unable to access invalid index: ${last}`
    return undefined
  }
  return pointed(document, op.path) === undefined ? missing(op.path) : undefined
}

/** What a JSON pointer leads to; undefined when nothing is there. */
function pointed(document: unknown, pointer: string): unknown {
  // biome-ignore lint/suspicious/noExplicitAny: walks JSON
  let at: any = document
  for (const step of String(pointer).split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    if (Array.isArray(at) && !/^\d+$/.test(key)) return undefined
    at = at[key]
  }
  return at
}

/**
 * Kubernetes' strategic merge: maps merge, lists merge by the key the schema names, directives
 * ($patch, $deleteFromPrimitiveList, $setElementOrder, $retainKeys) are obeyed.
 */
export function strategicMerge(target: Json, patch: Json, model: string): Json {
  return mergeObject(target, patch, model)
}

function mergeObject(target: Json | undefined, patch: Json, model: string | undefined): Json {
  if (patch.$patch === 'replace') return withoutDirectives(patch)
  if (patch.$patch === 'delete') return {}
  if (patch.$patch !== undefined && patch.$patch !== 'merge')
    throw errors.badRequest(`unrecognized type of $patch: ${JSON.stringify(patch.$patch)}`)
  const result: Json = { ...(target ?? {}) }
  if (patch.$retainKeys) {
    const retained = new Set(directiveList(patch, '$retainKeys'))
    for (const key of Object.keys(result)) if (!retained.has(key)) delete result[key]
  }
  const definition = model ? schemas()[model] : undefined
  for (const key of Object.keys(patch)) {
    if (key === '$patch' || key === '$retainKeys') continue
    const value = patch[key]
    if (key.startsWith('$setElementOrder/')) continue
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const name = key.slice('$deleteFromPrimitiveList/'.length)
      const dropped = new Set(directiveList(patch, key))
      if (Array.isArray(result[name])) result[name] = result[name].filter((v: unknown) => !dropped.has(v))
      continue
    }
    if (value === null) {
      delete result[key]
      continue
    }
    const property = definition?.properties[key]
    if (Array.isArray(value)) result[key] = mergeList(result[key], value, model, key, property?.items?.ref)
    else if (isObject(value))
      result[key] = mergeObject(
        isObject(result[key]) ? result[key] : undefined,
        value,
        property?.ref ?? property?.additional?.ref,
      )
    else result[key] = value
  }
  for (const key of Object.keys(patch))
    if (key.startsWith('$setElementOrder/')) {
      const name = key.slice('$setElementOrder/'.length)
      if (Array.isArray(result[name])) {
        const rule = model ? mergeRule(model, name) : undefined
        result[name] = order(result[name], directiveList(patch, key), rule?.key)
      }
    }
  return result
}

/** The value of a directive, which must be a list. */
function directiveList(patch: Json, directive: string): unknown[] {
  const value: unknown = patch[directive]
  if (!Array.isArray(value)) throw errors.badRequest(`the value of ${directive} must be a list`)
  return value
}

function mergeList(
  current: unknown,
  patch: unknown[],
  model: string | undefined,
  key: string,
  itemModel: string | undefined,
): unknown[] {
  const rule = model ? mergeRule(model, key) : undefined
  const list = Array.isArray(current) ? current : []
  if (!rule?.merge) return patch.filter((p) => !isDirective(p)).map((p) => (isObject(p) ? withoutDirectives(p) : p))
  if (!rule.key) {
    const known = new Set(list.map((v) => JSON.stringify(v)))
    return [...list, ...patch.filter((p) => !known.has(JSON.stringify(p)))]
  }
  const mergeKey = rule.key
  const replaces = (p: unknown) => isObject(p) && p.$patch === 'replace' && Object.keys(p).length === 1
  const result: (unknown | typeof GONE)[] = patch.some(replaces) ? [] : [...list]
  // The first item of each key is the one that is merged with.
  const index = new Map<string, number>()
  for (const [i, item] of result.entries()) {
    const id = isObject(item) ? JSON.stringify(item[mergeKey]) : undefined
    if (id !== undefined && !index.has(id)) index.set(id, i)
  }
  for (const item of patch) {
    if (!isObject(item) || replaces(item)) continue
    if (item[mergeKey] === undefined)
      throw errors.badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`)
    const id = JSON.stringify(item[mergeKey])
    const at = index.get(id)
    if (item.$patch === 'delete') {
      if (at === undefined) continue
      result[at] = GONE
      index.delete(id)
    } else if (at !== undefined) result[at] = mergeObject(result[at] as Json, item, itemModel)
    else {
      index.set(id, result.length)
      result.push(mergeObject(undefined, item, itemModel))
    }
  }
  return result.filter((v) => v !== GONE)
}

/** The place of an item that was deleted. */
const GONE = Symbol('gone')

/** Puts the items named by `wanted` in that order; items only on the server keep their place among their neighbours. */
function order(list: unknown[], wanted: unknown[], mergeKey: string | undefined): unknown[] {
  const idOf = (v: unknown) => JSON.stringify(mergeKey && isObject(v) ? v[mergeKey] : v)
  const rank = new Map<string | undefined, number>()
  for (const [i, v] of wanted.entries()) if (!rank.has(idOf(v))) rank.set(idOf(v), i)
  const named = list.filter((v) => rank.has(idOf(v))).sort((a, b) => rank.get(idOf(a))! - rank.get(idOf(b))!)
  const merged: unknown[] = []
  let next = 0
  let before = 0
  for (const value of list) {
    if (rank.has(idOf(value))) before++
    else {
      while (next < before) merged.push(named[next++])
      merged.push(value)
    }
  }
  return [...merged, ...named.slice(next)]
}

function isDirective(value: unknown): boolean {
  return isObject(value) && typeof value.$patch === 'string' && Object.keys(value).length === 1
}

function withoutDirectives(value: Json): Json {
  const result: Json = {}
  for (const key of Object.keys(value)) {
    if (key.startsWith('$patch') || key.startsWith('$retainKeys') || key.startsWith('$setElementOrder/')) continue
    const child = value[key]
    result[key] = isObject(child) ? withoutDirectives(child) : clone(child)
  }
  return result
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
