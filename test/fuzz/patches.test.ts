// Each patch kind and server-side apply against naive models that share no code with them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  applyConfig,
  type Json,
  jsonPatch,
  type KubeObject,
  mergePatch,
  rootNode,
  strategicMerge,
  trackUpdate,
} from '#api'
import { randomRuns, startApi } from '#kit'

const key = fc.constantFrom('a', 'b', 'c', 'd')
const leaf = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom('x', 'y'), fc.boolean())
const tree = fc.letrec<{ node: unknown; object: Json }>((tie) => ({
  node: fc.oneof({ depthSize: 'small' }, leaf, fc.array(leaf, { maxLength: 3 }), tie('object')),
  object: fc.dictionary(key, tie('node') as fc.Arbitrary<unknown>, { maxKeys: 4 }) as fc.Arbitrary<Json>,
}))
const withNulls = fc.letrec<{ node: unknown; object: Json }>((tie) => ({
  node: fc.oneof({ depthSize: 'small' }, leaf, fc.constant(null), fc.array(leaf, { maxLength: 2 }), tie('object')),
  object: fc.dictionary(key, tie('node') as fc.Arbitrary<unknown>, { maxKeys: 4 }) as fc.Arbitrary<Json>,
}))
const plain = (value: unknown) => JSON.parse(JSON.stringify(value))

/** Every leaf and empty container by its path. */
function flat(value: unknown, path: string[] = [], out = new Map<string, unknown>()): Map<string, unknown> {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
  if (isMap && Object.keys(value).length > 0) for (const [k, v] of Object.entries(value)) flat(v, [...path, k], out)
  else out.set(JSON.stringify(path), value)
  return out
}

test('a merge patch: what it names is as it says, the rest is as it was', () => {
  fc.assert(
    fc.property(tree.object, withNulls.object, (target, patch) => {
      const before = plain(target)
      const result = plain(mergePatch(target, patch)) as Json
      assert.deepEqual(plain(target), before, 'the target is not changed')
      const wanted = flat(patch)
      const have = flat(result)
      for (const [path, value] of wanted) {
        const steps: string[] = JSON.parse(path)
        // biome-ignore lint/suspicious/noExplicitAny: walks JSON
        const at = steps.reduce((v: any, s) => v?.[s], result)
        if (value === null) assert.equal(at, undefined)
        else if (typeof value === 'object' && !Array.isArray(value)) assert.equal(typeof at, 'object')
        else assert.deepEqual(at, value)
      }
      // Whatever the result has comes from one of the two.
      for (const [path, value] of have) {
        const steps: string[] = JSON.parse(path)
        // biome-ignore lint/suspicious/noExplicitAny: walks JSON
        const from = (o: Json) => steps.reduce((v: any, s) => v?.[s], o)
        const emptied = typeof value === 'object' && value !== null && Object.keys(value).length === 0
        assert.ok(
          emptied ||
            JSON.stringify(from(before)) === JSON.stringify(value) ||
            JSON.stringify(from(patch)) === JSON.stringify(value),
          path,
        )
      }
    }),
    randomRuns(500),
  )
})

test('a JSON patch of adds, replaces and removes of fields is those steps one by one', () => {
  const path = fc.array(key, { minLength: 1, maxLength: 2 })
  const op = fc.record({ op: fc.constantFrom('add', 'replace', 'remove', 'test'), path, value: leaf })
  fc.assert(
    fc.property(tree.object, fc.array(op, { maxLength: 5 }), (target, ops) => {
      const model = plain(target) as Json
      let fails = false
      for (const o of ops) {
        // biome-ignore lint/suspicious/noExplicitAny: walks JSON
        let parent: any = model
        for (const step of o.path.slice(0, -1)) parent = parent?.[step]
        const last = o.path[o.path.length - 1]!
        const isMap = typeof parent === 'object' && parent !== null && !Array.isArray(parent)
        if (!isMap || (o.op !== 'add' && !(last in parent))) fails = true
        else if (o.op === 'remove') delete parent[last]
        else if (o.op === 'test') fails ||= JSON.stringify(parent[last]) !== JSON.stringify(o.value)
        else parent[last] = o.value
        if (fails) break
      }
      const patch = ops.map((o) => ({
        op: o.op,
        path: `/${o.path.join('/')}`,
        ...(o.op === 'remove' ? {} : { value: o.value }),
      }))
      const before = plain(target)
      if (fails) assert.throws(() => jsonPatch(target, patch))
      else assert.deepEqual(plain(jsonPatch(target, patch)), model)
      assert.deepEqual(plain(target), before, 'the target is not changed')
    }),
    randomRuns(500),
  )
})

