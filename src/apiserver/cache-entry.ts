// One version of a stored object: bytes as they are stored and served, read into an object only when needed.

import { deepFreeze, type KubeObject } from '#api'
import type { KeyValue } from '#store'

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const BRACE = 0x7b
/** What stands before the metadata of a stored object: `encodeObject` puts nothing but two texts there. */
const METADATA = Buffer.from('"metadata":')

/** An object as it is stored: metadata at the front, without the revision, which is the store's to say. */
export function encodeObject(object: KubeObject): Uint8Array {
  const { resourceVersion: _, ...kept } = object.metadata
  let text = `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},"metadata":${JSON.stringify(kept)}`
  for (const key in object) {
    if (key === 'kind' || key === 'apiVersion' || key === 'metadata') continue
    const value = JSON.stringify(object[key])
    if (value !== undefined) text += `,${JSON.stringify(key)}:${value}`
  }
  return encoder.encode(`${text}}`)
}

/**
 * Where the fields of metadata begin in stored bytes; 0 when the bytes are in another order. The second brace
 * of what `encodeObject` wrote is that of the metadata.
 */
function metadataStart(bytes: Uint8Array): number {
  const brace = bytes.indexOf(BRACE, 1)
  const start = brace - METADATA.length
  if (start < 1 || bytes.length <= brace + 2) return 0
  for (let i = 0; i < METADATA.length; i++) if (bytes[start + i] !== METADATA[i]) return 0
  return brace + 1
}

/** One version of an object. The object is frozen, and shared by all who read it. */
export class CacheEntry {
  readonly revision: number
  readonly #stored: Uint8Array
  /** Where the fields of its metadata begin; looked for when it is first served. */
  #start = -1
  /** Kept as long as somebody else uses it: whoever asks meanwhile is given the same. */
  #shared: WeakRef<KubeObject> | undefined
  /** What the bytes were made of, not frozen yet. Entries that stay in a cache have none. */
  #source: KubeObject | undefined

  /** `source`, if it is known, must be what the bytes say, and is the entry's from here on. */
  constructor(stored: Uint8Array, revision: number, source?: KubeObject) {
    this.#stored = stored
    this.revision = revision
    this.#source = source
  }

  /** An entry of a stored value. */
  static of(kv: KeyValue): CacheEntry {
    return new CacheEntry(kv.value, kv.modRevision)
  }

  /** An entry of an object that is not stored. */
  static unstored(object: KubeObject): CacheEntry {
    return new CacheEntry(encodeObject(object), Number(object.metadata.resourceVersion || 0), object)
  }

  get object(): KubeObject {
    const known = this.#shared?.deref()
    if (known) return known
    const object = deepFreeze(this.#read())
    this.#shared = new WeakRef(object)
    return object
  }

  /**
   * The object for who only works out its next state: the one others use, if there is one, else one that is not
   * kept. (The collector of young objects takes what a WeakRef names for used: each one would be moved about.)
   */
  get passing(): KubeObject {
    return this.#shared?.deref() ?? this.#read()
  }

  #read(): KubeObject {
    const object = this.#source ?? (JSON.parse(decoder.decode(this.#stored)) as KubeObject)
    const resourceVersion = this.revision > 0 ? String(this.revision) : ''
    if (object.metadata.resourceVersion === resourceVersion) return object
    return { ...object, metadata: { ...object.metadata, resourceVersion } }
  }

  /** The same state at another revision: what a deletion shows. */
  at(revision: number): CacheEntry {
    return new CacheEntry(this.#stored, revision)
  }

  /** Bytes that `writeJson` writes. */
  get size(): number {
    return this.#metadata() > 0 ? this.#stored.length + this.#version().length : this.#whole().length
  }

  /** Writes the object as JSON, revision included, into `out`; returns where it ends. */
  writeJson(out: Buffer, at: number): number {
    const start = this.#metadata()
    if (start === 0) {
      const whole = this.#whole()
      out.set(whole, at)
      return at + whole.length
    }
    const stored = this.#stored
    const version = this.#version()
    const end = at + stored.length
    out.set(stored, at)
    out.copyWithin(at + start + version.length, at + start, end)
    out.write(version, at + start, 'latin1')
    return end + version.length
  }

  /** The object as JSON. */
  json(): Buffer {
    const out = Buffer.allocUnsafe(this.size)
    this.writeJson(out, 0)
    return out
  }

  #metadata(): number {
    if (this.#start < 0) this.#start = metadataStart(this.#stored)
    return this.#start
  }

  #version(): string {
    return this.revision > 0 ? `"resourceVersion":"${this.revision}",` : ''
  }

  #whole(): Uint8Array {
    return encoder.encode(JSON.stringify(this.object))
  }
}
