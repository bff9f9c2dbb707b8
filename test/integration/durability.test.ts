// The embedded store and the disk: killed at every place, slow, full, failing. CRASHES and SEED may be set.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { execOk } from '#base'

const WRITER = fileURLToPath(new URL('../kit/store-writer.ts', import.meta.url))
const CRASHES = Number(process.env.CRASHES ?? 12)
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

// biome-ignore lint/suspicious/noExplicitAny: lines of the writer
type Line = Record<string, any>

/** A writer, under strace when it is to be made to fail. */
class Writer {
  readonly lines: Line[] = []
  readonly #child: ChildProcess
  readonly ended: Promise<void>
  #rest = ''

  constructor(folder: string, mode: string, seed: number, inject: string[] = []) {
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', WRITER, folder, mode, String(seed)]
    const traced = inject.flatMap((i) => ['-e', `inject=${i}`])
    const calls = [...new Set(inject.map((i) => i.split(':')[0]))].join(',')
    const command =
      inject.length > 0 ? ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, ...traced, ...node] : node
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    this.#child.stdout!.setEncoding('utf8').on('data', (data: string) => {
      const parts = (this.#rest + data).split('\n')
      this.#rest = parts.pop()!
      for (const part of parts) this.lines.push(JSON.parse(part))
    })
    let errors = ''
    this.#child.stderr!.setEncoding('utf8').on('data', (data: string) => (errors += data))
    this.ended = new Promise((resolve) => {
      this.#child.on('close', () => {
        if (errors && !/Killed|strace/.test(errors)) this.lines.push({ error: errors })
        resolve()
      })
    })
  }

  /** Kills it, and strace with it, and reads what it said. */
  async kill(): Promise<void> {
    try {
      process.kill(-this.#child.pid!, 'SIGKILL')
    } catch {
      // It has ended.
    }
    await this.ended
  }

  async until(holds: (lines: Line[]) => boolean, ms = 15_000): Promise<void> {
    const end = Date.now() + ms
    while (!holds(this.lines)) {
      assert.ok(Date.now() < end, `not within ${ms} ms; last: ${JSON.stringify(this.lines.slice(-3))}`)
      await sleep(10)
    }
  }
}

/** What must be there: by key the acknowledged value, or that it is gone; and what was tried since. */
class Expected {
  readonly keys = new Map<string, { value: string | undefined; tried: (string | undefined)[] }>()
  revision = 0

  learn(lines: Line[]): void {
    for (const line of lines)
      if (line.try) {
        const known = this.keys.get(line.try) ?? { value: undefined, tried: [] }
        known.tried.push(line.value, undefined)
        this.keys.set(line.try, known)
      } else if (line.ack) {
        this.keys.set(line.ack, { value: line.value, tried: [] })
        this.revision = Math.max(this.revision, line.revision)
      }
  }

  /** Checks what a store shows when it is opened, and takes it as what must be there from now on. */
  check(opened: Line, seed: number): void {
    const found = new Map<string, string>(opened.state.map(([k, v]: [string, string]) => [k, v]))
    assert.ok(opened.open >= this.revision, `revision ${opened.open} after ${this.revision} (seed ${seed})`)
    for (const [key, { value, tried }] of this.keys) {
      const now = found.get(key)
      // What was on its way at the kill may have come through.
      assert.ok(
        now === value || tried.includes(now),
        `${key} is ${now?.slice(0, 20)}, acknowledged was ${value?.slice(0, 20)} (seed ${seed})`,
      )
      this.keys.set(key, { value: now, tried: [] })
    }
    for (const key of found.keys()) assert.ok(this.keys.has(key), `${key} comes from nowhere (seed ${seed})`)
    this.revision = opened.open
  }
}

