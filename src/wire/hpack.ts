// Header compression of HTTP/2 (RFC 7541). Hot path; bench/proxy measures it.

import { SampanError } from '#base'
import { decodeHuffman } from './huffman.ts'

/** Names and values of the static table, from index 1 (RFC 7541, appendix A). */
const STATIC: readonly (readonly [name: string, value: string])[] = (
  ':authority=,:method=GET,:method=POST,:path=/,:path=/index.html,:scheme=http,:scheme=https,:status=200,' +
  ':status=204,:status=206,:status=304,:status=400,:status=404,:status=500,accept-charset=,' +
  'accept-encoding=gzip; deflate,accept-language=,accept-ranges=,accept=,access-control-allow-origin=,age=,allow=,' +
  'authorization=,cache-control=,content-disposition=,content-encoding=,content-language=,content-length=,' +
  'content-location=,content-range=,content-type=,cookie=,date=,etag=,expect=,expires=,from=,host=,if-match=,' +
  'if-modified-since=,if-none-match=,if-range=,if-unmodified-since=,last-modified=,link=,location=,max-forwards=,' +
  'proxy-authenticate=,proxy-authorization=,range=,referer=,refresh=,retry-after=,server=,set-cookie=,' +
  'strict-transport-security=,transfer-encoding=,user-agent=,vary=,via=,www-authenticate='
)
  .split(',')
  .map((entry) => {
    const [name = '', value = ''] = entry.split('=')
    // The one value with a comma in it.
    return [name, value === 'gzip; deflate' ? 'gzip, deflate' : value] as const
  })
const STATIC_COUNT = STATIC.length

/** Index of a name in the static table, and of its values. */
const STATIC_NAMES = new Map<string, number>()
const STATIC_PAIRS = new Map<string, Map<string, number>>()
for (const [i, [name, value]] of STATIC.entries()) {
  if (!STATIC_NAMES.has(name)) STATIC_NAMES.set(name, i + 1)
  if (value === '') continue
  const values = STATIC_PAIRS.get(name) ?? new Map<string, number>()
  STATIC_PAIRS.set(name, values.set(value, i + 1))
}

/** Bytes of a dynamic table, on either side, at most; the protocol's own default. */
export const TABLE_SIZE = 4096
/** What an entry costs beside its text (RFC 7541, 4.1). */
const OVERHEAD = 32

interface Entry {
  readonly name: string
  readonly value: string
  readonly size: number
}

/** Entries in order of insertion; the newest has the lowest index. */
class DynamicTable {
  #entries: Entry[] = []
  /** Entries before this one are gone. */
  #first = 0
  #size = 0
  #limit = TABLE_SIZE
  /** How many were ever put in. */
  inserted = 0
  onEvict: (entry: Entry) => void = () => {}

  get limit(): number {
    return this.#limit
  }

  set limit(limit: number) {
    this.#limit = limit
    this.#evict(0)
  }

  get count(): number {
    return this.#entries.length - this.#first
  }

  /** The entry with an index of its own, from 0. */
  at(index: number): Entry | undefined {
    return index < this.count ? this.#entries[this.#entries.length - 1 - index] : undefined
  }

  add(name: string, value: string): boolean {
    const size = name.length + value.length + OVERHEAD
    this.#evict(size)
    if (size > this.#limit) return false
    this.#entries.push({ name, value, size })
    this.#size += size
    this.inserted++
    return true
  }

  #evict(room: number): void {
    while (this.count > 0 && this.#size + room > this.#limit) {
      const entry = this.#entries[this.#first++]!
      this.#size -= entry.size
      this.onEvict(entry)
    }
    if (this.#first > 64 && this.#first > this.#entries.length / 2) {
      this.#entries = this.#entries.slice(this.#first)
      this.#first = 0
    }
  }
}

const bad = (why: string) => new SampanError('HpackError', `Cannot read a header block: ${why}`)

/** Reads the header blocks of one connection, in order. */
export class HpackDecoder {
  readonly #table = new DynamicTable()
  #data: Uint8Array = new Uint8Array()
  #at = 0

  /**
   * The names and values of a block, by turns. `limit` bounds their size as RFC 9113, 6.5.2 counts it; beyond it
   * undefined comes back, with the table in order all the same. Fails with HpackError.
   */
  decode(block: Buffer, limit: number): string[] | undefined {
    const fields: string[] = []
    let size = 0
    this.#data = block
    this.#at = 0
    let begun = false
    while (this.#at < block.length) {
      const byte = block[this.#at]!
      let name: string
      let value: string
      if (byte & 0x80) {
        const index = this.#integer(7)
        const entry = index <= STATIC_COUNT ? STATIC[index - 1] : undefined
        if (entry) [name, value] = entry
        else {
          const dynamic = index > 0 ? this.#table.at(index - STATIC_COUNT - 1) : undefined
          if (!dynamic) throw bad(`no entry ${index}`)
          ;({ name, value } = dynamic)
        }
      } else if ((byte & 0xe0) === 0x20) {
        const wanted = this.#integer(5)
        if (begun || wanted > TABLE_SIZE) throw bad('table size out of place')
        this.#table.limit = wanted
        continue
      } else {
        const indexed = (byte & 0xc0) === 0x40
        const index = this.#integer(indexed ? 6 : 4)
        name = index === 0 ? this.#string(block) : this.#name(index)
        value = this.#string(block)
        if (indexed) this.#table.add(name, value)
      }
      begun = true
      size += name.length + value.length + OVERHEAD
      if (size <= limit) fields.push(name, value)
    }
    return size <= limit ? fields : undefined
  }

  #name(index: number): string {
    const name = index <= STATIC_COUNT ? STATIC[index - 1]![0] : this.#table.at(index - STATIC_COUNT - 1)?.name
    if (name === undefined) throw bad(`no entry ${index}`)
    return name
  }

