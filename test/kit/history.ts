// A history of operations on a store, and whether any order explains it: linearizability, and the watch guarantees.

import { isStoreError, type Store } from '#store'

const bytes = (text: string) => Buffer.from(text)
const text = (value: Uint8Array) => Buffer.from(value).toString()

/** Numbers that follow from a seed. */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    // xorshift32
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % below
  }
}

type Verb = 'create' | 'update' | 'delete' | 'get' | 'list'

/** One operation: when it was asked for and answered, in steps of a common counter, and what came back. */
export interface Operation {
  readonly verb: Verb
  readonly key: string
  /** The value written, or the guard of an update or a delete. */
  readonly value?: string
  readonly guard?: number
  readonly asked: number
  answered: number
  /** A refusal's code, or "lost" when nobody knows whether it took place. */
  refused?: string
  /** Of a write: its revision. Of a list: the revision it shows. Of a get: the value's. */
  revision?: number
  found?: { key: string; value: string; revision: number }[]
}

/** What a watcher was told. */
export interface Told {
  readonly type: 'put' | 'delete'
  readonly key: string
  readonly value: string
  readonly revision: number
  readonly at: number
}

/** A watcher that goes on after every restart; `gaps` are the revisions behind which it began anew. */
export interface Watching {
  /** First revision it is to be told of. */
  readonly from: number
  readonly told: Told[]
  /** Compactions that overtook it: after being told up to the first it listed, and went on behind the second. */
  readonly gaps: { after: number; until: number }[]
}

export interface History {
  readonly operations: Operation[]
  readonly watchers: Watching[]
}

export interface Driving {
  readonly seed: number
  readonly steps: number
  readonly clients?: number
  /** Opens the store; called again after a restart. */
  open(): Promise<Store>
  readonly restarts?: boolean
}

const KEYS = ['/h/a', '/h/b', '/h/c', '/h/d']