test(`${CRASHES} times kill -9 under writes, half at the n-th write or sync: nothing acknowledged is lost`, async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e9)
  console.log(`SEED=${seed}`)
  let state = seed
  const random = (n: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % n
  const folder = mkdtempSync(join(tmpdir(), 'sampan-durability-'))
  try {
    const expected = new Expected()
    let acknowledged = 0
    for (let i = 0; i <= CRASHES; i++) {
      const calls = ['pwrite64', 'fdatasync', 'rename', 'fsync', 'ftruncate']
      const call = calls[random(10) < 8 ? random(2) : random(calls.length)]!
      const traced = i % 2 === 1 && i < CRASHES
      const inject = traced ? [`${call}:signal=SIGKILL:when=${1 + random(call.length > 6 ? 60 : 3)}`] : []
      const writer = new Writer(folder, 'write', random(1e9), inject)
      if (traced) {
        // A call that does not come is killed for.
        await Promise.race([writer.ended, sleep(1500)])
      } else {
        await writer.until((lines) => lines.some((l) => l.ack))
        const first = writer.lines.find((l) => l.ack && l.ms !== undefined)
        if (first) assert.ok(first.ms < 2000, `the first write took ${first.ms} ms`)
        await sleep(random(120))
      }
      await writer.kill()
      const failure = writer.lines.find((l) => l.error)
      assert.equal(failure, undefined, `${JSON.stringify(failure)} (seed ${seed})`)
      const opened = writer.lines.find((l) => l.open)
      // Under strace it may have been killed before it had opened the store.
      if (opened) expected.check(opened, seed)
      else assert.ok(traced, `not opened (seed ${seed})`)
      expected.learn(writer.lines)
      acknowledged += writer.lines.filter((l) => l.ack).length
    }
    console.log(`${acknowledged} writes acknowledged, none lost in ${CRASHES} kills`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('while a sync takes half a second no reader and no watcher sees the value', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-durability-'))
  try {
    for (const where of ['delay_enter', 'delay_exit']) {
      const writer = new Writer(folder, 'slow', 1, [`fdatasync:${where}=500000`])
      await writer.ended
      const seen = writer.lines.filter((l) => l.slow).map((l) => l.slow)
      assert.equal(seen.length, 3, JSON.stringify(writer.lines))
      for (const times of seen)
        for (const [who, ms] of Object.entries(times))
          assert.ok((ms as number) >= 495, `${who} after ${ms} ms: ${JSON.stringify(times)}`)
      rmSync(join(folder, 'journal'))
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

/** Nothing acknowledged while the disk failed, nothing lost, and writes again soon after. */
async function failsAndRecovers(
  folder: string,
  inject: string[],
  repair: () => Promise<void>,
  refusals: number,
): Promise<void> {
  const writer = new Writer(folder, 'write', 7, inject)
  try {
    await writer.until((lines) => lines.filter((l) => l.refused).length >= refusals)
    await repair()
    const from = writer.lines.length
    await writer.until((lines) => lines.slice(from).some((l) => l.ack), 10_000)
    await sleep(100)
  } finally {
    await writer.kill()
  }
  const expected = new Expected()
  expected.learn(writer.lines)
  const again = new Writer(folder, 'write', 8)
  await again.until((lines) => lines.some((l) => l.open))
  await again.kill()
  expected.check(again.lines.find((l) => l.open)!, 7)
}

for (const [name, inject] of [
  ['writes that fail with EIO', ['pwrite64:error=EIO:when=20..24']],
  ['syncs that fail with EIO', ['fdatasync:error=EIO:when=20..22']],
  ['a disk that has become read-only', ['pwrite64:error=EROFS:when=20..25']],
  ['a file that cannot be renamed', ['fdatasync:error=EIO:when=20..20', 'rename:error=EACCES:when=1..3']],
] as const)
  test(`${name}: what was not acknowledged was refused, and writes go on afterwards`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sampan-durability-'))
    try {
      await failsAndRecovers(folder, [...inject], async () => {}, 1)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

test('a disk that is full: reads go on, writes are refused, and return when there is room', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-full-'))
  await execOk('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder])
  try {
    await failsAndRecovers(
      folder,
      [],
      async () => {
        await execOk('mount', ['-o', 'remount,size=4m', folder])
      },
      20,
    )
  } finally {
    await execOk('umount', ['-l', folder])
    rmSync(folder, { recursive: true, force: true })
  }
})