const POD = 'io.k8s.api.core.v1.Pod'
const names = fc.constantFrom('a', 'b', 'c', 'd', 'e')
const containers = fc.uniqueArray(fc.record({ name: names, image: fc.constantFrom('1', '2') }), {
  selector: (c) => c.name,
  maxLength: 5,
})

test('a strategic merge: containers merge by name, are deleted by $patch, and stand in the order asked for', () => {
  const change = fc.uniqueArray(
    fc.record({ name: names, image: fc.option(fc.constantFrom('8', '9'), { nil: undefined }), gone: fc.boolean() }),
    { selector: (c) => c.name, maxLength: 4 },
  )
  fc.assert(
    fc.property(containers, change, fc.boolean(), (list, changes, ordered) => {
      const model = new Map<string, Json>(list.map((c) => [c.name, { ...c }]))
      for (const { name, image, gone } of changes)
        if (gone) model.delete(name)
        else model.set(name, { ...(model.get(name) ?? { name }), ...(image ? { image } : {}) })
      const items = changes.map(({ name, image, gone }) =>
        gone ? { name, $patch: 'delete' } : { name, ...(image ? { image } : {}) },
      )
      const wanted = [...model.keys()].sort()
      const spec: Json = { containers: items }
      if (ordered) spec['$setElementOrder/containers'] = wanted.map((name) => ({ name }))
      const result = plain(strategicMerge({ spec: { containers: list } }, { spec }, POD).spec.containers) as Json[]
      assert.deepEqual(Object.fromEntries(result.map((c) => [c.name, c])), Object.fromEntries(model))
      if (ordered)
        assert.deepEqual(
          result.map((c) => c.name),
          wanted,
        )
      // Without a wish, what was there keeps its order.
      else
        assert.deepEqual(
          result.map((c) => c.name).filter((n) => list.some((c) => c.name === n)),
          list.map((c) => c.name).filter((n) => model.has(n)),
        )
    }),
    randomRuns(500),
  )
})

test('a strategic merge: scalars are a set, and are deleted by name', () => {
  fc.assert(
    fc.property(fc.uniqueArray(names), fc.uniqueArray(names), fc.uniqueArray(names), (have, add, all) => {
      // What is both added and deleted is nobody's wish.
      const drop = all.filter((f) => !add.includes(f))
      const patch: Json = { metadata: { finalizers: add, '$deleteFromPrimitiveList/finalizers': drop } }
      const result = strategicMerge({ metadata: { finalizers: have } }, patch, POD).metadata.finalizers as string[]
      assert.deepEqual(
        new Set(result),
        new Set([...have.filter((f) => !drop.includes(f)), ...add].filter((f) => add.includes(f) || !drop.includes(f))),
      )
    }),
    randomRuns(300),
  )
})

interface Step {
  readonly who: 'p' | 'q' | 'r'
  readonly how: 'apply' | 'force' | 'update'
  readonly data: Readonly<Record<string, string>>
}

/** ConfigMap data, who owns each key as applier, and who as updater. */
class OwnersModel {
  data: Record<string, string> = {}
  readonly applied = new Map<string, Set<string>>()
  readonly updated = new Map<string, Set<string>>()

