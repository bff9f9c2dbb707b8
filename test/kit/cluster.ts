// A real cluster in its own folder, under its own name, with its own kubeconfig; gone when disposed of.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ExecResult, exec } from '#base'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface TestCluster extends AsyncDisposable {
  readonly name: string
  readonly folder: string
  readonly kubeconfig: string
  readonly env: Record<string, string>
  sampan(...args: string[]): Promise<ExecResult>
  /** Arguments in one string, split at spaces. */
  kubectl(args: string, stdin?: string): Promise<ExecResult>
  /** Any program, with the cluster as kubectl's. */
  exec(program: string, args: string[]): Promise<ExecResult>
}

/** What a command that must succeed printed. */
export async function ok(work: Promise<ExecResult>): Promise<string> {
  const r = await work
  assert.equal(r.code, 0, r.stderr || r.stdout)
  return r.stdout
}

/** Tries again until `look` is content; fails with what it last said. */
export async function eventually(look: () => Promise<void>, seconds = 30): Promise<void> {
  const end = Date.now() + seconds * 1000
  // Where the machine stood still in between, there were few looks.
  for (let looks = 1; ; looks++) {
    try {
      return await look()
    } catch (error) {
      if (Date.now() > end && looks > 10) throw error
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

/** Describes a cluster; `sampan('up')` starts it. */
export function testCluster(prefix: string): TestCluster {
  const name = `${prefix}-${process.pid}`
  const folder = mkdtempSync(`/tmp/sampan-${prefix}-`)
  const kubeconfig = join(folder, 'kubeconfig')
  const common = ['--name', name, '--data-dir', join(folder, 'data'), '--kubeconfig', kubeconfig]
  const env = { ...process.env, KUBECONFIG: kubeconfig } as Record<string, string>
  const sampan = (...args: string[]) => exec(join(ROOT, 'bin/sampan'), [...args, ...common], { env })
  return {
    name,
    folder,
    kubeconfig,
    env,
    sampan,
    exec: (program, args) => exec(program, args, { env }),
    kubectl: (args, stdin) => exec('kubectl', args.split(' '), { env, ...(stdin ? { stdin } : {}) }),
    async [Symbol.asyncDispose]() {
      await sampan('down', '--purge')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
