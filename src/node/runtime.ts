// The container runtime as the node agent sees it: CRI calls with values of our own.

import { type Clock, type Log, messageOf, sleep } from '#base'
import { GrpcClient, GrpcCode, GrpcError, type Message } from '#wire'
import { ContainerState, cri, SandboxState, subscribeEvents, TaskEvent } from './cri.ts'

/** Labels by which everything of ours is found again. */
export const LABEL = {
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  podUid: 'io.kubernetes.pod.uid',
  containerName: 'io.kubernetes.container.name',
} as const

export interface SandboxInfo {
  readonly id: string
  readonly podUid: string
  readonly podName: string
  readonly podNamespace: string
  readonly ready: boolean
  readonly attempt: number
  readonly createdAt: number
}

/** A container as the runtime has it. Instants are milliseconds, 0 where not yet. */
export interface ContainerInfo {
  readonly id: string
  readonly sandboxId: string
  readonly name: string
  readonly podUid: string
  readonly attempt: number
  readonly state: 'created' | 'running' | 'exited' | 'unknown'
  readonly createdAt: number
  readonly startedAt: number
  readonly finishedAt: number
  readonly exitCode: number
  readonly reason: string
  readonly message: string
  readonly image: string
  readonly imageRef: string
  readonly annotations: Readonly<Record<string, string>>
  readonly logPath: string
}

export interface ContainerUsage {
  readonly id: string
  readonly name: string
  readonly podUid: string
  readonly cpuNanoseconds: number
  readonly memoryBytes: number
}

export interface ImageInfo {
  readonly id: string
  readonly tags: readonly string[]
  readonly digests: readonly string[]
  readonly size: number
  /** The user the image runs as: a number, or a name. */
  readonly uid?: number | undefined
  readonly username: string
  /** TCP ports the image says it serves; known of a single image, not in a list. */
  readonly exposedPorts: readonly number[]
}

const STATES = ['created', 'running', 'exited', 'unknown'] as const
const millis = (nanos: number | undefined) => Math.max(0, Math.floor((nanos ?? 0) / 1e6))

/** Speaks CRI to containerd over its socket. All methods fail with GrpcError. */
export class Runtime {
  readonly #client: GrpcClient

  constructor(socketPath: string) {
    this.#client = new GrpcClient({ socketPath })
  }

  close(): void {
    this.#client.close()
  }

  async version(): Promise<{ name: string; version: string }> {
    const v = await this.#client.call(cri.version, { version: 'v1' }, { timeoutMs: 10_000 })
    return { name: v.runtime_name ?? '', version: v.runtime_version ?? '' }
  }

