// The resources of proxies, made once for all that see the same of the mesh, and anew only when the mesh has changed.

import type { Snapshot } from '../model/snapshot.ts'
import type { ProxyNode, XdsResources } from '../model/view.ts'
import { type EncodedLayer, encodeLayer } from './resource-set.ts'

/** A part of a proxy's resources; `key` names what it depends on of the proxy. */
export interface LayerSource {
  readonly key: string
  make(): XdsResources
}

interface Entry {
  epoch: number
  layer: EncodedLayer
  /** The last epoch in which somebody asked for it. */
  used: number
}

export class Views {
  readonly #layers: (snapshot: Snapshot, node: ProxyNode) => readonly LayerSource[]
  readonly #entries = new Map<string, Entry>()
  #epoch = 0

  constructor(layers: (snapshot: Snapshot, node: ProxyNode) => readonly LayerSource[]) {
    this.#layers = layers
  }

  /** The mesh has changed: layers are made anew when they are asked for next. Those nobody asks for are forgotten. */
  invalidate(): void {
    for (const [key, entry] of this.#entries) if (entry.used < this.#epoch - 1) this.#entries.delete(key)
    this.#epoch++
  }

  /** The layers of a proxy as the mesh is now. */
  of(snapshot: Snapshot, node: ProxyNode): EncodedLayer[] {
    return this.#layers(snapshot, node).map(({ key, make }) => {
      const entry = this.#entries.get(key)
      if (entry?.epoch === this.#epoch) return entry.layer
      const layer = encodeLayer(make(), entry?.layer)
      this.#entries.set(key, { epoch: this.#epoch, layer, used: this.#epoch })
      return layer
    })
  }

  /** How many different layers there are. */
  get size(): number {
    return this.#entries.size
  }
}
