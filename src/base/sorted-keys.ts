// Strings in order: a list of small sorted chunks, so that inserts and range starts stay cheap.

const CHUNK = 512

/** A sorted set of strings in UTF-16 order (keys are ASCII, so also in byte order). */
export class SortedKeys {
  #chunks: string[][] = [[]]

  /** Replaces the contents. */
  load(keys: Iterable<string>): void {
    const sorted = [...keys].sort()
    this.#chunks = []
    for (let i = 0; i < sorted.length; i += CHUNK / 2) this.#chunks.push(sorted.slice(i, i + CHUNK / 2))
    if (this.#chunks.length === 0) this.#chunks.push([])
  }

  /** Adds a key that is not in the set. */
  add(key: string): void {
    const c = this.#chunkOf(key)
    const chunk = this.#chunks[c]!
    chunk.splice(lowerBound(chunk, key), 0, key)
    if (chunk.length > CHUNK) this.#chunks.splice(c + 1, 0, chunk.splice(CHUNK / 2))
  }

  /** Removes a key if it is there. */
  delete(key: string): void {
    const c = this.#chunkOf(key)
    const chunk = this.#chunks[c]!
    const i = lowerBound(chunk, key)
    if (chunk[i] !== key) return
    chunk.splice(i, 1)
    if (chunk.length === 0 && this.#chunks.length > 1) this.#chunks.splice(c, 1)
  }

  /** Keys from `start` on, while they begin with `prefix`. The set must not change meanwhile. */
  *range(start: string, prefix: string): Iterable<string> {
    let c = this.#chunkOf(start)
    let i = lowerBound(this.#chunks[c]!, start)
    for (; c < this.#chunks.length; c++, i = 0) {
      const chunk = this.#chunks[c]!
      for (; i < chunk.length; i++) {
        const key = chunk[i]!
        if (key.startsWith(prefix)) yield key
        else if (key > prefix) return
      }
    }
  }

  /** Index of the last chunk whose first key is not above `key`. */
  #chunkOf(key: string): number {
    let low = 0
    let high = this.#chunks.length - 1
    while (low < high) {
      const mid = (low + high + 1) >> 1
      if (this.#chunks[mid]![0]! <= key) low = mid
      else high = mid - 1
    }
    return low
  }
}

function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const mid = (low + high) >> 1
    if (sorted[mid]! < key) low = mid + 1
    else high = mid
  }
  return low
}
