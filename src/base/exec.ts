// Runs a program of the machine and collects what it says.

import { spawn } from 'node:child_process'
import { SampanError } from './errors.ts'

export interface ExecOptions {
  stdin?: string | Uint8Array
  cwd?: string
  env?: Record<string, string>
  signal?: AbortSignal
}

export interface ExecResult {
  code: number
  stdout: string
  stderr: string
}

/** Runs `file` with `args` and waits; never rejects for an exit code. Rejects when it cannot start. */
export function exec(file: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: options.env,
      signal: options.signal,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.on('error', (cause) =>
      reject(new SampanError('ExecFailed', `Cannot run ${file}: ${cause.message}`, { cause })),
    )
    child.on('close', (code, signal) => resolve({ code: code ?? (signal ? 128 : 1), stdout, stderr }))
    child.stdin.on('error', () => {})
    child.stdin.end(options.stdin)
  })
}

/** Runs a program that must succeed; the error carries what it printed. */
export async function execOk(file: string, args: readonly string[], options: ExecOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await exec(file, args, options)
  if (code !== 0)
    throw new SampanError(
      'ExecFailed',
      `Cannot run ${file} ${args.slice(0, 4).join(' ')}: exit ${code}: ${(stderr || stdout).trim().slice(0, 2000)}`,
    )
  return stdout
}