/** Drives a store with clients, watchers, pauses, compactions and restarts, and writes down what it answers. */
export async function drive({ seed, steps, clients = 5, open, restarts = true }: Driving): Promise<History> {
  const random = generator(seed * 2654435761 + 1)
  const history: History = { operations: [], watchers: [] }
  let clock = 0
  let store = await open()
  let values = 0
  /** Revisions that clients know of keys; some are old. */
  const known = new Map<string, number[]>()
  const learn = (key: string, revision: number) => known.set(key, [...(known.get(key) ?? []), revision].slice(-4))

  const attempt = async (op: Operation, call: () => Promise<void>) => {
    history.operations.push(op)
    try {
      await call()
    } catch (error) {
      const code = (error as { code?: string }).code ?? ''
      op.refused = ['KeyExists', 'KeyMissing', 'Conflict'].includes(code) ? code : 'lost'
      if (op.refused === 'lost' && code !== 'Closed') throw error
    }
    op.answered = ++clock
  }

  const step = async () => {
    const key = KEYS[random(KEYS.length)]!
    const base = { key, asked: ++clock, answered: Number.POSITIVE_INFINITY }
    const guards = known.get(key) ?? []
    const guard = guards.length > 0 ? guards[guards.length - 1 - (random(6) === 0 ? random(guards.length) : 0)]! : 1
    switch (random(10)) {
      case 0:
      case 1:
      case 2: {
        const op: Operation = { ...base, verb: 'create', value: `v${values++}` }
        return attempt(op, async () => {
          op.revision = (await store.create(key, bytes(op.value!))).modRevision
          learn(key, op.revision)
        })
      }
      case 3:
      case 4:
      case 5: {
        const op: Operation = { ...base, verb: 'update', value: `v${values++}`, guard }
        return attempt(op, async () => {
          op.revision = (await store.update(key, bytes(op.value!), guard)).modRevision
          learn(key, op.revision)
        })
      }
      case 6: {
        const op: Operation = { ...base, verb: 'delete', ...(random(2) ? { guard } : {}) }
        return attempt(op, async () => {
          op.revision = (await store.delete(key, op.guard)).revision
        })
      }
      case 7: {
        const op: Operation = { ...base, verb: 'get' }
        return attempt(op, async () => {
          const kv = await store.get(key)
          op.found = kv ? [{ key, value: text(kv.value), revision: kv.modRevision }] : []
          if (kv) learn(key, kv.modRevision)
        })
      }
      default: {
        const op: Operation = { ...base, verb: 'list' }
        return attempt(op, async () => {
          const { items, revision } = await store.list('/h/')
          op.revision = revision
          op.found = items.map((kv) => ({ key: kv.key, value: text(kv.value), revision: kv.modRevision }))
        })
      }
    }
  }

  const follow = (watching: Watching) => {
    let ended = false
    const from = () => {
      const last = watching.told[watching.told.length - 1]?.revision ?? watching.from - 1
      const gap = watching.gaps[watching.gaps.length - 1]?.until ?? 0
      return Math.max(last, gap) + 1
    }
    let current = { close: () => {} }
    const begin = () => {
      current = store.watch(
        '/h/',
        {
          onEvents: (events) => {
            for (const e of events)
              watching.told.push({
                type: e.type,
                key: e.kv.key,
                value: text(e.kv.value),
                revision: e.revision,
                at: ++clock,
              })
          },
          onError: (error) => {
            if (!isStoreError(error, 'Compacted')) throw error
            if (ended) return
            // It lists, as clients do, and goes on from there.
            void store.list('/h/').then(
              ({ revision }) => {
                watching.gaps.push({ after: from() - 1, until: revision })
                if (!ended) begin()
              },
              () => {},
            )
          },
        },
        { fromRevision: from() },
      )
    }
    begin()
    return () => {
      ended = true
      current.close()
    }
  }

  let live: (() => void)[] = []
  const watchAnew = () => {
    live = history.watchers.map(follow)
  }
  for (let done = 0; done < steps; ) {
    if (history.watchers.length < 4 && random(4) === 0) {
      const watching: Watching = { from: store.revision + 1, told: [], gaps: [] }
      history.watchers.push(watching)
      live.push(follow(watching))
    }
    const batch = 1 + random(clients)
    const running = Array.from({ length: batch }, step)
    done += batch
    const what = random(40)
    if (what === 0 && restarts) {
      for (const close of live.splice(0)) close()
      await store.close()
      await Promise.all(running)
      store = await open()
      watchAnew()
      continue
    }
    // At the newest revision as often as behind it: what follows at once is where a compaction may go wrong.
    if (what === 1) await store.compact(Math.max(1, store.revision - (random(2) ? random(10) : 0)))
    await Promise.all(running)
    if (what < 6) await new Promise((resolve) => setTimeout(resolve, random(4)))
  }
  // What is on its way arrives.
  await new Promise((resolve) => setTimeout(resolve, 10))
  for (const close of live) close()
  await store.close()
  return history
}

/** Keys as they are after each revision: a dumb model, all of it kept. */
class Model {
  /** Revisions in order, each with what it did. */
  readonly #steps: { revision: number; key: string; value: string | undefined }[] = []

  apply(revision: number, key: string, value: string | undefined): void {
    this.#steps.push({ revision, key, value })
  }

  at(revision: number): Map<string, { value: string; revision: number }> {
    const state = new Map<string, { value: string; revision: number }>()
    for (const s of this.#steps) {
      if (s.revision > revision) break
      if (s.value === undefined) state.delete(s.key)
      else state.set(s.key, { value: s.value, revision: s.revision })
    }
    return state
  }

  revisions(): number[] {
    return this.#steps.map((s) => s.revision)
  }
}

