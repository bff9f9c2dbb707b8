// What benches of the API server share: a folder with certificates, the processes of a run, and their costs.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from '../src/app/bundle.ts'
import { SERVER_FLAGS } from '../src/app/lifecycle.ts'
import type { Load, LoadResult } from './api-load.ts'
import { writeCertificates } from './certificates.ts'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The folder and the processes of one run; both are gone when it is disposed of. */
export class Workbench implements Disposable {
  readonly folder = mkdtempSync(join(process.env.BENCH_DIR ?? '/tmp', 'sampan-bench-'))
  readonly #children: ChildProcess[] = []

  static async open(): Promise<Workbench> {
    const bench = new Workbench()
    await writeCertificates(bench.folder)
    return bench
  }

  /** Starts a server of this folder's certificates: a process that says its port on its first line. */
  async start(script: string): Promise<Subject> {
    const subject = await started(script, this.folder)
    this.#children.push(subject.child)
    return subject
  }

  /** Starts a process that is spoken to by messages. */
  fork(script: string): ChildProcess {
    const child = fork(here(script), { execArgv: SERVER_FLAGS })
    this.#children.push(child)
    return child
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A server that is measured. */
export interface Subject {
  readonly child: ChildProcess
  readonly port: number
}

/** Programs of this run as one file each, as the program itself is. */
const bundled = new Map<string, Promise<string>>()

async function bundleOf(script: string): Promise<string> {
  const file = here(`../.cache/bench/${script.replace(/ts$/, 'js')}`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, await bundle(here(script), { minify: false }))
  return file
}

/** The file that is run as a server: to be made before its start is measured. */
export function programOf(script: string): Promise<string> {
  const known = bundled.get(script) ?? bundleOf(script)
  bundled.set(script, known)
  return known
}

/** Starts a server of a folder's certificates. */
export async function started(script: string, folder: string): Promise<Subject> {
  const child = spawn(process.execPath, [...SERVER_FLAGS, await programOf(script), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // As the program itself does: code is compiled once.
    env: { MALLOC_ARENA_MAX: '2', NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'), ...process.env },
  })
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout!.on('data', (data) => {
      text += data
      if (text.includes('\n')) resolve({ child, port: JSON.parse(text).port })
    })
    child.on('exit', (code) => reject(new Error(`${script} ended with ${code}`)))
  })
}

/** CPU microseconds a process has used, its threads included. */
export function cpuMicros(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

export const residentMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024

/** Runs a load in a process of its own. */
export function loadOf(loader: ChildProcess, load: Load): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    loader.once('message', (result: LoadResult & { error?: string }) =>
      result.error ? reject(new Error(result.error)) : resolve(result),
    )
    loader.send(load)
  })
}

/** Long enough for a server without requests to give memory back. */
export const atRest = () => new Promise((resolve) => setTimeout(resolve, 8000))
