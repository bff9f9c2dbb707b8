// The node agent: registers the node and keeps a worker for every pod assigned to it.

import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import {
  condition,
  errors,
  isAlreadyExists,
  isNotFound,
  type Json,
  type KubeObject,
  resources,
  StatusError,
} from '#api'
import { type Clock, type Log, messageOf, rfc3339, rfc3339Micro } from '#base'
import { type Client, EventRecorder, type Informers } from '#client'
import { readLog } from './container-logs.ts'
import { ImageManager } from './image-manager.ts'
import { type NodeContext, resolverOf } from './node-context.ts'
import { PodWorker } from './pod-worker.ts'
import type { Runtime } from './runtime.ts'
import { type ExecStreams, type ForwardStreams, openExec, openForward } from './streams.ts'
import type { SystemParts } from './system-parts.ts'
import { Volumes } from './volumes.ts'

export interface NodeAgentOptions {
  name: string
  informers: Informers
  runtime: Runtime
  clock: Clock
  log: Log
  dataDir: string
  hostIp: string
  podCidr: string
  dnsIp: string
  kubeletVersion: string
  /** The part of a cgroup's path that is this cluster's. */
  cgroupRoot: string
  bundledImages: Promise<void>
  isBundled: (image: string) => boolean
  trafficStopped: (podIp: string) => Promise<void>
  /** Parts of this process that are shown as pods. */
  parts: SystemParts
}

const LEASE_MS = 10_000
const MAX_PODS = 110
/** When an exit is looked at again, milliseconds after its event. */
const EXIT_LOOKS = [20, 120, 400]