  async runSandbox(config: Message): Promise<string> {
    return (await this.#client.call(cri.runPodSandbox, { config }, { timeoutMs: 240_000 })).pod_sandbox_id
  }

  async stopSandbox(id: string): Promise<void> {
    await ignoreMissing(this.#client.call(cri.stopPodSandbox, { pod_sandbox_id: id }, { timeoutMs: 120_000 }))
  }

  async removeSandbox(id: string): Promise<void> {
    await ignoreMissing(this.#client.call(cri.removePodSandbox, { pod_sandbox_id: id }, { timeoutMs: 120_000 }))
  }

  /** The sandbox's address; empty while it has none or on the host's network. */
  async sandboxIp(id: string): Promise<string> {
    const { status } = await this.#client.call(cri.podSandboxStatus, { pod_sandbox_id: id }, { timeoutMs: 30_000 })
    return status?.network?.ip ?? ''
  }

  async sandboxes(podUid = ''): Promise<SandboxInfo[]> {
    const filter = podUid ? { label_selector: { [LABEL.podUid]: podUid } } : {}
    const { items = [] } = await this.#client.call(cri.listPodSandbox, { filter }, { timeoutMs: 30_000 })
    return items.map((s: Message) => ({
      id: s.id,
      podUid: s.labels?.[LABEL.podUid] ?? s.metadata?.uid ?? '',
      podName: s.metadata?.name ?? '',
      podNamespace: s.metadata?.namespace ?? '',
      ready: (s.state ?? SandboxState.ready) === SandboxState.ready,
      attempt: s.metadata?.attempt ?? 0,
      createdAt: millis(s.created_at),
    }))
  }

  /** The containers of a pod, with details; newest attempt first. */
  async containers(podUid: string): Promise<ContainerInfo[]> {
    const { containers = [] } = await this.#client.call(
      cri.listContainers,
      { filter: { label_selector: { [LABEL.podUid]: podUid } } },
      { timeoutMs: 30_000 },
    )
    const infos = await Promise.all(containers.map((c: Message) => this.#container(c)))
    return infos
      .filter((i): i is ContainerInfo => i !== undefined)
      .sort((a, b) => b.attempt - a.attempt || b.createdAt - a.createdAt)
  }

  async #container(c: Message): Promise<ContainerInfo | undefined> {
    try {
      const { status } = await this.#client.call(cri.containerStatus, { container_id: c.id }, { timeoutMs: 30_000 })
      return {
        id: c.id,
        sandboxId: c.pod_sandbox_id,
        name: c.metadata?.name ?? '',
        podUid: c.labels?.[LABEL.podUid] ?? '',
        attempt: c.metadata?.attempt ?? 0,
        state: STATES[status.state ?? ContainerState.created] ?? 'unknown',
        createdAt: millis(status.created_at),
        startedAt: millis(status.started_at),
        finishedAt: millis(status.finished_at),
        exitCode: status.exit_code ?? 0,
        reason: status.reason ?? '',
        message: status.message ?? '',
        image: status.image?.image ?? '',
        imageRef: status.image_ref ?? '',
        annotations: status.annotations ?? {},
        logPath: status.log_path ?? '',
      }
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  /** The process id of a running container's first process, as the host sees it; 0 when it is not known. */
  async containerPid(id: string): Promise<number> {
    const { info } = await this.#client.call(
      cri.containerStatus,
      { container_id: id, verbose: true },
      { timeoutMs: 10_000 },
    )
    try {
      return Number(JSON.parse(info?.info ?? '{}').pid ?? 0)
    } catch {
      return 0
    }
  }

  async createContainer(sandboxId: string, config: Message, sandboxConfig: Message): Promise<string> {
    const request = { pod_sandbox_id: sandboxId, config, sandbox_config: sandboxConfig }
    return (await this.#client.call(cri.createContainer, request, { timeoutMs: 120_000 })).container_id
  }

  async startContainer(id: string): Promise<void> {
    await this.#client.call(cri.startContainer, { container_id: id }, { timeoutMs: 120_000 })
  }

  /** SIGTERM, and SIGKILL after `seconds`. */
  async stopContainer(id: string, seconds: number): Promise<void> {
    await ignoreMissing(
      this.#client.call(
        cri.stopContainer,
        { container_id: id, timeout: seconds },
        { timeoutMs: (seconds + 60) * 1000 },
      ),
    )
  }

  /** Changes the limits of a running container. `linux` is a LinuxContainerResources. */
  async updateResources(id: string, linux: Message): Promise<void> {
    await this.#client.call(cri.updateContainerResources, { container_id: id, linux })
  }

  async removeContainer(id: string): Promise<void> {
    await ignoreMissing(this.#client.call(cri.removeContainer, { container_id: id }, { timeoutMs: 60_000 }))
  }

  /** Runs a command in a container and waits. */
  async execSync(
    id: string,
    command: readonly string[],
    timeoutSeconds: number,
  ): Promise<{ exitCode: number; output: string }> {
    const r = await this.#client.call(
      cri.execSync,
      { container_id: id, cmd: command, timeout: timeoutSeconds },
      { timeoutMs: (timeoutSeconds + 5) * 1000 },
    )
    return {
      exitCode: r.exit_code ?? 0,
      output: Buffer.concat([r.stdout ?? [], r.stderr ?? []].map((b) => Buffer.from(b))).toString(),
    }
  }

  /** A URL on containerd's streaming server, good for one connection. */
  async streamUrl(kind: 'exec' | 'attach' | 'portForward', request: Message): Promise<string> {
    return (await this.#client.call(cri[kind], request, { timeoutMs: 10_000 })).url
  }

  /** What every running container has used: processor time in nanoseconds, memory in bytes. */
  async usage(): Promise<ContainerUsage[]> {
    const { stats = [] } = await this.#client.call(cri.listContainerStats, {}, { timeoutMs: 10_000 })
    return stats.map((s: Message) => ({
      id: s.attributes?.id ?? '',
      name: s.attributes?.labels?.[LABEL.containerName] ?? '',
      podUid: s.attributes?.labels?.[LABEL.podUid] ?? '',
      cpuNanoseconds: Number(s.cpu?.usage_core_nano_seconds?.value ?? 0),
      memoryBytes: Number(s.memory?.working_set_bytes?.value ?? 0),
    }))
  }

  /** The image, or undefined when it is not on the machine. */
  async image(name: string): Promise<ImageInfo | undefined> {
    const request = { image: { image: name }, verbose: true }
    const { image, info } = await this.#client.call(cri.imageStatus, request, { timeoutMs: 10_000 })
    return image ? { ...toImage(image), exposedPorts: exposedPorts(info?.info) } : undefined
  }

  async images(): Promise<ImageInfo[]> {
    const { images = [] } = await this.#client.call(cri.listImages, {}, { timeoutMs: 10_000 })
    return images.map(toImage)
  }

  async pullImage(name: string, auth?: { username: string; password: string }): Promise<void> {
    await this.#client.call(
      cri.pullImage,
      { image: { image: name }, ...(auth ? { auth } : {}) },
      { timeoutMs: 3_600_000 },
    )
  }

  /** Calls `onTask` with the container id of every task event until `signal` aborts; reconnects. */
  async watch(
    onTask: (topic: string, containerId: string) => void,
    clock: Clock,
    log: Log,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      await new Promise<void>((resolve) => {
        const stream = this.#client.stream(subscribeEvents, {
          onMessage: (event) => {
            if (event.namespace !== 'k8s.io' || !event.topic?.startsWith('/tasks/')) return
            try {
              onTask(event.topic, TaskEvent.decode(event.event?.value ?? new Uint8Array()).container_id ?? '')
            } catch (error) {
              log.debug('event not understood', { topic: event.topic, error: messageOf(error) })
            }
          },
          onEnd: () => {
            signal.removeEventListener('abort', stop)
            resolve()
          },
        })
        const stop = () => stream.cancel()
        signal.addEventListener('abort', stop, { once: true })
        stream.send({ filters: ['namespace==k8s.io'] })
        stream.end()
      })
      await sleep(clock, 500, signal)
    }
  }
}

/** The TCP ports of an image's configuration, out of containerd's verbose answer. */
function exposedPorts(info: string | undefined): number[] {
  if (!info) return []
  try {
    const config = (JSON.parse(info) as { imageSpec?: { config?: { ExposedPorts?: object } } }).imageSpec?.config
    return Object.keys(config?.ExposedPorts ?? {})
      .filter((p) => !p.includes('/') || p.endsWith('/tcp'))
      .map((p) => Number.parseInt(p, 10))
  } catch {
    return []
  }
}

function toImage(image: Message): ImageInfo {
  return {
    id: image.id ?? '',
    tags: image.repo_tags ?? [],
    digests: image.repo_digests ?? [],
    size: image.size ?? 0,
    uid: image.uid?.value,
    exposedPorts: [],
    username: image.username ?? '',
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof GrpcError && error.grpcCode === GrpcCode.notFound
}

async function ignoreMissing(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}