  #others(map: Map<string, Set<string>>, who: string): Set<string> {
    return new Set([...map].filter(([w]) => w !== who).flatMap(([, keys]) => [...keys]))
  }

  apply(who: string, data: Readonly<Record<string, string>>, force: boolean): boolean {
    const others = new Set([...this.#others(this.applied, who), ...[...this.updated.values()].flatMap((s) => [...s])])
    const contested = Object.keys(data).filter((k) => others.has(k) && this.data[k] !== data[k])
    if (contested.length > 0 && !force) return false
    for (const k of this.applied.get(who) ?? []) if (!(k in data) && !others.has(k)) delete this.data[k]
    Object.assign(this.data, data)
    for (const [w, keys] of this.applied) if (w !== who) for (const k of contested) keys.delete(k)
    for (const keys of this.updated.values()) for (const k of contested) keys.delete(k)
    this.applied.set(who, new Set(Object.keys(data)))
    this.#forgetAbsent()
    return true
  }

  update(who: string, data: Readonly<Record<string, string>>): void {
    const changed = Object.keys(data).filter((k) => this.data[k] !== data[k])
    this.data = { ...data }
    for (const keys of [...this.applied.values(), ...this.updated.values()]) for (const k of changed) keys.delete(k)
    const own = this.updated.get(who) ?? new Set()
    for (const k of changed) own.add(k)
    this.updated.set(who, own)
    this.#forgetAbsent()
  }

  #forgetAbsent(): void {
    for (const keys of [...this.applied.values(), ...this.updated.values()])
      for (const k of keys) if (!(k in this.data)) keys.delete(k)
  }
}

test('server-side apply and updates: data, owners and conflicts are those of a table of keys', async () => {
  await using api = await startApi()
  const kind = api.resources.registry.resource('', 'v1', 'configmaps')!
  const root = rootNode(kind)
  const views = () => ({ root, of: (object: Json) => object })
  // An empty map is stored as none: what it owns is a question of encoding.
  const data = fc.dictionary(key, fc.constantFrom('1', '2'), { minKeys: 1, maxKeys: 3 })
  const step: fc.Arbitrary<Step> = fc.record({
    who: fc.constantFrom('p' as const, 'q' as const, 'r' as const),
    how: fc.constantFrom('apply' as const, 'force' as const, 'update' as const),
    data,
  })
  const owned = (o: KubeObject, operation: string) =>
    Object.fromEntries(
      ((o.metadata.managedFields ?? []) as Json[])
        .filter((e) => e.operation === operation)
        .map((e) => [
          e.manager,
          Object.keys(e.fieldsV1['f:data'] ?? {})
            .filter((k) => k !== '.')
            .map((k) => k.slice(2))
            .sort(),
        ])
        .filter(([, keys]) => (keys as string[]).length > 0),
    )
  const expected = (map: Map<string, Set<string>>) =>
    Object.fromEntries(
      [...map].map(([w, keys]) => [w, [...keys].sort()] as const).filter(([, keys]) => keys.length > 0),
    )
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
      const model = new OwnersModel()
      let live = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'm', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
      } as KubeObject
      for (const { who, how, data } of steps) {
        const manager = {
          name: who,
          operation: how === 'update' ? ('Update' as const) : ('Apply' as const),
          apiVersion: 'v1',
          subresource: '',
          time: '2026-01-01T00:00:00Z',
        }
        const head = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm' } }
        if (how === 'update') {
          const next = { ...live, data: { ...data } } as KubeObject
          next.metadata = { ...live.metadata, managedFields: trackUpdate(live, next, manager, views) as never }
          live = next
          model.update(who, data)
        } else {
          const { object, conflicts } = applyConfig(
            live,
            { ...head, data: { ...data } },
            manager,
            views,
            how === 'force',
          )
          const taken = model.apply(who, data, how === 'force')
          assert.equal(conflicts.length === 0, taken, JSON.stringify(conflicts))
          if (taken) live = object
        }
        assert.deepEqual(live.data ?? {}, model.data)
        assert.deepEqual(owned(live, 'Apply'), expected(model.applied))
        assert.deepEqual(owned(live, 'Update'), expected(model.updated))
      }
    }),
    randomRuns(300),
  )
})
