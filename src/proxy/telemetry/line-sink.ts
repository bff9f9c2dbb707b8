// Where the lines of access logs go.

import { createWriteStream, type WriteStream } from 'node:fs'
import type { LineSink } from './access-log.ts'

/** Lines to files, several of one turn in one write; lines that a slow reader leaves are lost, not kept. */
export function lineSink(): LineSink {
  const streams = new Map<string, WriteStream | NodeJS.WriteStream>()
  const streamOf = (path: string) => {
    let stream = streams.get(path)
    if (!stream) {
      stream =
        path === '/dev/stdout'
          ? process.stdout
          : path === '/dev/stderr'
            ? process.stderr
            : createWriteStream(path, { flags: 'a' })
      stream.on('error', () => {})
      streams.set(path, stream)
    }
    return stream
  }
  const waiting = new Map<string, string>()
  return (path, line) => {
    const before = waiting.get(path)
    waiting.set(path, (before ?? '') + line)
    if (before !== undefined) return
    setImmediate(() => {
      const text = waiting.get(path) ?? ''
      waiting.delete(path)
      const stream = streamOf(path)
      if (stream.writableLength < 1024 * 1024) stream.write(text)
    })
  }
}