/** The first thing in a history that no order of its operations explains; undefined when all is well. */
export function explain({ operations, watchers }: History): string | undefined {
  const writes = operations.filter((o) => o.revision !== undefined && o.verb !== 'list' && o.verb !== 'get')
  writes.sort((a, b) => a.revision! - b.revision!)
  const name = (o: Operation) =>
    `${o.verb} ${o.key}${o.value ? `=${o.value}` : ''}${o.guard ? ` if ${o.guard}` : ''} (asked ${o.asked}, answered ${o.answered}, revision ${o.revision})`

  // Writes: one order, that of their revisions, which is that of time too; each follows from the state before it.
  const model = new Model()
  const state = new Map<string, { value: string; revision: number }>()
  let latest = 0
  for (const [i, w] of writes.entries()) {
    if (i > 0 && writes[i - 1]!.revision === w.revision) return `two writes have one revision: ${name(w)}`
    if (w.answered < latest) return `a write has a later revision than one that began when it had ended: ${name(w)}`
    latest = Math.max(latest, w.asked)
    const before = state.get(w.key)
    if (w.verb === 'create' ? before : !before) return `it could not be done to what was there: ${name(w)}`
    if (w.guard !== undefined && before?.revision !== w.guard)
      return `its guard did not hold (the key was at ${before?.revision}): ${name(w)}`
    if (w.verb === 'delete') state.delete(w.key)
    else state.set(w.key, { value: w.value!, revision: w.revision! })
    model.apply(w.revision!, w.key, w.verb === 'delete' ? undefined : w.value)
  }
  const revisions = [0, ...model.revisions()]
  const states = new Map(revisions.map((r) => [r, model.at(r)]))
  /** The newest revision of a write at or below one. */
  const floor = (revision: number) => revisions.filter((r) => r <= revision).pop()!

  // Everything else: it fits a state between what was known when it was asked and what had begun when it was answered.
  let known: { at: number; revision: number }[] = writes.map((w) => ({ at: w.answered, revision: w.revision! }))
  const others = operations.filter((o) => !writes.includes(o) && o.refused !== 'lost')
  others.sort((a, b) => a.answered - b.answered)
  for (const o of others) {
    const low = Math.max(0, ...known.filter((k) => k.at < o.asked).map((k) => k.revision))
    const high = Math.max(0, ...writes.filter((w) => w.asked < o.answered).map((w) => w.revision!))
    const fits = (r: number): boolean => {
      const now = states.get(r)!
      const here = now.get(o.key)
      if (o.verb === 'list')
        return (
          o.found!.length === now.size &&
          o.found!.every((f) => now.get(f.key)?.value === f.value && now.get(f.key)?.revision === f.revision)
        )
      if (o.verb === 'get')
        return o.found![0]
          ? here?.value === o.found![0].value && here.revision === o.found![0].revision
          : here === undefined
      if (o.refused === 'KeyExists') return here !== undefined
      if (o.refused === 'KeyMissing') return here === undefined
      return here !== undefined && here.revision !== o.guard
    }
    const candidates = revisions.filter((r) => r >= floor(low) && r <= high)
    if (o.verb === 'list') {
      const shown = floor(o.revision!)
      if (shown < floor(low) || shown > high)
        return `a list shows revision ${o.revision}, not one between ${low} and ${high}: ${name(o)}`
      if (!fits(shown)) return `a list does not show the state of its revision: ${name(o)} ${JSON.stringify(o.found)}`
      known.push({ at: o.answered, revision: shown })
      continue
    }
    const first = candidates.find(fits)
    if (first === undefined)
      return `nothing between revision ${low} and ${high} explains it: ${name(o)} ${o.refused ?? JSON.stringify(o.found)}`
    known.push({ at: o.answered, revision: first })
  }
  known = []

  // Watchers: every change behind their beginning, once, in order, no later than its writer knew.
  for (const [n, { from, told, gaps }] of watchers.entries()) {
    let last = from - 1
    for (const t of told) {
      if (t.revision <= last) return `watcher ${n} is told of revision ${t.revision} after ${last}`
      const w = writes.find((x) => x.revision === t.revision)
      // A write nobody was answered may have taken place.
      if (w && (w.key !== t.key || (t.type === 'put') !== (w.verb !== 'delete')))
        return `watcher ${n} is told something else of revision ${t.revision}: ${JSON.stringify(t)}, it was ${name(w)}`
      if (w && t.type === 'put' && w.value !== t.value) return `watcher ${n} is told another value than ${name(w)}`
      if (w && t.at < w.asked) return `watcher ${n} is told of it before it was asked for: ${name(w)}`
      last = t.revision
    }
    for (const w of writes) {
      const r = w.revision!
      if (r < from || gaps.some((g) => r > g.after && r <= g.until)) continue
      const t = told.find((x) => x.revision === r)
      if (!t) return `watcher ${n} (from ${from}) was not told of ${name(w)}`
    }
  }
  return undefined
}
