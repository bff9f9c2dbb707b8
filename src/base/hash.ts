// Small stable hashes for names and buckets; not for security.

/** FNV-1a, 32 bits. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash >>> 0
}

/** The alphabet of generated names: no vowels and no look-alikes (Kubernetes' util/rand). */
const SAFE = 'bcdfghjklmnpqrstvwxz2456789'

/** Encodes a number in the alphabet of generated names, `length` characters. */
export function safeEncode(value: number, length: number): string {
  let text = ''
  let rest = value
  for (let i = 0; i < length; i++) {
    text += SAFE[rest % SAFE.length]
    rest = Math.floor(rest / SAFE.length)
  }
  return text
}

/** A random suffix in the alphabet of generated names. */
export function randomSuffix(length: number, random: () => number = Math.random): string {
  let text = ''
  for (let i = 0; i < length; i++) text += SAFE[Math.floor(random() * SAFE.length)]
  return text
}
