// A store that keeps some values sealed: what is on disk cannot be read without the key.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { SampanError } from '#base'
import { type KeyValue, type Store, StoreErrors, type StoreEvent } from './contract.ts'

/** Sealed values begin with this; others are as they were written (from before sealing). */
const HEAD = Buffer.from('k8s:enc:aesgcm:v1:')
const NONCE = 12
const TAG = 16

/** AES-256-GCM. The store's key is authenticated with the value: one cannot stand in for another. */
class Seal {
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    if (key.length !== 32) throw new SampanError('BadKey', 'Cannot seal the store: the key must have 32 bytes')
    this.#key = key
  }

  close(name: string, value: Uint8Array): Uint8Array {
    const nonce = randomBytes(NONCE)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce)
    cipher.setAAD(Buffer.from(name))
    return Buffer.concat([HEAD, nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()])
  }

  open(name: string, value: Uint8Array): Uint8Array {
    const sealed = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    if (!sealed.subarray(0, HEAD.length).equals(HEAD)) return value
    const start = HEAD.length + NONCE
    const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(HEAD.length, start))
    decipher.setAAD(Buffer.from(name))
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG))
    try {
      return Buffer.concat([decipher.update(sealed.subarray(start, sealed.length - TAG)), decipher.final()])
    } catch {
      throw new SampanError(
        StoreErrors.corrupt,
        `Cannot open ${name}: it is sealed with another key, or was changed; restore the encryption key that belongs to this data`,
      )
    }
  }
}

/** Wraps a store; keys for which `covers` is true are sealed with `key` (32 bytes). */
export function sealedStore(store: Store, key: Uint8Array, covers: (key: string) => boolean): Store {
  const seal = new Seal(key)
  const out = (kv: KeyValue): KeyValue => (covers(kv.key) ? { ...kv, value: seal.open(kv.key, kv.value) } : kv)
  const event = (e: StoreEvent): StoreEvent =>
    covers(e.kv.key) ? { ...e, kv: out(e.kv), ...(e.previous ? { previous: out(e.previous) } : {}) } : e
  const into = (name: string, value: Uint8Array) => (covers(name) ? seal.close(name, value) : value)
  return {
    get revision() {
      return store.revision
    },
    get oldest() {
      return store.oldest
    },
    shared: store.shared,
    consistent: () => store.consistent(),
    create: async (name, value) => out(await store.create(name, into(name, value))),
    update: async (name, value, revision) => out(await store.update(name, into(name, value), revision)),
    delete: async (name, revision) => {
      const { previous, revision: at } = await store.delete(name, revision)
      return { previous: out(previous), revision: at }
    },
    get: async (name) => {
      const kv = await store.get(name)
      return kv && out(kv)
    },
    list: async (prefix, options) => {
      const result = await store.list(prefix, options)
      return { ...result, items: result.items.map(out) }
    },
    watch: (prefix, watcher, options) =>
      store.watch(prefix, { ...watcher, onEvents: (events) => watcher.onEvents(events.map(event)) }, options),
    compact: (revision) => store.compact(revision),
    close: () => store.close(),
  }
}
