// Container logs: reads the files the runtime writes ("time stream tag text"), whole, in part or as they grow.

import { existsSync, readdirSync, watch } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { errors } from '#api'
import type { Clock } from '#base'

/** What part of a log is wanted. */
export interface LogQuery {
  follow: boolean
  previous: boolean
  timestamps: boolean
  tailLines?: number | undefined
  limitBytes?: number | undefined
  /** Milliseconds. */
  since?: number | undefined
}

const CHUNK = 64 * 1024

/** The log file of the newest attempt (or the one before); undefined when there is none. */
export function logFile(directory: string, previous: boolean): string | undefined {
  if (!existsSync(directory)) return undefined
  const attempts = readdirSync(directory)
    .filter((f) => /^\d+\.log$/.test(f))
    .map((f) => Number.parseInt(f, 10))
    .sort((a, b) => b - a)
  const attempt = attempts[previous ? 1 : 0]
  return attempt === undefined ? undefined : join(directory, `${attempt}.log`)
}

/** How lines of a file are written: "time stream tag text" as the runtime does, or "time text". */
export type LineStyle = 'runtime' | 'plain'

/** Streams a container's log. `ended` tells whether nothing more will be written. Fails with BadRequest or NotFound. */
export async function readLog(
  directory: string,
  query: LogQuery,
  onData: (data: Buffer) => void,
  clock: Clock,
  ended: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const path = logFile(directory, query.previous)
  if (!path) {
    if (query.previous) throw errors.badRequest('previous terminated container not found')
    return
  }
  await readLogFile(path, 'runtime', query, onData, clock, ended, signal)
}

/** Streams one log file. */
export async function readLogFile(
  path: string,
  style: LineStyle,
  query: LogQuery,
  onData: (data: Buffer) => void,
  clock: Clock,
  ended: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  if (!existsSync(path)) return
  const file = await open(path, 'r')
  try {
    const format = new LineFormat(style, query, onData)
    let at = query.tailLines === undefined ? 0 : await tailOffset(file, query.tailLines, style)
    const drain = async () => {
      const buffer = Buffer.alloc(CHUNK)
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, CHUNK, at)
        if (bytesRead === 0 || format.done || signal.aborted) return
        at += bytesRead
        format.push(buffer.subarray(0, bytesRead))
      }
    }
    await drain()
    while (query.follow && !format.done && !signal.aborted) {
      const over = ended()
      await drain()
      if (over) return
      await changed(path, clock, signal)
      await drain()
    }
  } finally {
    await file.close()
  }
}

/** Resolves when a file grows, or after a second at most. */
function changed(path: string, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const watcher = watch(path, { persistent: false }, () => finish())
    const timer = clock.after(1000, () => finish())
    const finish = () => {
      watcher.close()
      timer.cancel()
      signal.removeEventListener('abort', finish)
      resolve()
    }
    watcher.on('error', finish)
    signal.addEventListener('abort', finish, { once: true })
  })
}

/** Where the last `lines` lines begin. Partial lines of the runtime count as the line they are part of. */
async function tailOffset(file: Awaited<ReturnType<typeof open>>, lines: number, style: LineStyle): Promise<number> {
  const { size } = await file.stat()
  if (lines <= 0) return size
  let at = size
  let found = 0
  let tail: Buffer = Buffer.alloc(0)
  while (at > 0) {
    const length = Math.min(CHUNK, at)
    at -= length
    const buffer = Buffer.alloc(length)
    await file.read(buffer, 0, length, at)
    tail = Buffer.concat([buffer, tail])
    found = 0
    for (let end = tail.length - 1; end > 0; ) {
      const start = tail.lastIndexOf(10, end - 1)
      const line = tail.subarray(start + 1, end)
      if (start < 0 && at > 0) break
      if (style === 'plain' || /^\S+ \S+ F /.test(line.subarray(0, 64).toString('latin1'))) found++
      if (found > lines) return at + end + 1
      if (start < 0) break
      end = start
    }
  }
  return 0
}

/** Turns the runtime's lines into what was printed. */
class LineFormat {
  readonly #style: LineStyle
  readonly #query: LogQuery
  readonly #onData: (data: Buffer) => void
  #rest: Buffer = Buffer.alloc(0)
  #left: number
  #midLine = false

  constructor(style: LineStyle, query: LogQuery, onData: (data: Buffer) => void) {
    this.#style = style
    this.#query = query
    this.#onData = onData
    this.#left = query.limitBytes ?? Number.POSITIVE_INFINITY
  }

  get done(): boolean {
    return this.#left <= 0
  }

  push(data: Buffer): void {
    this.#rest = this.#rest.length === 0 ? Buffer.from(data) : Buffer.concat([this.#rest, data])
    const parts: Buffer[] = []
    let start = 0
    for (let end = this.#rest.indexOf(10); end >= 0; end = this.#rest.indexOf(10, start)) {
      this.#line(this.#rest.subarray(start, end), parts)
      start = end + 1
    }
    this.#rest = this.#rest.subarray(start)
    if (parts.length === 0) return
    let output = Buffer.concat(parts)
    if (output.length > this.#left) output = output.subarray(0, this.#left)
    this.#left -= output.length
    this.#onData(output)
  }

  #line(line: Buffer, parts: Buffer[]): void {
    if (this.#style === 'plain') return this.#plain(line, parts)
    const first = line.indexOf(32)
    const second = line.indexOf(32, first + 1)
    const third = line.indexOf(32, second + 1)
    if (first < 0 || second < 0 || third < 0) return
    const time = line.toString('latin1', 0, first)
    if (this.#query.since !== undefined && Date.parse(time) < this.#query.since) return
    const whole = line[second + 1] === 70 // F
    if (this.#query.timestamps && !this.#midLine) parts.push(Buffer.from(`${time} `))
    parts.push(line.subarray(third + 1))
    if (whole) parts.push(NEWLINE)
    this.#midLine = !whole
  }

  #plain(line: Buffer, parts: Buffer[]): void {
    const time = line.toString('latin1', 0, Math.max(0, line.indexOf(32)))
    if (this.#query.since !== undefined && Date.parse(time) < this.#query.since) return
    parts.push(...(this.#query.timestamps ? [Buffer.from(`${time} `)] : []), line, NEWLINE)
  }
}

const NEWLINE = Buffer.from('\n')
