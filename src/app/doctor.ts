// What a machine needs to run a cluster, and the command that mends what it lacks.

import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Needed {
  program: string
  /** The Debian package that has it. */
  debian: string
}

const NEEDED: readonly Needed[] = [
  { program: 'containerd', debian: 'containerd' },
  { program: 'ctr', debian: 'containerd' },
  { program: 'runc', debian: 'runc' },
  { program: 'nft', debian: 'nftables' },
  { program: 'ip', debian: 'iproute2' },
]

/** The path of a program, or undefined. */
export function which(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders
    .map((f) => join(f, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

export function missingPrograms(): Needed[] {
  const missing = NEEDED.filter((n) => !which(n.program))
  if (!existsSync('/usr/lib/cni/bridge'))
    missing.push({ program: '/usr/lib/cni/bridge', debian: 'containernetworking-plugins' })
  return [...missing]
}

/** One thing that was looked at. */
export interface Finding {
  name: string
  ok: boolean
  detail: string
  /** The command that mends it. */
  fix?: string
}

/** Looks at everything a cluster needs. */
export function diagnose(): Finding[] {
  const findings: Finding[] = []
  const root = process.getuid?.() === 0
  findings.push({
    name: 'root',
    ok: root,
    detail: root ? 'running as root' : 'containers and nftables need root',
    ...(root ? {} : { fix: 'sudo sampan up' }),
  })
  for (const n of [...NEEDED, { program: '/usr/lib/cni/bridge', debian: 'containernetworking-plugins' }]) {
    const path = n.program.startsWith('/') ? (existsSync(n.program) ? n.program : undefined) : which(n.program)
    findings.push({
      name: n.program,
      ok: path !== undefined,
      detail: path ?? 'not found',
      ...(path ? {} : { fix: `apt-get install -y ${n.debian}` }),
    })
  }
  const kubectl = which('kubectl')
  findings.push({
    name: 'kubectl',
    ok: kubectl !== undefined,
    detail: kubectl ?? 'not found',
    ...(kubectl ? {} : { fix: 'apt-get install -y kubernetes-client' }),
  })
  const overlay = /\boverlay\b/.test(readFileSync('/proc/filesystems', 'utf8'))
  findings.push({
    name: 'overlayfs',
    ok: overlay,
    detail: overlay ? 'the kernel has it' : 'the kernel does not have it',
    ...(overlay ? {} : { fix: 'modprobe overlay' }),
  })
  const node = Number(process.versions.node.split('.')[0])
  findings.push({
    name: 'node',
    ok: node >= 24,
    detail: `v${process.versions.node}`,
    ...(node >= 24 ? {} : { fix: 'npm install' }),
  })
  return findings
}
