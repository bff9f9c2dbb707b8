// The journal's frame: length, checksum, and the changes of one sync. Hot path; bench/store measures it.

import { crc32 } from 'node:zlib'
import { SampanError } from '#base'
import { StoreErrors } from './contract.ts'
import type { Change } from './journal.ts'

/**
 * A frame holds everything written before one sync, so at most the last frame of a file can be torn.
 * Layout, little endian: u32 length of the body, u32 CRC-32 of the body, body = records. A record is
 * u8 type (1 put, 2 delete, 3 revision mark), f64 revision, f64 createRevision, u16 key length,
 * u32 value length, key, value.
 */
const HEAD = 8
const FIXED = 1 + 8 + 8 + 2 + 4
const MAX_FRAME = 256 * 1024 * 1024

/** A record read back: a change, or a mark that only carries a revision. */
export type JournalRecord = Change | { readonly type: 'mark'; readonly revision: number }

export function encodeRecord(record: JournalRecord): Buffer {
  const key = record.type === 'mark' ? '' : record.key
  const value = record.type === 'put' ? record.value : undefined
  const keyLength = Buffer.byteLength(key)
  const buffer = Buffer.allocUnsafe(FIXED + keyLength + (value?.length ?? 0))
  buffer[0] = record.type === 'put' ? 1 : record.type === 'delete' ? 2 : 3
  buffer.writeDoubleLE(record.revision, 1)
  buffer.writeDoubleLE(record.type === 'mark' ? 0 : record.createRevision, 9)
  buffer.writeUInt16LE(keyLength, 17)
  buffer.writeUInt32LE(value?.length ?? 0, 19)
  buffer.write(key, FIXED)
  if (value) buffer.set(value, FIXED + keyLength)
  return buffer
}

/** Joins records into one frame. */
export function encodeFrame(records: readonly Buffer[]): Buffer {
  const frame = Buffer.concat([Buffer.alloc(HEAD), ...records])
  frame.writeUInt32LE(frame.length - HEAD, 0)
  frame.writeUInt32LE(crc32(frame.subarray(HEAD)), 4)
  return frame
}

/**
 * Reads all frames of `data` from `start`. A damaged frame with nothing valid behind it is a write
 * that was never acknowledged: reading stops there (`end` is where the good part ends). With valid
 * frames behind it, it is damage: Corrupt, naming file and offset.
 */
export function decodeFrames(
  data: Buffer,
  file: string,
  onRecord: (record: JournalRecord) => void,
  start = 0,
): { end: number } {
  let at = start
  while (at < data.length) {
    const end = validFrameEnd(data, at)
    if (end === undefined) {
      if (!hasFrameAfter(data, at + 1)) return { end: at }
      throw new SampanError(
        StoreErrors.corrupt,
        `Cannot read ${file}: the frame at byte ${at} is damaged; restore the file from a backup`,
      )
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

function validFrameEnd(data: Buffer, at: number): number | undefined {
  if (data.length - at < HEAD + FIXED) return undefined
  const length = data.readUInt32LE(at)
  const end = at + HEAD + length
  if (length < FIXED || length > MAX_FRAME || end > data.length) return undefined
  return crc32(data.subarray(at + HEAD, end)) === data.readUInt32LE(at + 4) ? end : undefined
}

/** True when a whole, valid frame begins anywhere at or after `at`: what is before it was acknowledged. */
function hasFrameAfter(data: Buffer, at: number): boolean {
  for (let i = at; i + HEAD + FIXED <= data.length; i++) {
    const type = data[i + HEAD]!
    if (type >= 1 && type <= 3 && validFrameEnd(data, i) !== undefined) return true
  }
  return false
}
