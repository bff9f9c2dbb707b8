// Consistent hashing on a ring: each host stands at many points, a request goes to the next one. Pure.

import { hashText } from './hash.ts'

export interface Placed {
  readonly key: string
  readonly weight: number
}

/** Where a hash belongs among items. */
export type HashTable<T> = (hash: number) => T | undefined

/** A ring with at least `min` and at most `max` points, by weight. */
export function ringOf<T extends Placed>(items: readonly T[], min: number, max: number): HashTable<T> {
  const total = items.reduce((n, i) => n + i.weight, 0)
  const lightest = items.reduce((n, i) => Math.min(n, i.weight), Number.POSITIVE_INFINITY)
  // The lightest has a whole number of points, so that each has its share.
  const scale = Math.min(Math.ceil((lightest / total) * min) / (lightest / total), max)
  const points: { hash: number; item: T }[] = []
  for (const item of items) {
    const count = Math.max(1, Math.floor((item.weight / total) * scale))
    for (let i = 0; i < count; i++) points.push({ hash: hashText(`${item.key}_${i}`), item })
  }
  points.sort((a, b) => a.hash - b.hash)
  return (hash) => {
    let low = 0
    let high = points.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (points[middle]!.hash < hash) low = middle + 1
      else high = middle
    }
    return (points[low] ?? points[0])?.item
  }
}

/** Maglev's table: each item takes places in turn, in an order of its own (Eisenbud et al., NSDI 2016, 3.4). */
export function maglevOf<T extends Placed>(items: readonly T[], size: number): HashTable<T> {
  const table = new Array<T | undefined>(size)
  const heaviest = items.reduce((n, i) => Math.max(n, i.weight), 0)
  const turns = items.map((item) => ({
    item,
    offset: hashText(item.key) % size,
    skip: (hashText(item.key, 0x9747b28c) % (size - 1)) + 1,
    next: 0,
    credit: 0,
  }))
  for (let filled = 0; filled < size && turns.length > 0; )
    for (const t of turns) {
      t.credit += t.item.weight / heaviest
      if (t.credit < 1) continue
      t.credit--
      let place = (t.offset + t.skip * t.next++) % size
      while (table[place]) place = (t.offset + t.skip * t.next++) % size
      table[place] = t.item
      if (++filled === size) break
    }
  return (hash) => table[hash % size]
}