export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #client: Client
  readonly #context: NodeContext
  readonly #workers = new Map<string, PodWorker>()

  constructor(options: NodeAgentOptions) {
    this.#options = options
    const { informers, clock, log, runtime } = options
    this.#client = informers.client
    const events = new EventRecorder(informers.client, clock, log, 'kubelet', options.name)
    const configMaps = informers.for(resources.configMaps)
    const secrets = informers.for(resources.secrets)
    const services = informers.for(resources.services)
    const host = hostResolver()
    const capacity = this.#capacity()
    this.#context = {
      client: informers.client,
      runtime,
      clock,
      log,
      events,
      images: new ImageManager({
        runtime,
        client: informers.client,
        clock,
        log,
        events,
        bundled: options.bundledImages,
        isBundled: options.isBundled,
      }),
      volumes: new Volumes(join(options.dataDir, 'pods'), clock),
      hostIp: options.hostIp,
      logDir: join(options.dataDir, 'logs', 'pods'),
      cgroupParent: (uid) => `/${options.cgroupRoot}/pod${uid}`,
      removeCgroup: (uid) => removeCgroups(`${options.cgroupRoot}/pod${uid}`),
      dns: (pod) => resolverOf(pod, { dnsIp: options.dnsIp }, host),
      volumeSources: (_pod, podIp) => ({
        configMap: (namespace, name) => configMaps.get(`${namespace}/${name}`),
        secret: (namespace, name) => secrets.get(`${namespace}/${name}`),
        token: async (p, spec) => {
          const { token, expirationTimestamp } = await this.#client.createToken(
            p.metadata.namespace ?? '',
            p.spec.serviceAccountName ?? 'default',
            {
              audiences: spec.audience ? [spec.audience] : undefined,
              expirationSeconds: spec.expirationSeconds ?? 3600,
              boundObjectRef: { kind: 'Pod', name: p.metadata.name, uid: p.metadata.uid },
            },
          )
          return { token, expiresAt: Date.parse(expirationTimestamp) }
        },
        podIp,
        hostIp: options.hostIp,
        nodeName: options.name,
      }),
      environmentSources: (pod, podIp) => ({
        configMap: (name) => configMaps.get(`${pod.metadata.namespace}/${name}`),
        secret: (name) => secrets.get(`${pod.metadata.namespace}/${name}`),
        services: [
          ...services.list(pod.metadata.namespace),
          ...(pod.metadata.namespace === 'default'
            ? []
            : services.list('default').filter((s) => s.metadata.name === 'kubernetes')),
        ],
        podIp,
        hostIp: options.hostIp,
        nodeName: options.name,
        allocatable: capacity,
      }),
      trafficStopped: options.trafficStopped,
    }
  }

  /** Registers the node and adopts what runs; resolves when pods are being looked after. */
  async start(signal: AbortSignal): Promise<void> {
    const { informers, clock, log, runtime, name } = this.#options
    await informers.synced()
    await this.#register()
    const pods = informers.for(resources.pods)
    pods.addIndex('node', (o) => [o.spec?.nodeName ?? ''])
    await this.#removeOrphans()
    this.#options.parts.start(signal)
    pods.on(({ type, object }) => {
      if (object.spec?.nodeName !== name) return
      if (this.#options.parts.partOf(object)) {
        if (type !== 'deleted') this.#options.parts.update(object)
        return
      }
      if (type === 'deleted') this.#forget(object)
      else this.#worker(object).update(object)
    })
    const refresh = (object: KubeObject) => {
      for (const worker of this.#workers.values())
        if (worker.pod.metadata.namespace === object.metadata.namespace && mounts(worker.pod, object.metadata.name))
          this.#context.volumes
            .prepare(worker.pod, this.#context.volumeSources(worker.pod, worker.pod.status?.podIP ?? ''))
            .catch((error) =>
              log.warn('volume not refreshed', { pod: worker.pod.metadata.name, error: messageOf(error) }),
            )
    }
    informers.for(resources.configMaps).on(({ type, object }) => type === 'updated' && refresh(object))
    informers.for(resources.secrets).on(({ type, object }) => type === 'updated' && refresh(object))
    void runtime.watch((topic, id) => this.#onTask(topic, id), clock, log, signal)
    const beat = () => {
      if (signal.aborted) return
      void this.#heartbeat()
      clock.after(LEASE_MS, beat)
    }
    beat()
    signal.addEventListener('abort', () => {
      for (const worker of this.#workers.values()) worker.detach()
    })
  }

  /** Ends every pod on the node; their objects stay. */
  async stopAll(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((w) => w.forget().catch(() => undefined)))
  }

  async logs(
    pod: KubeObject,
    options: {
      container: string
      follow: boolean
      previous: boolean
      timestamps: boolean
      tailLines?: number | undefined
      limitBytes?: number | undefined
      sinceSeconds?: number | undefined
      sinceTime?: string | undefined
    },
    onData: (data: Buffer) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const since = options.sinceTime
      ? Date.parse(options.sinceTime)
      : options.sinceSeconds === undefined
        ? undefined
        : this.#options.clock.now() - options.sinceSeconds * 1000
    if (this.#options.parts.partOf(pod)) return this.#options.parts.logs(pod, { ...options, since }, onData, signal)
    const worker = this.#existing(pod)
    const info = await worker.container(options.container)
    if (!info && !options.previous)
      throw errors.badRequest(
        `container "${options.container}" in pod "${pod.metadata.name}" is waiting to start: ${waitingReason(pod, options.container)}`,
      )
    if (options.previous && !(info && info.attempt > 0))
      throw errors.badRequest(
        `previous terminated container "${options.container}" in pod "${pod.metadata.name}" not found`,
      )
    let running = info?.state === 'running'
    if (options.follow && running) {
      const look = () => {
        void worker.container(options.container).then((c) => {
          running = c?.id === info?.id && c?.state === 'running'
          if (running && !signal.aborted) this.#options.clock.after(500, look)
        })
      }
      this.#options.clock.after(500, look)
    }
    await readLog(
      worker.logDirectory(options.container),
      { ...options, since },
      onData,
      this.#options.clock,
      () => !running,
      signal,
    )
  }

  async exec(
    pod: KubeObject,
    options: {
      container: string
      command: readonly string[]
      stdin: boolean
      stdout: boolean
      stderr: boolean
      tty: boolean
    },
  ): Promise<ExecStreams> {
    const id = await this.#runningId(pod, options.container)
    const { stdin, stdout, stderr, tty } = options
    return openExec(
      await this.#options.runtime.streamUrl('exec', {
        container_id: id,
        cmd: options.command,
        stdin,
        stdout,
        stderr,
        tty,
      }),
      options,
    )
  }

  async attach(
    pod: KubeObject,
    options: { container: string; stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean },
  ): Promise<ExecStreams> {
    const id = await this.#runningId(pod, options.container)
    const { stdin, stdout, stderr, tty } = options
    return openExec(
      await this.#options.runtime.streamUrl('attach', { container_id: id, stdin, stdout, stderr, tty }),
      options,
    )
  }

  async portForward(pod: KubeObject, port: number): Promise<ForwardStreams> {
    if (this.#options.parts.partOf(pod)) return this.#options.parts.forward(port)
    const id = await this.#existing(pod).sandboxId()
    if (!id) throw errors.badRequest(`pod ${pod.metadata.name} is not running`)
    return openForward(await this.#options.runtime.streamUrl('portForward', { pod_sandbox_id: id, port: [port] }), port)
  }

  async #runningId(pod: KubeObject, container: string): Promise<string> {
    if (this.#options.parts.partOf(pod)) this.#options.parts.refuseStreams(pod)
    const info = await this.#existing(pod).container(container)
    if (info?.state !== 'running') throw new StatusError(500, 'InternalError', `container not found ("${container}")`)
    return info.id
  }

  #existing(pod: KubeObject): PodWorker {
    const worker = this.#workers.get(pod.metadata.uid)
    if (!worker) throw errors.notFound(resources.pods, pod.metadata.name)
    return worker
  }

  #worker(pod: KubeObject): PodWorker {
    let worker = this.#workers.get(pod.metadata.uid)
    if (!worker) {
      worker = new PodWorker(pod, this.#context)
      this.#workers.set(pod.metadata.uid, worker)
    }
    return worker
  }

  #forget(pod: KubeObject): void {
    const worker = this.#workers.get(pod.metadata.uid)
    if (!worker) return
    worker
      .forget()
      .catch((error) => this.#options.log.warn('pod not removed', { pod: pod.metadata.name, error: messageOf(error) }))
      .finally(() => this.#workers.delete(pod.metadata.uid))
  }

  /** A task has changed. The CRI shows an exit only some time after its event: it is looked at again. */
  #onTask(topic: string, id: string): void {
    const owners = [...this.#workers.values()].filter((w) => w.owns(id))
    const workers = owners.length > 0 ? owners : [...this.#workers.values()]
    for (const worker of workers) worker.update()
    if (topic !== '/tasks/exit' && topic !== '/tasks/delete') return
    for (const ms of EXIT_LOOKS)
      this.#options.clock.after(ms, () => {
        for (const w of owners) w.update()
      })
  }

  /** Removes what runs here for pods that are no longer. */
  async #removeOrphans(): Promise<void> {
    const { informers, runtime, name, log } = this.#options
    const known = new Set(
      informers
        .for(resources.pods)
        .byIndex('node', name)
        .map((p) => p.metadata.uid),
    )
    for (const sandbox of await runtime.sandboxes()) {
      if (known.has(sandbox.podUid)) continue
      log.info('removing a pod that is no longer wanted', { pod: sandbox.podName })
      await runtime.stopSandbox(sandbox.id)
      await runtime.removeSandbox(sandbox.id)
      await this.#context.volumes.remove(sandbox.podUid)
      this.#context.removeCgroup(sandbox.podUid)
    }
  }

  #capacity(): { cpu: string; memory: string; pods: string; 'ephemeral-storage': string } {
    return {
      cpu: String(cpus().length),
      memory: `${Math.floor(totalmem() / 1024)}Ki`,
      pods: String(MAX_PODS),
      'ephemeral-storage': '0',
    }
  }

  async #register(): Promise<void> {
    const { name, hostIp, podCidr, clock } = this.#options
    const labels = {
      'beta.kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch,
      'beta.kubernetes.io/os': 'linux',
      'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch,
      'kubernetes.io/os': 'linux',
      'kubernetes.io/hostname': name,
      'node-role.kubernetes.io/control-plane': '',
    }
    try {
      await this.#client.create(resources.nodes, {
        metadata: { name, labels },
        spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
      })
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
    const node = await this.#client.get(resources.nodes, '', name)
    const now = rfc3339(clock.now())
    const entry = (type: string, status: string, reason: string, message: string) => {
      const before = condition(node, type)
      return {
        type,
        status,
        lastHeartbeatTime: now,
        lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
        reason,
        message,
      }
    }
    const { version } = await this.#options.runtime.version()
    const status = {
      capacity: this.#capacity(),
      allocatable: this.#capacity(),
      addresses: [
        { type: 'InternalIP', address: hostIp },
        { type: 'Hostname', address: name },
      ],
      conditions: [
        entry('MemoryPressure', 'False', 'KubeletHasSufficientMemory', 'kubelet has sufficient memory available'),
        entry('DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'),
        entry('PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'),
        entry('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'),
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: {
        machineID: readText('/etc/machine-id'),
        systemUUID: readText('/etc/machine-id'),
        bootID: readText('/proc/sys/kernel/random/boot_id'),
        kernelVersion: release(),
        osImage: /PRETTY_NAME="([^"]*)"/.exec(readText('/etc/os-release'))?.[1] ?? 'Linux',
        containerRuntimeVersion: `containerd://${version}`,
        kubeletVersion: this.#options.kubeletVersion,
        kubeProxyVersion: '',
        operatingSystem: 'linux',
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      },
    }
    await this.#client.updateStatus(resources.nodes, { ...node, status })
    await this.#heartbeat()
  }

  async #heartbeat(): Promise<void> {
    const { name, clock, log } = this.#options
    const renewTime = rfc3339Micro(clock.now())
    try {
      await this.#client.patch(resources.leases, 'kube-node-lease', name, {
        spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime },
      })
    } catch (error) {
      if (!isNotFound(error)) return log.warn('lease not renewed', { error: messageOf(error) })
      await this.#client
        .create(resources.leases, {
          metadata: { name, namespace: 'kube-node-lease' },
          spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime },
        })
        .catch((e) => log.warn('lease not created', { error: messageOf(e) }))
    }
  }
}

