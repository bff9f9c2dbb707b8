// The three patch types as pure functions: JSON Patch, JSON Merge Patch, strategic merge patch.

import { applyPatch as applyOperations, type Operation } from 'rfc6902'
import { mergeRule } from './merge-keys.ts'
import { schemas } from './schema.ts'
import { errors } from './status.ts'
import { clone, type Json, sameJson } from './types.ts'

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
    if (op.op === 'remove' && pointerMissing(result, op.path))
      throw errors.invalid('', '', '', [
        {
          path: 'patch',
          reason: 'FieldValueInvalid',
          message: `remove operation does not apply: doc is missing path: "${op.path}": missing value`,
        },
      ])
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

function pointerMissing(document: unknown, pointer: string): boolean {
  return pointed(document, pointer) === undefined
}

/** What a JSON pointer leads to; undefined when nothing is there. */
function pointed(document: unknown, pointer: string): unknown {
  // biome-ignore lint/suspicious/noExplicitAny: walks JSON
  let at: any = document
  for (const step of String(pointer).split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
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
    throw errors.badRequest(`unrecognized type of $patch: ${patch.$patch}`)
  const result: Json = { ...(target ?? {}) }
  if (patch.$retainKeys) for (const key of Object.keys(result)) if (!patch.$retainKeys.includes(key)) delete result[key]
  const definition = model ? schemas()[model] : undefined
  for (const key of Object.keys(patch)) {
    if (key === '$patch' || key === '$retainKeys') continue
    const value = patch[key]
    if (key.startsWith('$setElementOrder/')) continue
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const name = key.slice('$deleteFromPrimitiveList/'.length)
      if (Array.isArray(result[name])) result[name] = result[name].filter((v: unknown) => !value.includes(v))
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
        result[name] = order(result[name], patch[key], rule?.key)
      }
    }
  return result
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
  if (!rule.key) return [...list, ...patch.filter((p) => !list.some((v) => sameJson(v, p)))]
  const mergeKey = rule.key
  let result = [...list]
  if (patch.some((p) => isObject(p) && p.$patch === 'replace' && Object.keys(p).length === 1)) result = []
  for (const item of patch) {
    if (!isObject(item) || (item.$patch === 'replace' && Object.keys(item).length === 1)) continue
    if (item[mergeKey] === undefined)
      throw errors.badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`)
    const index = result.findIndex((r) => isObject(r) && r[mergeKey] === item[mergeKey])
    if (item.$patch === 'delete') {
      if (index >= 0) result.splice(index, 1)
    } else if (index >= 0) result[index] = mergeObject(result[index] as Json, item, itemModel)
    else result.push(mergeObject(undefined, item, itemModel))
  }
  return result
}

/** Puts the items named by `wanted` in that order; items only on the server keep their place among their neighbours. */
function order(list: unknown[], wanted: unknown[], mergeKey: string | undefined): unknown[] {
  const idOf = (v: unknown) => (mergeKey && isObject(v) ? v[mergeKey] : v)
  const ids = wanted.map(idOf)
  const rank = (v: unknown) => ids.findIndex((id) => sameJson(id, idOf(v)))
  const patched = list.filter((v) => rank(v) >= 0).sort((a, b) => rank(a) - rank(b))
  const result: unknown[] = []
  for (const [i, value] of list.entries()) {
    if (rank(value) >= 0) continue
    const before = list.slice(0, i).filter((v) => rank(v) >= 0).length
    result.push({ at: before, value })
  }
  const merged: unknown[] = []
  let p = 0
  for (const extra of result as { at: number; value: unknown }[]) {
    while (p < extra.at) merged.push(patched[p++])
    merged.push(extra.value)
  }
  return [...merged, ...patched.slice(p)]
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
