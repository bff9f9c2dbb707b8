// Protocol Buffers from tables of field numbers (the encoding rules of protobuf.dev/programming-guides/encoding).

import { SampanError } from '#base'

export type Scalar =
  | 'string'
  | 'bytes'
  | 'bool'
  | 'int32'
  | 'int64'
  | 'uint32'
  | 'uint64'
  | 'sint64'
  | 'enum'
  | 'double'
  | 'float'
  | 'fixed32'
  | 'fixed64'

/** A message value: plain fields by name. 64-bit integers are numbers, bytes are Uint8Arrays. */
// biome-ignore lint/suspicious/noExplicitAny: the field table, not the compiler, types a message
export type Message = Record<string, any>

export type FieldType = Scalar | MessageType | (() => MessageType)

interface Repeated {
  readonly repeated: FieldType
}
interface MapOf {
  readonly map: FieldType
  readonly key: Scalar
}

export type FieldSpec = readonly [number: number, type: FieldType | Repeated | MapOf]

export const repeated = (type: FieldType): Repeated => ({ repeated: type })
export const mapOf = (map: FieldType, key: Scalar = 'string'): MapOf => ({ map, key })

interface Field {
  readonly name: string
  readonly number: number
  readonly type: FieldType
  readonly shape: 'one' | 'many' | 'map'
  readonly key: Scalar
}

const MAX_DEPTH = 100

/** A message type: its full name and its fields. Unknown fields are skipped when reading. */
export class MessageType {
  readonly name: string
  readonly #byName = new Map<string, Field>()
  readonly #byNumber = new Map<number, Field>()
  readonly #strict: boolean

  /** `strict`: reading a field that is not in the table fails with UnknownField instead of skipping it. */
  constructor(name: string, fields: Record<string, FieldSpec>, options: { strict?: boolean } = {}) {
    this.name = name
    this.#strict = options.strict ?? false
    for (const [fieldName, [number, type]] of Object.entries(fields)) {
      const field: Field =
        typeof type === 'object' && 'repeated' in type
          ? { name: fieldName, number, type: type.repeated, shape: 'many', key: 'string' }
          : typeof type === 'object' && 'map' in type
            ? { name: fieldName, number, type: type.map, shape: 'map', key: type.key }
            : { name: fieldName, number, type, shape: 'one', key: 'string' }
      this.#byName.set(fieldName, field)
      this.#byNumber.set(number, field)
    }
  }

  /** Encodes the fields that are defined. Fails with ProtobufError on a name the type does not have. */
  encode(value: Message): Buffer {
    const out = new Writer()
    this.write(out, value)
    return out.finish()
  }

  /** Decodes a message. Fields that are bytes are views of `bytes`: whoever keeps few of them copies those. */
  decode(bytes: Uint8Array): Message {
    return this.read(new Reader(bytes), bytes.length, 0)
  }

  write(out: Writer, value: Message): void {
    for (const name in value) {
      const item = value[name]
      if (item === undefined || item === null) continue
      const field = this.#byName.get(name)
      if (!field) throw new SampanError('ProtobufError', `Cannot encode ${this.name}: it has no field ${name}`)
      if (field.shape === 'one') writeField(out, field.number, field.type, item)
      else if (field.shape === 'many') {
        if (item.length > 0 && isPackable(field.type)) writePacked(out, field.number, field.type as Scalar, item)
        else for (const element of item) writeField(out, field.number, field.type, element)
      } else
        for (const key of Object.keys(item)) {
          out.varint(field.number * 8 + 2)
          out.nested(() => {
            writeField(out, 1, field.key, field.key === 'string' ? key : Number(key))
            writeField(out, 2, field.type, item[key])
          })
        }
    }
  }

