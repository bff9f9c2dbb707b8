// The resources of proxies, made once for all that see the same of the mesh, and anew only when the mesh has changed.

import type { Snapshot } from '../model/snapshot.ts'
import { emptyResources, type ProxyNode, type XdsResources } from '../model/view.ts'
import type { Layer } from '../translate/translate.ts'
import { type EncodedLayer, encodeLayer } from './resource-set.ts'

interface Entry {
  epoch: number
  layer: EncodedLayer
  inputs: readonly unknown[] | undefined
  /** The last epoch in which somebody asked for it. */
  used: number
}

export class Views {
  readonly #layers: (snapshot: Snapshot, node: ProxyNode) => readonly Layer[]
  readonly #onError: (key: string, error: unknown) => void
  readonly #entries = new Map<string, Entry>()
  /** What each proxy that was looked at in this epoch sees. */
  #found = new WeakMap<object, EncodedLayer[]>()
  #epoch = 0

  /** `onError`: a layer, by its key, that could not be made. */
  constructor(
    layers: (snapshot: Snapshot, node: ProxyNode) => readonly Layer[],
    onError: (key: string, error: unknown) => void,
  ) {
    this.#layers = layers
    this.#onError = onError
  }

  /** The mesh has changed: layers are made anew when they are asked for next. Those nobody asks for are forgotten. */
  invalidate(): void {
    for (const [key, entry] of this.#entries) if (entry.used < this.#epoch - 1) this.#entries.delete(key)
    this.#epoch++
    this.#found = new WeakMap()
  }

  /** The layers of a proxy as the mesh is now; who it is is asked only when that is not known yet. */
  of(proxy: object, snapshot: () => Snapshot, node: () => ProxyNode): readonly EncodedLayer[] {
    let layers = this.#found.get(proxy)
    if (!layers) {
      layers = this.#layers(snapshot(), node()).map((source) => this.#layer(source))
      this.#found.set(proxy, layers)
    }
    return layers
  }

  #layer({ key, inputs, make }: Layer): EncodedLayer {
    const entry = this.#entries.get(key)
    if (entry?.epoch === this.#epoch) {
      entry.used = this.#epoch
      return entry.layer
    }
    const now = inputs()
    const layer = entry && same(entry.inputs, now) ? entry.layer : this.#made(key, make, entry?.layer)
    this.#entries.set(key, { epoch: this.#epoch, layer, inputs: now, used: this.#epoch })
    return layer
  }

  /** What cannot be made stays as it was: one bad object does not stop what others are sent. */
  #made(key: string, make: () => XdsResources, before: EncodedLayer | undefined): EncodedLayer {
    try {
      return encodeLayer(make(), before)
    } catch (error) {
      this.#onError(key, error)
      return before ?? encodeLayer(emptyResources(), undefined)
    }
  }

  /** How many different layers there are. */
  get size(): number {
    return this.#entries.size
  }
}

const same = (a: readonly unknown[] | undefined, b: readonly unknown[] | undefined): boolean =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((x, i) => x === b[i])