  #integer(bits: number): number {
    const mask = (1 << bits) - 1
    let value = this.#data[this.#at++]! & mask
    if (value < mask) return value
    for (let shift = 0; ; shift += 7) {
      const byte = this.#data[this.#at++]
      if (byte === undefined || shift > 21) throw bad('bad integer')
      value += (byte & 0x7f) << shift
      if (!(byte & 0x80)) return value
    }
  }

  #string(block: Buffer): string {
    if (this.#at >= block.length) throw bad('it ends too early')
    const huffman = (block[this.#at]! & 0x80) !== 0
    const length = this.#integer(7)
    const end = this.#at + length
    if (end > block.length) throw bad('it ends too early')
    const text = huffman ? decodeHuffman(block, this.#at, end) : block.toString('latin1', this.#at, end)
    if (text === undefined) throw bad('bad Huffman code')
    this.#at = end
    return text
  }
}

/** Names whose values rarely come again: they would push others out of the table. */
const FLEETING = new Set([
  ':path',
  'content-length',
  'date',
  'x-request-id',
  'traceparent',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-envoy-upstream-service-time',
  'etag',
  'last-modified',
  'location',
  'grpc-timeout',
  'age',
  'if-none-match',
  'if-modified-since',
])
/** Names whose values are not kept where guesses could find them (RFC 7541, 7.1.3). */
const SECRET = new Set(['authorization', 'cookie', 'set-cookie', 'proxy-authorization'])
/** Values longer than this are not worth a place in the table. */
const MAX_INDEXED = 1024

/** Writes the header blocks of one connection, in order. */
export class HpackEncoder {
  readonly #table = new DynamicTable()
  /** When each value of a name was put in, counted from 1. */
  readonly #known = new Map<string, Map<string, number>>()
  #announce: number | undefined
  // Not out of Node's pool: a piece that lives as long as the connection would keep all 64 KB of it.
  #out = Buffer.allocUnsafeSlow(512)
  #at = 0

  constructor() {
    this.#table.onEvict = ({ name, value }) => {
      const values = this.#known.get(name)
      if (!values) return
      const when = values.get(value)
      // A later one with the same value may have taken its place.
      if (when !== undefined && when <= this.#table.inserted - this.#table.count) values.delete(value)
      if (values.size === 0) this.#known.delete(name)
    }
  }

  /** The reader's table holds so much at most. */
  set limit(limit: number) {
    const used = Math.min(limit, TABLE_SIZE)
    if (used === this.#table.limit) return
    this.#table.limit = used
    this.#announce = used
  }

  /** A block of names and values; what comes back is good until the next call. */
  encode(fields: readonly string[]): Buffer {
    this.#at = 0
    let room = 64
    for (let i = 0; i < fields.length; i++) room += fields[i]!.length + 6
    if (room > this.#out.length) this.#out = Buffer.allocUnsafeSlow(room * 2)
    if (this.#announce !== undefined) {
      this.#integer(0x20, 5, this.#announce)
      this.#announce = undefined
    }
    for (let i = 0; i < fields.length; i += 2) this.#field(fields[i]!, fields[i + 1]!)
    return this.#out.subarray(0, this.#at)
  }

  #field(name: string, value: string): void {
    const fixed = STATIC_PAIRS.get(name)?.get(value)
    if (fixed !== undefined) return this.#integer(0x80, 7, fixed)
    const values = this.#known.get(name)
    const when = values?.get(value)
    if (when !== undefined) return this.#integer(0x80, 7, STATIC_COUNT + 1 + this.#table.inserted - when)
    const secret = SECRET.has(name)
    const index = STATIC_NAMES.get(name) ?? 0
    if (secret || FLEETING.has(name) || value.length > MAX_INDEXED) this.#integer(secret ? 0x10 : 0, 4, index)
    else {
      this.#integer(0x40, 6, index)
      if (this.#table.add(name, value)) {
        const all = this.#known.get(name) ?? new Map<string, number>()
        this.#known.set(name, all.set(value, this.#table.inserted))
      }
    }
    if (index === 0) this.#string(name)
    this.#string(value)
  }

  #integer(flags: number, bits: number, value: number): void {
    const mask = (1 << bits) - 1
    if (value < mask) {
      this.#out[this.#at++] = flags | value
      return
    }
    this.#out[this.#at++] = flags | mask
    let rest = value - mask
    for (; rest >= 128; rest >>>= 7) this.#out[this.#at++] = (rest & 127) | 128
    this.#out[this.#at++] = rest
  }

  #string(text: string): void {
    this.#integer(0, 7, text.length)
    this.#at += this.#out.write(text, this.#at, 'latin1')
  }
}
