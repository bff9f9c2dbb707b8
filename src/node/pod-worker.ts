// One pod on this node: brings the runtime in line with the spec, tells the API what is so.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isNotFound, type Json, type KubeObject, resources, sameJson } from '#api'
import { Coalesced, messageOf, type Timer } from '#base'
import { type ContainerMount, containerConfig, resources as limitsOf, sandboxConfig } from './container-config.ts'
import { buildEnvironment, ConfigError } from './environment.ts'
import { ImageError } from './image-manager.ts'
import { listeningPorts } from './listening.ts'
import type { NodeContext } from './node-context.ts'
import { type Action, crashDelay, isFinished, newest, type PodState, planPod, unstarted } from './pod-plan.ts'
import { podStatus } from './pod-status.ts'
import { type ProbeKind, Prober, runProbe } from './probes.ts'
import type { ContainerInfo, ImageInfo, SandboxInfo } from './runtime.ts'

/** How often it is looked whether a container listens before it counts as ready anyway. */
const PORTS_LOOKS = 500
/** How long it is from one such look to the next, milliseconds. */
const PORTS_LOOK = 10

/** How often the runtime is asked without an event; milliseconds. */
const RELIST = 30_000
const RELIST_UNSETTLED = 1000

const PROBES: readonly ProbeKind[] = ['startupProbe', 'readinessProbe', 'livenessProbe']

/** Keeps one pod; runs are serial, triggers during a run cause one more. */
export class PodWorker {
  readonly uid: string
  #pod: KubeObject
  readonly #node: NodeContext
  readonly #job: Coalesced
  readonly #condemned = new Set<string>()
  readonly #notBefore = new Map<string, number>()
  readonly #delays = new Map<string, number>()
  readonly #ready = new Map<string, boolean>()
  readonly #started = new Map<string, boolean>()
  readonly #waiting = new Map<string, { reason: string; message: string }>()
  readonly #messages = new Map<string, string>()
  readonly #imageIds = new Map<string, string>()
  readonly #probers = new Map<string, Prober>()
  readonly #counted = new Set<string>()
  #ids: ReadonlySet<string> = new Set()
  #podIp = ''
  /** The resources running containers were given, by container id. */
  readonly #resources = new Map<string, Json>()
  #timer: Timer | undefined
  #ending: Promise<void> | undefined
  #gone = false

  constructor(pod: KubeObject, node: NodeContext) {
    this.uid = pod.metadata.uid
    this.#pod = pod
    this.#node = node
    this.#recall(pod.status ?? {})
    this.#job = new Coalesced(
      () => this.#sync(),
      (error) => {
        if (this.#gone) return
        node.log.warn('pod not in sync', { pod: pod.metadata.name, error: messageOf(error) })
        this.#again(1000)
      },
    )
  }

  get pod(): KubeObject {
    return this.#pod
  }

  /** True when a runtime's id is one of this pod's. */
  owns(id: string): boolean {
    return this.#ids.has(id)
  }

  /** True once everything of the pod is off the node. */
  get gone(): boolean {
    return this.#gone
  }

  /** The pod's object has changed, or the runtime has. */
  update(pod: KubeObject = this.#pod): void {
    this.#pod = pod
    if (!this.#gone) void this.#job.trigger()
  }

  /** The object is gone from the API: end what is left at once. */
  async forget(): Promise<void> {
    await this.#end(Math.min(2, this.#pod.metadata.deletionGracePeriodSeconds ?? 2))
  }

  /** Stops watching; containers stay as they are. */
  detach(): void {
    this.#gone = true
    this.#timer?.cancel()
    for (const prober of this.#probers.values()) prober.stop()
  }

  /** The running container of a name, for exec and logs. */
  async container(name: string): Promise<ContainerInfo | undefined> {
    return newest(await this.#observe(), name)
  }

  async sandboxId(): Promise<string | undefined> {
    return (await this.#observe()).sandbox?.id
  }

  logDirectory(container = ''): string {
    const { namespace, name } = this.#pod.metadata
    return join(this.#node.logDir, `${namespace}_${name}_${this.uid}`, container)
  }

  /**
   * Verdicts on containers from before a restart of ours hold until a probe says otherwise: a pod that serves would
   * lose its traffic while its first probe is under way.
   */
  #recall({ containerStatuses, initContainerStatuses }: Json): void {
    for (const s of [...(containerStatuses ?? []), ...(initContainerStatuses ?? [])] as Json[]) {
      const id = String(s.containerID ?? '').replace('containerd://', '')
      if (!id || !s.state?.running) continue
      if (s.ready) this.#ready.set(id, true)
      if (s.started) this.#started.set(id, true)
    }
  }

  #again(ms: number): void {
    this.#timer?.cancel()
    this.#timer = this.#node.clock.after(ms, () => {
      this.#timer = undefined
      this.update()
    })
  }

  async #observe(): Promise<PodState> {
    const { runtime } = this.#node
    const [sandboxes, containers] = await Promise.all([runtime.sandboxes(this.uid), runtime.containers(this.uid)])
    this.#ids = new Set([...sandboxes.map((s) => s.id), ...containers.map((c) => c.id)])
    const alive = sandboxes.filter((s) => s.ready).sort((a, b) => b.attempt - a.attempt)
    return {
      sandbox: alive[0],
      deadSandboxes: sandboxes.filter((s) => s !== alive[0]),
      containers,
      condemned: this.#condemned,
      notBefore: this.#notBefore,
    }
  }

