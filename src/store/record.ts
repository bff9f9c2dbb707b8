// The journal's frame: length, checksums, and the changes of one sync. Hot path; bench/store measures it.

import { crc32 } from 'node:zlib'
import { SampanError } from '#base'
import { StoreErrors } from './contract.ts'
import type { Change } from './journal.ts'

/**
 * A frame holds everything written before one sync, so at most the last frame of a file can be torn.
 * Layout, little endian: u32 length of the body, u32 CRC-32 of the body, u32 CRC-32 of these eight bytes and
 * of the frame's place in the file, body = records. A record is u8 type (1 put, 2 delete, 3 revision mark),
 * f64 revision, f64 createRevision, u16 key length, u32 value length, key, value.
 */
const HEAD = 12
const FIXED = 1 + 8 + 8 + 2 + 4
/** A write that power cut short leaves whole sectors unwritten: zeroes. */
const SECTOR = 512

/** A record read back: a change, or a mark that only carries a revision. */
export type JournalRecord = Change | { readonly type: 'mark'; readonly revision: number }

/** Bytes of a record. */
function sizeOf(record: JournalRecord): number {
  if (record.type === 'mark') return FIXED
  // Keys are ASCII nearly always: their length is that of the text.
  return FIXED + Buffer.byteLength(record.key) + (record.type === 'put' ? record.value.length : 0)
}

function writeRecord(out: Buffer, start: number, record: JournalRecord): number {
  const put = record.type === 'put'
  out[start] = put ? 1 : record.type === 'delete' ? 2 : 3
  out.writeDoubleLE(record.revision, start + 1)
  out.writeDoubleLE(record.type === 'mark' ? 0 : record.createRevision, start + 9)
  const keyLength = record.type === 'mark' ? 0 : out.write(record.key, start + FIXED)
  out.writeUInt16LE(keyLength, start + 17)
  out.writeUInt32LE(put ? record.value.length : 0, start + 19)
  if (put) out.set(record.value, start + FIXED + keyLength)
  return start + FIXED + keyLength + (put ? record.value.length : 0)
}

/** Records as one frame that will stand at byte `place` of its file. */
export function encodeFrame(records: readonly JournalRecord[], place: number): Buffer {
  let size = HEAD
  for (const record of records) size += sizeOf(record)
  const frame = Buffer.allocUnsafe(size)
  let at = HEAD
  for (const record of records) at = writeRecord(frame, at, record)
  frame.writeUInt32LE(size - HEAD, 0)
  frame.writeUInt32LE(crc32(frame.subarray(HEAD)), 4)
  frame.writeUInt32LE(headSum(frame, 0, place), 8)
  return frame
}

/** The checksum of a head: a frame copied to another place is not valid there. */
function headSum(data: Buffer, at: number, place: number): number {
  return crc32(String(place), crc32(data.subarray(at, at + 8)))
}

/**
 * Reads all frames of `data` from `start`. The last frame may be the torn rest of a write that was never
 * acknowledged: the file ends within it, or sectors of it were not written. Reading stops there (`end` is
 * where the good part ends). Anything else that does not add up is damage: Corrupt, naming file and byte.
 */
export function decodeFrames(
  data: Buffer,
  file: string,
  onRecord: (record: JournalRecord) => void,
  start = 0,
): { end: number } {
  let at = start
  const damaged = () =>
    new SampanError(
      StoreErrors.corrupt,
      `Cannot read ${file}: the frame at byte ${at} is damaged; restore it from a backup (sampan restore)`,
    )
  while (at < data.length) {
    const rest = data.length - at
    if (rest < HEAD) return { end: at }
    if (data.readUInt32LE(at + 8) !== headSum(data, at, at)) {
      if (tornHead(data, at)) return { end: at }
      throw damaged()
    }
    const length = data.readUInt32LE(at)
    const end = at + HEAD + length
    if (end > data.length) return { end: at }
    if (crc32(data.subarray(at + HEAD, end)) !== data.readUInt32LE(at + 4)) {
      if (end === data.length && hasBlankSector(data, at, end)) return { end: at }
      throw damaged()
    }
    for (let r = at + HEAD; r < end; ) r = decodeRecord(data, r, onRecord)
    at = end
  }
  return { end: at }
}

function decodeRecord(data: Buffer, at: number, onRecord: (record: JournalRecord) => void): number {
  const type = data[at]
  const revision = data.readDoubleLE(at + 1)
  const keyEnd = at + FIXED + data.readUInt16LE(at + 17)
  const end = keyEnd + data.readUInt32LE(at + 19)
  if (type === 3) onRecord({ type: 'mark', revision })
  else
    onRecord({
      type: type === 1 ? 'put' : 'delete',
      revision,
      createRevision: data.readDoubleLE(at + 9),
      key: data.toString('utf8', at + FIXED, keyEnd),
      value: data.subarray(keyEnd, end),
    })
  return end
}

/**
 * Whether a frame's head is a torn write: its sector holds zeroes from there on, and no other frame begins
 * behind it, for then this one was acknowledged.
 */
function tornHead(data: Buffer, at: number): boolean {
  const end = Math.min(data.length, (Math.floor(at / SECTOR) + 1) * SECTOR)
  for (let i = at; i < end; i++) if (data[i] !== 0) return false
  for (let i = end; i + HEAD <= data.length; i++) if (data.readUInt32LE(i + 8) === headSum(data, i, i)) return false
  return true
}

/** Whether a sector that a frame covers, wholly or at its end, holds nothing but zeroes. */
function hasBlankSector(data: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at = (Math.floor(at / SECTOR) + 1) * SECTOR) {
    const to = Math.min(end, (Math.floor(at / SECTOR) + 1) * SECTOR)
    let blank = true
    for (let i = at; i < to && blank; i++) blank = data[i] === 0
    if (blank) return true
  }
  return false
}