  read(reader: Reader, end: number, depth: number): Message {
    if (depth > MAX_DEPTH) throw new SampanError('ProtobufError', `Cannot decode ${this.name}: nested too deeply`)
    const value: Message = {}
    while (reader.at < end) {
      const tag = reader.varint()
      const wire = tag & 7
      const field = this.#byNumber.get(tag >>> 3)
      if (!field) {
        if (this.#strict)
          throw new SampanError('UnknownField', `Cannot decode ${this.name}: its field ${tag >>> 3} is not known`)
        reader.skip(wire)
        continue
      }
      if (field.shape === 'map') {
        const map = (value[field.name] ??= {})
        const entryLength = reader.length()
        const entryEnd = reader.at + entryLength
        let key: unknown = field.key === 'string' ? '' : 0
        let item: unknown = defaultOf(field.type)
        while (reader.at < entryEnd) {
          const inner = reader.varint()
          if (inner >>> 3 === 1) key = readValue(reader, field.key, inner & 7, depth + 1)
          else if (inner >>> 3 === 2) item = readValue(reader, field.type, inner & 7, depth + 1)
          else reader.skip(inner & 7)
        }
        map[String(key)] = item
      } else if (field.shape === 'many') {
        const list = (value[field.name] ??= [])
        if (wire === 2 && isPackable(field.type)) {
          const packedLength = reader.length()
          const packedEnd = reader.at + packedLength
          while (reader.at < packedEnd) list.push(readScalar(reader, field.type as Scalar))
        } else list.push(readValue(reader, field.type, wire, depth + 1))
      } else value[field.name] = readValue(reader, field.type, wire, depth + 1)
    }
    return value
  }
}

/** Declares a message type. */
export function message(name: string, fields: Record<string, FieldSpec>): MessageType {
  return new MessageType(name, fields)
}

function resolve(type: FieldType): Scalar | MessageType {
  return typeof type === 'function' ? type() : type
}

function isPackable(type: FieldType): boolean {
  return typeof type === 'string' && type !== 'string' && type !== 'bytes'
}

function defaultOf(type: FieldType): unknown {
  const t = resolve(type)
  if (typeof t !== 'string') return {}
  if (t === 'string') return ''
  if (t === 'bytes') return new Uint8Array(0)
  return t === 'bool' ? false : 0
}

const WIRE: Record<Scalar, number> = {
  string: 2,
  bytes: 2,
  bool: 0,
  int32: 0,
  int64: 0,
  uint32: 0,
  uint64: 0,
  sint64: 0,
  enum: 0,
  double: 1,
  fixed64: 1,
  float: 5,
  fixed32: 5,
}

function writeField(out: Writer, number: number, type: FieldType, value: unknown): void {
  const t = resolve(type)
  if (typeof t === 'string') {
    out.varint(number * 8 + WIRE[t])
    writeScalar(out, t, value)
  } else {
    out.varint(number * 8 + 2)
    out.nested(() => t.write(out, value as Message))
  }
}

function writePacked(out: Writer, number: number, type: Scalar, values: readonly unknown[]): void {
  out.varint(number * 8 + 2)
  out.nested(() => {
    for (const value of values) writeScalar(out, type, value)
  })
}

function writeScalar(out: Writer, type: Scalar, value: unknown): void {
  switch (type) {
    case 'string':
      return out.text(String(value))
    case 'bytes':
      return out.bytes(value as Uint8Array)
    case 'bool':
      return out.varint(value ? 1 : 0)
    case 'double':
      return out.double(Number(value))
    case 'float':
      return out.float(Number(value))
    case 'fixed32':
      return out.fixed32(Number(value))
    case 'fixed64':
      return out.fixed64(BigInt(value as number))
    case 'sint64': {
      const n = BigInt(value as number)
      return out.bigVarint((n << 1n) ^ (n >> 63n))
    }
    default:
      return out.varint(Number(value))
  }
}

function readValue(reader: Reader, type: FieldType, wire: number, depth: number): unknown {
  const t = resolve(type)
  if (typeof t !== 'string') {
    if (wire !== 2) throw new SampanError('ProtobufError', `Cannot decode ${t.name}: wire type ${wire}`)
    const length = reader.length()
    return t.read(reader, reader.at + length, depth)
  }
  if (WIRE[t] !== wire) throw new SampanError('ProtobufError', `Cannot decode a ${t}: wire type ${wire}`)
  return readScalar(reader, t)
}

function readScalar(reader: Reader, type: Scalar): unknown {
  switch (type) {
    case 'string':
      return reader.text()
    case 'bytes':
      return reader.bytes()
    case 'bool':
      return reader.varint() !== 0
    case 'double':
      return reader.double()
    case 'float':
      return reader.float()
    case 'fixed32':
      return reader.fixed32()
    case 'fixed64':
      return reader.fixed64()
    case 'int32':
      return Number(BigInt.asIntN(32, reader.bigVarint()))
    case 'sint64': {
      const n = reader.bigVarint()
      return Number((n >> 1n) ^ -(n & 1n))
    }
    case 'int64':
      return Number(BigInt.asIntN(64, reader.bigVarint()))
    default:
      return reader.varint()
  }
}

/** A growing buffer. */
export class Writer {
  #buffer = Buffer.allocUnsafe(256)
  #at = 0

  finish(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#at)
    this.#buffer.copy(bytes, 0, 0, this.#at)
    return bytes
  }

