// CRI configurations of sandboxes and containers, computed from the pod. Pure.

import { bytesOf, type Json, type KubeObject, milliCpu } from '#api'
import type { Message } from '#wire'
import { NamespaceMode } from './cri.ts'
import { expand } from './environment.ts'
import { LABEL } from './runtime.ts'

export interface SandboxContext {
  attempt: number
  logDirectory: string
  cgroupParent: string
  dns: { servers: readonly string[]; searches: readonly string[]; options: readonly string[] }
}

const podLabels = (pod: KubeObject): Record<string, string> => ({
  [LABEL.podName]: pod.metadata.name,
  [LABEL.podNamespace]: pod.metadata.namespace ?? '',
  [LABEL.podUid]: pod.metadata.uid,
})

/** The namespaces a pod's containers share. */
function namespaces(pod: KubeObject): Message {
  return {
    network: pod.spec.hostNetwork ? NamespaceMode.node : NamespaceMode.pod,
    pid: pod.spec.hostPID
      ? NamespaceMode.node
      : pod.spec.shareProcessNamespace
        ? NamespaceMode.pod
        : NamespaceMode.container,
    ipc: pod.spec.hostIPC ? NamespaceMode.node : NamespaceMode.pod,
  }
}

export function sandboxConfig(pod: KubeObject, context: SandboxContext): Message {
  const security: Json = pod.spec.securityContext ?? {}
  const privileged = [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])].some(
    (c: Json) => c.securityContext?.privileged,
  )
  return {
    metadata: {
      name: pod.metadata.name,
      uid: pod.metadata.uid,
      namespace: pod.metadata.namespace ?? '',
      attempt: context.attempt,
    },
    ...(pod.spec.hostNetwork
      ? {}
      : { hostname: (pod.spec.hostname ?? pod.metadata.name).slice(0, 63).replace(/[-.]+$/, '') }),
    log_directory: context.logDirectory,
    dns_config: context.dns,
    labels: podLabels(pod),
    linux: {
      cgroup_parent: context.cgroupParent,
      security_context: { namespace_options: namespaces(pod), ...(privileged ? { privileged } : {}) },
      sysctls: Object.fromEntries((security.sysctls ?? []).map((s: Json) => [s.name, s.value])),
    },
  }
}

export interface ContainerMount {
  containerPath: string
  hostPath: string
  readOnly: boolean
}

export interface ContainerContext {
  attempt: number
  image: string
  env: ReadonlyMap<string, string>
  mounts: readonly ContainerMount[]
  annotations: Record<string, string>
  qosClass: string
  /** The container whose processes an ephemeral container sees. */
  targetId?: string
}

export function containerConfig(pod: KubeObject, container: Json, context: ContainerContext): Message {
  const look = (name: string) => context.env.get(name)
  return {
    metadata: { name: container.name, attempt: context.attempt },
    image: { image: context.image },
    command: (container.command ?? []).map((c: string) => expand(c, look)),
    args: (container.args ?? []).map((a: string) => expand(a, look)),
    ...(container.workingDir ? { working_dir: container.workingDir } : {}),
    envs: [...context.env].map(([key, value]) => ({ key, value })),
    mounts: context.mounts.map((m) => ({
      container_path: m.containerPath,
      host_path: m.hostPath,
      readonly: m.readOnly,
    })),
    labels: { ...podLabels(pod), [LABEL.containerName]: container.name },
    annotations: context.annotations,
    log_path: `${container.name}/${context.attempt}.log`,
    stdin: container.stdin ?? false,
    stdin_once: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: resources(container, context.qosClass),
      security_context: security(pod, container, context.targetId),
    },
  }
}

const PERIOD = 100_000

/** The share of the machine a container gets. */
export function resources(container: Json, qosClass: string): Message {
  const { requests = {}, limits = {} } = container.resources ?? {}
  const cpu = requests.cpu ?? limits.cpu
  const result: Message = {
    cpu_shares: cpu === undefined ? 2 : Math.max(2, Math.floor((milliCpu(cpu) * 1024) / 1000)),
    oom_score_adj: qosClass === 'Guaranteed' ? -997 : qosClass === 'BestEffort' ? 1000 : 999,
  }
  if (limits.cpu !== undefined) {
    result.cpu_period = PERIOD
    result.cpu_quota = Math.max(1000, Math.floor((milliCpu(limits.cpu) * PERIOD) / 1000))
  }
  if (limits.memory !== undefined) result.memory_limit_in_bytes = bytesOf(limits.memory)
  return result
}

/** Paths that containers do not see, or only read, unless privileged (the defaults of container runtimes). */
const MASKED = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
]
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

function security(pod: KubeObject, container: Json, targetId: string | undefined): Message {
  const own: Json = container.securityContext ?? {}
  const shared: Json = pod.spec.securityContext ?? {}
  const user = own.runAsUser ?? shared.runAsUser
  const group = own.runAsGroup ?? shared.runAsGroup
  const groups = [...(shared.supplementalGroups ?? []), ...(shared.fsGroup === undefined ? [] : [shared.fsGroup])]
  return {
    namespace_options: {
      ...namespaces(pod),
      ...(targetId ? { pid: NamespaceMode.target, target_id: targetId } : {}),
    },
    privileged: own.privileged ?? false,
    readonly_rootfs: own.readOnlyRootFilesystem ?? false,
    no_new_privs: own.allowPrivilegeEscalation === false,
    capabilities: {
      add_capabilities: (own.capabilities?.add ?? []).map(capability),
      drop_capabilities: (own.capabilities?.drop ?? []).map(capability),
    },
    ...(user === undefined ? {} : { run_as_user: { value: user } }),
    ...(group === undefined ? {} : { run_as_group: { value: group } }),
    ...(groups.length > 0 ? { supplemental_groups: groups } : {}),
    ...(own.privileged ? {} : { masked_paths: MASKED, readonly_paths: READ_ONLY }),
  }
}

const capability = (name: string) => name.replace(/^CAP_/, '')