function mounts(pod: KubeObject, name: string): boolean {
  const names = (v: Json) => [
    v.configMap?.name,
    v.secret?.secretName,
    ...(v.projected?.sources ?? []).flatMap((s: Json) => [s.configMap?.name, s.secret?.name]),
  ]
  return (pod.spec.volumes ?? []).some((v: Json) => names(v).includes(name))
}

function waitingReason(pod: KubeObject, container: string): string {
  const all = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])]
  const reason = all.find((s) => s.name === container)?.state?.waiting?.reason ?? 'ContainerCreating'
  return /^(ErrImagePull|ImagePullBackOff)$/.test(reason) ? 'trying and failing to pull image' : reason
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
}

/** The host's own resolvers. A machine without any is no error. */
export function hostResolver(): { servers: string[]; searches: string[] } {
  const lines = readText('/etc/resolv.conf').split('\n')
  return {
    servers: lines.flatMap((l) => /^nameserver\s+(\S+)/.exec(l)?.[1] ?? []).slice(0, 3),
    searches: lines.flatMap((l) => /^search\s+(.*)/.exec(l)?.[1]?.split(/\s+/) ?? []).slice(0, 6),
  }
}

/** Removes a control group and what is below it, in every hierarchy. */
export function removeCgroups(path: string): void {
  const roots = [
    '/sys/fs/cgroup',
    ...(existsSync('/sys/fs/cgroup') ? readdirSync('/sys/fs/cgroup').map((d) => join('/sys/fs/cgroup', d)) : []),
  ]
  const remove = (directory: string) => {
    if (!existsSync(directory)) return
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isDirectory()) remove(join(directory, entry.name))
    try {
      rmdirSync(directory)
    } catch {
      // Still in use: removed with the cluster.
    }
  }
  for (const root of roots) remove(join(root, path))
}