  varint(value: number): void {
    if (value < 0 || value > 0xffffffff) return this.bigVarint(BigInt.asUintN(64, BigInt(Math.trunc(value))))
    this.#room(5)
    let rest = value
    while (rest > 127) {
      this.#buffer[this.#at++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.#buffer[this.#at++] = rest
  }

  bigVarint(value: bigint): void {
    this.#room(10)
    let rest = BigInt.asUintN(64, value)
    while (rest > 127n) {
      this.#buffer[this.#at++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    this.#buffer[this.#at++] = Number(rest)
  }

  text(value: string): void {
    const length = Buffer.byteLength(value)
    this.varint(length)
    this.#room(length)
    this.#buffer.write(value, this.#at)
    this.#at += length
  }

  bytes(value: Uint8Array): void {
    this.varint(value.length)
    this.#room(value.length)
    this.#buffer.set(value, this.#at)
    this.#at += value.length
  }

  double(value: number): void {
    this.#room(8)
    this.#at = this.#buffer.writeDoubleLE(value, this.#at)
  }

  float(value: number): void {
    this.#room(4)
    this.#at = this.#buffer.writeFloatLE(value, this.#at)
  }

  fixed32(value: number): void {
    this.#room(4)
    this.#at = this.#buffer.writeUInt32LE(value, this.#at)
  }

  fixed64(value: bigint): void {
    this.#room(8)
    this.#at = this.#buffer.writeBigUInt64LE(BigInt.asUintN(64, value), this.#at)
  }

  /** Writes what `body` writes, preceded by its length. */
  nested(body: () => void): void {
    const start = this.#at
    this.#room(1)
    this.#at++
    body()
    const length = this.#at - start - 1
    if (length < 128) {
      this.#buffer[start] = length
      return
    }
    let extra = 0
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) extra++
    this.#room(extra)
    this.#buffer.copyWithin(start + 1 + extra, start + 1, this.#at)
    const end = this.#at + extra
    this.#at = start
    this.varint(length)
    this.#at = end
  }

  #room(size: number): void {
    if (this.#at + size <= this.#buffer.length) return
    const next = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + size))
    this.#buffer.copy(next, 0, 0, this.#at)
    this.#buffer = next
  }
}

/** A cursor over bytes. Fails with ProtobufError beyond the end. */
export class Reader {
  readonly #data: Buffer
  at = 0

  constructor(data: Uint8Array) {
    this.#data = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  }

  varint(): number {
    let result = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      const byte = this.#data[this.at++]
      if (byte === undefined) throw this.#short()
      result += (byte & 127) * scale
      if (byte < 128)
        return result > Number.MAX_SAFE_INTEGER ? Number(BigInt.asIntN(64, BigInt(Math.trunc(result)))) : result
      scale *= 128
    }
    throw new SampanError('ProtobufError', 'Cannot decode a varint: too long')
  }

  bigVarint(): bigint {
    let result = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#data[this.at++]
      if (byte === undefined) throw this.#short()
      result |= BigInt(byte & 127) << shift
      if (byte < 128) return result
    }
    throw new SampanError('ProtobufError', 'Cannot decode a varint: too long')
  }

  /** A length prefix that must fit in what is left. */
  length(): number {
    const length = this.varint()
    // A varint of ten bytes may be negative.
    if (!(length >= 0 && this.at + length <= this.#data.length)) throw this.#short()
    return length
  }

  text(): string {
    const length = this.length()
    this.at += length
    return this.#data.toString('utf8', this.at - length, this.at)
  }

  bytes(): Uint8Array {
    const length = this.length()
    this.at += length
    return new Uint8Array(this.#data.buffer, this.#data.byteOffset + this.at - length, length)
  }

  double(): number {
    return this.#data.readDoubleLE(this.#take(8))
  }

  float(): number {
    return this.#data.readFloatLE(this.#take(4))
  }

  fixed32(): number {
    return this.#data.readUInt32LE(this.#take(4))
  }

  fixed64(): number {
    return Number(this.#data.readBigUInt64LE(this.#take(8)))
  }

  skip(wire: number): void {
    if (wire === 0) this.varint()
    else if (wire === 1) this.#take(8)
    else if (wire === 2) {
      const length = this.length()
      this.at += length
    } else if (wire === 5) this.#take(4)
    else throw new SampanError('ProtobufError', `Cannot decode a field: wire type ${wire}`)
  }

  #take(size: number): number {
    const at = this.at
    if (at + size > this.#data.length) throw this.#short()
    this.at += size
    return at
  }

  #short(): SampanError {
    return new SampanError('ProtobufError', 'Cannot decode a message: it is cut short')
  }
}
