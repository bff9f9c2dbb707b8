// Sampan's own containerd: its configuration and its process.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, type Log, messageOf, SampanError, sleep } from '#base'
import { Runtime } from './runtime.ts'

export interface ContainerdOptions {
  /** Images, containers, configuration. */
  dataDir: string
  /** Sockets and the process id. */
  runDir: string
  logFile: string
  /** The image of a pod's sandbox. */
  sandboxImage: string
  cni: { bridge: string; subnet: string; gateway: string; mtu: number }
}

/** Debian's folder of CNI plugins. */
const CNI_BIN = '/usr/lib/cni'

export function socketOf(runDir: string): string {
  return join(runDir, 'containerd.sock')
}

const pidFile = (runDir: string) => join(runDir, 'containerd.pid')

function configuration(options: ContainerdOptions): string {
  const root = join(options.dataDir, 'containerd')
  return `version = 2
root = ${JSON.stringify(join(root, 'root'))}
state = ${JSON.stringify(join(options.runDir, 'containerd'))}
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = ${JSON.stringify(socketOf(options.runDir))}

[ttrpc]
  address = ${JSON.stringify(`${socketOf(options.runDir)}.ttrpc`)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(options.sandboxImage)}
  # Where the caller lacks CAP_SYS_RESOURCE every sandbox would fail without this.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${CNI_BIN}"
    conf_dir = ${JSON.stringify(join(root, 'cni'))}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = ${JSON.stringify(join(root, 'certs.d'))}
`
}

function network({ cni, dataDir }: ContainerdOptions): string {
  return JSON.stringify({
    cniVersion: '0.4.0',
    name: 'sampan',
    plugins: [
      {
        type: 'bridge',
        bridge: cni.bridge,
        isGateway: true,
        hairpinMode: true,
        // Masquerading is done by our own nftables rules; the plugin would need iptables.
        ipMasq: false,
        mtu: cni.mtu,
        ipam: {
          type: 'host-local',
          dataDir: join(dataDir, 'containerd', 'cni-addresses'),
          ranges: [[{ subnet: cni.subnet, gateway: cni.gateway }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
    ],
  })
}

/** True while the process of this id runs. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The running containerd of this cluster, if any. */
export function containerdPid(runDir: string): number | undefined {
  const file = pidFile(runDir)
  if (!existsSync(file)) return undefined
  const [text = '', config = ''] = readFileSync(file, 'utf8').split('\n')
  const pid = Number(text)
  if (!(pid > 1) || !isAlive(pid)) return undefined
  // A process id may have been given to somebody else since.
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(config) ? pid : undefined
}

/** Starts containerd, or finds it running, and waits until it answers. Containers outlive it. */
export async function startContainerd(options: ContainerdOptions, clock: Clock, log: Log): Promise<Runtime> {
  const root = join(options.dataDir, 'containerd')
  mkdirSync(join(root, 'cni'), { recursive: true, mode: 0o711 })
  mkdirSync(join(root, 'certs.d'), { recursive: true })
  mkdirSync(options.runDir, { recursive: true, mode: 0o711 })
  const config = join(root, 'config.toml')
  writeFileSync(config, configuration(options))
  writeFileSync(join(root, 'cni', '10-sampan.conflist'), network(options))
  const runtime = new Runtime(socketOf(options.runDir))
  if (containerdPid(options.runDir) === undefined) {
    const out = openSync(options.logFile, 'a')
    const child = spawn('containerd', ['--config', config, '--log-level', 'warn'], {
      detached: true,
      stdio: ['ignore', out, out],
    })
    child.on('error', (error) => log.error('containerd did not start', { error: messageOf(error) }))
    if (child.pid === undefined)
      throw new SampanError('ContainerdMissing', 'Cannot start containerd: it is not installed; run "sampan doctor"')
    writeFileSync(pidFile(options.runDir), `${child.pid}\n${config}`)
    child.unref()
  }
  for (let waited = 0; ; waited += 20) {
    try {
      const { version } = await runtime.version()
      log.info('containerd answers', { version, afterMs: waited })
      return runtime
    } catch (error) {
      if (waited > 30_000)
        throw new SampanError(
          'ContainerdDown',
          `Cannot reach containerd: ${messageOf(error)}; see ${options.logFile}`,
          { cause: error },
        )
      await sleep(clock, 20)
    }
  }
}