  async #sync(): Promise<void> {
    if (this.#gone) return
    if (this.#pod.metadata.deletionTimestamp) return this.#terminate()
    let state = await this.#observe()
    if (state.sandbox && !this.#podIp) this.#podIp = await this.#addressOf(state.sandbox)
    this.#account(state)
    const actions = planPod(this.#pod, state, this.#node.clock.now())
    for (const action of actions) {
      if (this.#pod.metadata.deletionTimestamp) break
      await this.#act(action, state)
      if (action.type === 'createSandbox') {
        await this.#report(await this.#observe())
        return this.update()
      }
    }
    state = await this.#observe()
    this.#account(state)
    this.#watchProbes(state)
    await this.#resize(state)
    await this.#tidy(state)
    await this.#report(state)
    if (actions.some((a) => a.type === 'start' && a.init) && !this.#waiting.size) this.update()
    // Events tell of changes at once; this look is for those that were missed.
    if (!this.#timer) this.#again(state.containers.every((c) => c.state === 'running') ? RELIST : RELIST_UNSETTLED)
    if (isFinished(this.#pod) && state.sandbox) await this.#node.runtime.stopSandbox(state.sandbox.id)
  }

  /** Brings the limits of running containers to those of the spec (subresource resize). */
  async #resize(state: PodState): Promise<void> {
    const { runtime, events } = this.#node
    for (const c of state.containers) {
      const spec = this.#spec(c.name)
      if (c.state !== 'running' || !spec || c !== newest(state, c.name)) continue
      const reported: Json | undefined = (this.#pod.status?.containerStatuses ?? []).find(
        (s: Json) => s.containerID === `containerd://${c.id}`,
      )
      const has: Json | undefined = this.#resources.get(c.id) ?? reported?.resources
      const wanted: Json = spec.resources ?? {}
      if (has === undefined || sameJson(has, wanted)) continue
      try {
        await runtime.updateResources(c.id, limitsOf(spec, this.#pod.status?.qosClass ?? 'BestEffort'))
        this.#resources.set(c.id, wanted)
        events.normal(this.#pod, 'ResizeCompleted', `Container ${c.name} has the resources of its spec`)
      } catch (error) {
        this.#resources.set(c.id, has)
        events.warning(this.#pod, 'ResizeError', `Container ${c.name}: ${messageOf(error)}`)
      }
    }
  }

  async #addressOf(sandbox: SandboxInfo): Promise<string> {
    return this.#pod.spec.hostNetwork ? this.#node.hostIp : this.#node.runtime.sandboxIp(sandbox.id)
  }

  /** Notes crashes, so that restarts slow down, and reads termination messages. */
  #account(state: PodState): void {
    for (const c of state.containers) {
      if (c.state !== 'exited' || this.#counted.has(c.id)) continue
      this.#counted.add(c.id)
      this.#condemned.delete(c.id)
      const spec = this.#spec(c.name)
      try {
        const text = readFileSync(this.#terminationFile(c.name, c.attempt), 'utf8')
        if (text) this.#messages.set(c.id, text.slice(0, 4096))
      } catch {
        // The container has no message file.
      }
      if (c !== newest(state, c.name) || !spec) continue
      const completedInit = (this.#pod.spec.initContainers ?? []).includes(spec) && c.exitCode === 0
      if (completedInit) continue
      const delay = crashDelay(this.#delays.get(c.name) ?? 0, c.finishedAt - c.startedAt)
      const first = !this.#delays.has(c.name)
      this.#delays.set(c.name, delay)
      // The first restart is immediate.
      if (!first) this.#notBefore.set(c.name, c.finishedAt + delay)
    }
  }

  #spec(name: string): Json | undefined {
    const { containers = [], initContainers = [], ephemeralContainers = [] } = this.#pod.spec
    return [...containers, ...initContainers, ...ephemeralContainers].find((c: Json) => c.name === name)
  }

  async #act(action: Action, state: PodState): Promise<void> {
    const { runtime, events } = this.#node
    switch (action.type) {
      case 'createSandbox':
        return this.#createSandbox(action.attempt)
      case 'wait': {
        this.#again(action.ms)
        for (const [name, at] of this.#notBefore)
          if (at > this.#node.clock.now() && !this.#waiting.has(name)) {
            const message = `back-off ${Math.round((this.#delays.get(name) ?? 0) / 1000)}s restarting failed container=${name} pod=${this.#pod.metadata.name}_${this.#pod.metadata.namespace}(${this.uid})`
            this.#waiting.set(name, { reason: 'CrashLoopBackOff', message })
            events.warning(
              this.#pod,
              'BackOff',
              `Back-off restarting failed container ${name} in pod ${this.#pod.metadata.name}_${this.#pod.metadata.namespace}(${this.uid})`,
              `spec.containers{${name}}`,
            )
          }
        return
      }
      case 'kill':
        events.normal(
          this.#pod,
          'Killing',
          `Container ${action.container.name} failed liveness probe, will be restarted`,
          `spec.containers{${action.container.name}}`,
        )
        await runtime.stopContainer(
          action.id,
          action.container.livenessProbe?.terminationGracePeriodSeconds ??
            this.#pod.spec.terminationGracePeriodSeconds ??
            30,
        )
        return this.update()
      case 'start':
        return this.#start(action.container, action.attempt, state)
    }
  }

  async #createSandbox(attempt: number): Promise<void> {
    const node = this.#node
    try {
      await node.volumes.prepare(this.#pod, node.volumeSources(this.#pod, ''))
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      node.events.warning(this.#pod, 'FailedMount', `MountVolume.SetUp failed for volume: ${error.message}`)
      await this.#report(await this.#observe())
      throw error
    }
    await node.images.bundled()
    const directory = this.logDirectory()
    mkdirSync(directory, { recursive: true })
    try {
      const id = await node.runtime.runSandbox(
        sandboxConfig(this.#pod, {
          attempt,
          logDirectory: directory,
          cgroupParent: node.cgroupParent(this.uid),
          dns: node.dns(this.#pod),
        }),
      )
      this.#podIp = this.#pod.spec.hostNetwork ? node.hostIp : await node.runtime.sandboxIp(id)
    } catch (error) {
      node.events.warning(this.#pod, 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${messageOf(error)}`)
      throw error
    }
  }

  async #start(container: Json, attempt: number, state: PodState): Promise<void> {
    const { runtime, images, events } = this.#node
    const at = `spec.containers{${container.name}}`
    try {
      const image = await images.ensure(this.#pod, container)
      this.#imageIds.set(container.image, image.digests[0] ?? image.id)
      this.#checkUser(container, image.uid, image.username)
      await this.#node.volumes.prepare(this.#pod, this.#node.volumeSources(this.#pod, this.#podIp))
      const env = buildEnvironment(this.#pod, container, this.#node.environmentSources(this.#pod, this.#podIp))
      const sandbox = state.sandbox ?? (await this.#observe()).sandbox
      if (!sandbox) return this.update()
      mkdirSync(this.logDirectory(container.name), { recursive: true })
      const target = container.targetContainerName ? newest(state, container.targetContainerName) : undefined
      const config = containerConfig(this.#pod, container, {
        attempt,
        image: image.id,
        env,
        mounts: this.#mounts(container, attempt),
        annotations: {},
        qosClass: this.#pod.status?.qosClass ?? 'BestEffort',
        ...(target ? { targetId: target.id } : {}),
      })
      const sandboxMessage = sandboxConfig(this.#pod, {
        attempt: sandbox.attempt,
        logDirectory: this.logDirectory(),
        cgroupParent: this.#node.cgroupParent(this.uid),
        dns: this.#node.dns(this.#pod),
      })
      for (const left of unstarted(state, container.name)) await runtime.removeContainer(left.id)
      const id = await runtime.createContainer(sandbox.id, config, sandboxMessage)
      this.#resources.set(id, container.resources ?? {})
      events.normal(this.#pod, 'Created', `Created container: ${container.name}`, at)
      const ports = portsToAwait(container, image)
      if (ports.length > 0) this.#ready.set(id, false)
      await runtime.startContainer(id)
      events.normal(this.#pod, 'Started', `Started container ${container.name}`, at)
      this.#waiting.delete(container.name)
      await this.#postStart(container, id)
      this.#awaitPorts(ports, id)
    } catch (error) {
      const reason = error instanceof ImageError || error instanceof ConfigError ? error.code : 'RunContainerError'
      this.#waiting.set(container.name, { reason, message: messageOf(error) })
      if (!(error instanceof ImageError)) events.warning(this.#pod, 'Failed', `Error: ${messageOf(error)}`, at)
      this.#again(
        error instanceof ImageError
          ? this.#node.images.retryIn(container.image)
          : error instanceof ConfigError
            ? 2000
            : 5000,
      )
      if (reason !== 'RunContainerError') return
      // A container that cannot be started waits longer each time, as one that crashes does.
      const delay = crashDelay(this.#delays.get(container.name) ?? 0, 0)
      this.#delays.set(container.name, delay)
      this.#notBefore.set(container.name, this.#node.clock.now() + delay)
      this.#again(delay)
    }
  }

  /**
   * A container without a readiness probe counts as ready once it listens on the ports that it or its
   * image declares, or after a few seconds: upstream's "ready when started" sends it connections that
   * it refuses. Looks are counted, not time: where the machine stands still, so does the container.
   */
  #awaitPorts(ports: readonly number[], id: string): void {
    const { clock, runtime } = this.#node
    let looks = 0
    const verdict = () => {
      this.#ready.set(id, true)
      this.update()
    }
    if (ports.length === 0) return
    const look = (pid: number) => {
      if (this.#gone) return
      const listening = pid > 0 ? listeningPorts(pid) : undefined
      if (!listening || ports.every((p) => listening.has(p)) || ++looks > PORTS_LOOKS) return verdict()
      clock.after(PORTS_LOOK, () => look(pid))
    }
    runtime.containerPid(id).then(look, verdict)
  }

  #checkUser(container: Json, imageUid: number | undefined, imageUser: string): void {
    const nonRoot = container.securityContext?.runAsNonRoot ?? this.#pod.spec.securityContext?.runAsNonRoot
    const user = container.securityContext?.runAsUser ?? this.#pod.spec.securityContext?.runAsUser ?? imageUid
    if (nonRoot && (user === 0 || (user === undefined && !imageUser)))
      throw new ConfigError(
        `container has runAsNonRoot and image will run as root (pod: "${this.#pod.metadata.name}_${this.#pod.metadata.namespace}(${this.uid})", container: ${container.name})`,
      )
  }

  async #postStart(container: Json, id: string): Promise<void> {
    const hook = container.lifecycle?.postStart
    if (!hook) return
    const result = await this.#hook(hook, container, id)
    if (result.ok) return
    this.#node.events.warning(
      this.#pod,
      'FailedPostStartHook',
      `PostStartHook failed: ${result.message}`,
      `spec.containers{${container.name}}`,
    )
    await this.#node.runtime.stopContainer(id, 2)
  }

  async #hook(hook: Json, container: Json, containerId: string): Promise<{ ok: boolean; message: string }> {
    if (hook.sleep) {
      await new Promise<void>((resolve) => this.#node.clock.after(hook.sleep.seconds * 1000, resolve))
      return { ok: true, message: '' }
    }
    const timeoutSeconds = this.#pod.spec.terminationGracePeriodSeconds ?? 30
    return runProbe(
      this.#node.runtime,
      { ...hook, timeoutSeconds },
      { pod: this.#pod, container, containerId, podIp: this.#podIp },
    )
  }

  #terminationFile(container: string, attempt: number): string {
    return join(this.#node.volumes.podDir(this.uid), 'containers', container, String(attempt))
  }

  #mounts(container: Json, attempt: number): ContainerMount[] {
    const { volumes } = this.#node
    const byName = new Map<string, Json>((this.#pod.spec.volumes ?? []).map((v: Json) => [v.name, v]))
    const mounts: ContainerMount[] = []
    for (const m of (container.volumeMounts ?? []) as Json[]) {
      const volume = byName.get(m.name)
      if (!volume) throw new ConfigError(`volume "${m.name}" is not defined`)
      const path = volumes.volumePath(this.uid, volume)
      if (m.subPath && /(^|\/)\.\.(\/|$)/.test(m.subPath))
        throw new ConfigError(`subPath "${m.subPath}" must not contain ".."`)
      if (m.subPath && volume.emptyDir) mkdirSync(join(path, m.subPath), { recursive: true })
      const readOnly =
        m.readOnly ?? Boolean(volume.configMap || volume.secret || volume.projected || volume.downwardAPI)
      mounts.push({ containerPath: m.mountPath, hostPath: m.subPath ? join(path, m.subPath) : path, readOnly })
    }
    const taken = (path: string) => mounts.some((m) => m.containerPath === path)
    const directory = volumes.podDir(this.uid)
    if (!taken('/etc/hosts') && !this.#pod.spec.hostNetwork) {
      const file = join(directory, 'etc-hosts')
      writeFileSync(file, this.#hostsFile())
      mounts.push({ containerPath: '/etc/hosts', hostPath: file, readOnly: false })
    }
    const path = container.terminationMessagePath ?? '/dev/termination-log'
    const file = this.#terminationFile(container.name, attempt)
    mkdirSync(join(directory, 'containers', container.name), { recursive: true })
    writeFileSync(file, '', { mode: 0o666 })
    mounts.push({ containerPath: path, hostPath: file, readOnly: false })
    return mounts
  }

  #hostsFile(): string {
    const { hostname, subdomain } = this.#pod.spec
    const name = hostname ?? this.#pod.metadata.name
    const full = subdomain ? `${name}.${subdomain}.${this.#pod.metadata.namespace}.svc.cluster.local\t` : ''
    const aliases = ((this.#pod.spec.hostAliases ?? []) as Json[])
      .map((a) => `${a.ip}\t${(a.hostnames ?? []).join('\t')}\n`)
      .join('')
    return `# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${this.#podIp}\t${full}${name}\n${aliases}`
  }

  /** Starts probers of running containers and stops those of others. */
  #watchProbes(state: PodState): void {
    const wanted = new Set<string>()
    for (const c of state.containers) {
      const spec = this.#spec(c.name)
      if (c.state !== 'running' || !spec || c !== newest(state, c.name)) continue
      for (const kind of PROBES) {
        if (!spec[kind]) continue
        // The others begin when the container has started.
        if (kind !== 'startupProbe' && spec.startupProbe && !this.#started.get(c.id)) continue
        const key = `${c.id}/${kind}`
        wanted.add(key)
        if (!this.#probers.has(key)) this.#probers.set(key, this.#prober(kind, spec, c))
      }
    }
    for (const [key, prober] of this.#probers)
      if (!wanted.has(key)) {
        prober.stop()
        this.#probers.delete(key)
      }
  }

  #prober(kind: ProbeKind, container: Json, info: ContainerInfo): Prober {
    const name = kind === 'livenessProbe' ? 'Liveness' : kind === 'readinessProbe' ? 'Readiness' : 'Startup'
    return new Prober({
      runtime: this.#node.runtime,
      clock: this.#node.clock,
      probe: container[kind],
      target: { pod: this.#pod, container, containerId: info.id, podIp: this.#podIp },
      onFailure: (message) =>
        this.#node.events.warning(
          this.#pod,
          'Unhealthy',
          `${name} probe failed: ${message}`,
          `spec.containers{${container.name}}`,
        ),
      onVerdict: (passing) => {
        if (kind === 'readinessProbe') this.#ready.set(info.id, passing)
        else if (!passing) this.#condemned.add(info.id)
        else if (kind === 'startupProbe') this.#started.set(info.id, true)
        this.update()
      },
    })
  }

  /** Removes dead sandboxes, and exited containers but the last of each name. */
  async #tidy(state: PodState): Promise<void> {
    const { runtime } = this.#node
    const kept = new Map<string, number>()
    for (const c of state.containers) {
      if (c.state !== 'exited') continue
      const seen = kept.get(c.name) ?? 0
      kept.set(c.name, seen + 1)
      if (seen >= 1) await runtime.removeContainer(c.id)
    }
    if (!state.sandbox) return
    for (const dead of state.deadSandboxes) {
      await runtime.stopSandbox(dead.id)
      await runtime.removeSandbox(dead.id)
    }
  }

  async #report(state: PodState): Promise<void> {
    const status = podStatus(this.#pod, state, {
      now: this.#node.clock.now(),
      hostIp: this.#node.hostIp,
      podIp: this.#podIp,
      ready: this.#ready,
      started: this.#started,
      waiting: this.#waiting,
      messages: this.#messages,
      imageIds: this.#imageIds,
      resources: this.#resources,
    })
    await this.#writeStatus(status)
  }

  async #writeStatus(status: Json): Promise<void> {
    const { metadata } = this.#pod
    try {
      const current = await this.#node.client.get(resources.pods, metadata.namespace ?? '', metadata.name)
      if (current.metadata.uid !== this.uid || sameJson(current.status, status)) return
      this.#pod = await this.#node.client.updateStatus(resources.pods, { ...current, status })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  /** Ends the pod gracefully, then lets its object go. */
  async #terminate(): Promise<void> {
    const { metadata } = this.#pod
    if (!this.#ending)
      this.#node.events.normal(
        this.#pod,
        'Killing',
        `Stopping container ${this.#pod.spec.containers.map((c: Json) => c.name).join(', ')}`,
      )
    await this.#end(metadata.deletionGracePeriodSeconds ?? 30)
    try {
      await this.#node.client.delete(resources.pods, metadata.namespace ?? '', metadata.name, {
        gracePeriodSeconds: 0,
        uid: this.uid,
      })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  #end(graceSeconds: number): Promise<void> {
    this.#ending ??= this.#stop(graceSeconds).catch((error) => {
      this.#ending = undefined
      throw error
    })
    return this.#ending
  }

  async #stop(graceSeconds: number): Promise<void> {
    const { runtime, clock } = this.#node
    this.#timer?.cancel()
    for (const prober of this.#probers.values()) prober.stop()
    this.#probers.clear()
    const state = await this.#observe()
    const running = state.containers.filter((c) => c.state === 'running')
    // New connections must not find the pod any more before it is told to stop.
    if (graceSeconds > 0 && this.#podIp && running.length > 0) await this.#node.trafficStopped(this.#podIp)
    const deadline = clock.now() + graceSeconds * 1000
    const left = () => Math.max(graceSeconds > 0 ? 1 : 0, Math.ceil((deadline - clock.now()) / 1000))
    const stopOne = async (c: ContainerInfo) => {
      const spec = this.#spec(c.name)
      const hook = spec?.lifecycle?.preStop
      if (spec && hook && graceSeconds > 0)
        await Promise.race([
          this.#hook(hook, spec, c.id),
          new Promise<void>((resolve) => clock.after(graceSeconds * 1000, resolve)),
        ])
      await runtime.stopContainer(c.id, left())
    }
    const sidecars = new Set((this.#pod.spec.initContainers ?? []).map((c: Json) => c.name))
    await Promise.all(running.filter((c) => !sidecars.has(c.name)).map(stopOne))
    await Promise.all(running.filter((c) => sidecars.has(c.name)).map(stopOne))
    // Clients that choose a pod by its status (kubectl exec deploy/NAME) must not choose one that has ended.
    if (this.#pod.metadata.deletionTimestamp && running.length > 0) {
      const ended = await this.#observe()
      this.#account(ended)
      await this.#report(ended)
    }
    for (const sandbox of [state.sandbox, ...state.deadSandboxes])
      if (sandbox) {
        await runtime.stopSandbox(sandbox.id)
        await runtime.removeSandbox(sandbox.id)
      }
    await this.#node.volumes.remove(this.uid)
    this.#node.removeCgroup(this.uid)
    rmSync(this.logDirectory(), { recursive: true, force: true })
    this.#gone = true
  }
}

/** Ports a container must listen on before it counts as ready; none when a probe decides. */
function portsToAwait(container: Json, image: ImageInfo): number[] {
  if (container.readinessProbe) return []
  const declared = ((container.ports ?? []) as Json[])
    .filter((p) => (p.protocol ?? 'TCP') === 'TCP')
    .map((p) => p.containerPort as number)
  return declared.length > 0 ? declared : [...image.exposedPorts]
}
