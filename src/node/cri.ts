// The Container Runtime Interface v1: the messages and methods we use (k8s.io/cri-api, runtime/v1).

import { type MessageType, type Method, mapOf, message, repeated } from '#wire'

const strings = mapOf('string')
const UInt64 = message('UInt64Value', { value: [1, 'uint64'] })
const ContainerStats = message('ContainerStats', {
  attributes: [1, message('ContainerAttributes', { id: [1, 'string'], labels: [3, strings] })],
  cpu: [2, message('CpuUsage', { timestamp: [1, 'int64'], usage_core_nano_seconds: [2, UInt64] })],
  memory: [3, message('MemoryUsage', { timestamp: [1, 'int64'], working_set_bytes: [2, UInt64] })],
})
const m = (name: string, fields: Parameters<typeof message>[1]) => message(`runtime.v1.${name}`, fields)

const Int64Value = m('Int64Value', { value: [1, 'int64'] })
const DNSConfig = m('DNSConfig', {
  servers: [1, repeated('string')],
  searches: [2, repeated('string')],
  options: [3, repeated('string')],
})
const Mount = m('Mount', {
  container_path: [1, 'string'],
  host_path: [2, 'string'],
  readonly: [3, 'bool'],
  propagation: [5, 'enum'],
})
const NamespaceOption = m('NamespaceOption', {
  network: [1, 'enum'],
  pid: [2, 'enum'],
  ipc: [3, 'enum'],
  target_id: [4, 'string'],
})
const SecurityProfile = m('SecurityProfile', { profile_type: [1, 'enum'], localhost_ref: [2, 'string'] })
const SandboxSecurity = m('LinuxSandboxSecurityContext', {
  namespace_options: [1, NamespaceOption],
  run_as_user: [3, Int64Value],
  readonly_rootfs: [4, 'bool'],
  supplemental_groups: [5, repeated('int64')],
  privileged: [6, 'bool'],
  run_as_group: [8, Int64Value],
  seccomp: [9, SecurityProfile],
})
const LinuxSandbox = m('LinuxPodSandboxConfig', {
  cgroup_parent: [1, 'string'],
  security_context: [2, SandboxSecurity],
  sysctls: [3, strings],
})
const SandboxMetadata = m('PodSandboxMetadata', {
  name: [1, 'string'],
  uid: [2, 'string'],
  namespace: [3, 'string'],
  attempt: [4, 'uint32'],
})
const PodSandboxConfig = m('PodSandboxConfig', {
  metadata: [1, SandboxMetadata],
  hostname: [2, 'string'],
  log_directory: [3, 'string'],
  dns_config: [4, DNSConfig],
  labels: [6, strings],
  annotations: [7, strings],
  linux: [8, LinuxSandbox],
})
const PodIp = m('PodIP', { ip: [1, 'string'] })
const SandboxNetwork = m('PodSandboxNetworkStatus', { ip: [1, 'string'], additional_ips: [2, repeated(PodIp)] })
const SandboxStatus = m('PodSandboxStatus', {
  id: [1, 'string'],
  metadata: [2, SandboxMetadata],
  state: [3, 'enum'],
  created_at: [4, 'int64'],
  network: [5, SandboxNetwork],
  labels: [7, strings],
})
const SandboxFilter = m('PodSandboxFilter', { id: [1, 'string'], label_selector: [3, strings] })
const PodSandbox = m('PodSandbox', {
  id: [1, 'string'],
  metadata: [2, SandboxMetadata],
  state: [3, 'enum'],
  created_at: [4, 'int64'],
  labels: [5, strings],
})
const ImageSpec = m('ImageSpec', { image: [1, 'string'], annotations: [2, strings] })
const KeyValue = m('KeyValue', { key: [1, 'string'], value: [2, 'string'] })
const LinuxResources = m('LinuxContainerResources', {
  cpu_period: [1, 'int64'],
  cpu_quota: [2, 'int64'],
  cpu_shares: [3, 'int64'],
  memory_limit_in_bytes: [4, 'int64'],
  oom_score_adj: [5, 'int64'],
})
const Capability = m('Capability', {
  add_capabilities: [1, repeated('string')],
  drop_capabilities: [2, repeated('string')],
})
const ContainerSecurity = m('LinuxContainerSecurityContext', {
  capabilities: [1, Capability],
  privileged: [2, 'bool'],
  namespace_options: [3, NamespaceOption],
  run_as_user: [5, Int64Value],
  run_as_username: [6, 'string'],
  readonly_rootfs: [7, 'bool'],
  supplemental_groups: [8, repeated('int64')],
  no_new_privs: [11, 'bool'],
  run_as_group: [12, Int64Value],
  masked_paths: [13, repeated('string')],
  readonly_paths: [14, repeated('string')],
  seccomp: [15, SecurityProfile],
})
const LinuxContainer = m('LinuxContainerConfig', {
  resources: [1, LinuxResources],
  security_context: [2, ContainerSecurity],
})
const ContainerMetadata = m('ContainerMetadata', { name: [1, 'string'], attempt: [2, 'uint32'] })
const ContainerConfig = m('ContainerConfig', {
  metadata: [1, ContainerMetadata],
  image: [2, ImageSpec],
  command: [3, repeated('string')],
  args: [4, repeated('string')],
  working_dir: [5, 'string'],
  envs: [6, repeated(KeyValue)],
  mounts: [7, repeated(Mount)],
  labels: [9, strings],
  annotations: [10, strings],
  log_path: [11, 'string'],
  stdin: [12, 'bool'],
  stdin_once: [13, 'bool'],
  tty: [14, 'bool'],
  linux: [15, LinuxContainer],
})
const ContainerFilter = m('ContainerFilter', {
  id: [1, 'string'],
  pod_sandbox_id: [3, 'string'],
  label_selector: [4, strings],
})
const Container = m('Container', {
  id: [1, 'string'],
  pod_sandbox_id: [2, 'string'],
  metadata: [3, ContainerMetadata],
  image: [4, ImageSpec],
  image_ref: [5, 'string'],
  state: [6, 'enum'],
  created_at: [7, 'int64'],
  labels: [8, strings],
  annotations: [9, strings],
})
const ContainerStatus = m('ContainerStatus', {
  id: [1, 'string'],
  metadata: [2, ContainerMetadata],
  state: [3, 'enum'],
  created_at: [4, 'int64'],
  started_at: [5, 'int64'],
  finished_at: [6, 'int64'],
  exit_code: [7, 'int32'],
  image: [8, ImageSpec],
  image_ref: [9, 'string'],
  reason: [10, 'string'],
  message: [11, 'string'],
  labels: [12, strings],
  annotations: [13, strings],
  log_path: [15, 'string'],
})
const Image = m('Image', {
  id: [1, 'string'],
  repo_tags: [2, repeated('string')],
  repo_digests: [3, repeated('string')],
  size: [4, 'uint64'],
  uid: [5, Int64Value],
  username: [6, 'string'],
})
const AuthConfig = m('AuthConfig', {
  username: [1, 'string'],
  password: [2, 'string'],
  auth: [3, 'string'],
  server_address: [4, 'string'],
})
const Empty = m('Empty', {})

const method = (service: 'Runtime' | 'Image', name: string, request: MessageType, response: MessageType): Method => ({
  path: `/runtime.v1.${service}Service/${name}`,
  request,
  response,
})
const byContainer = { container_id: [1, 'string'] } as const
const bySandbox = { pod_sandbox_id: [1, 'string'] } as const
const url = m('UrlResponse', { url: [1, 'string'] })

/** The methods, by name. */
export const cri = {
  version: method(
    'Runtime',
    'Version',
    m('VersionRequest', { version: [1, 'string'] }),
    m('VersionResponse', { runtime_name: [2, 'string'], runtime_version: [3, 'string'] }),
  ),
  runPodSandbox: method(
    'Runtime',
    'RunPodSandbox',
    m('RunPodSandboxRequest', { config: [1, PodSandboxConfig] }),
    m('RunPodSandboxResponse', { pod_sandbox_id: [1, 'string'] }),
  ),
  stopPodSandbox: method('Runtime', 'StopPodSandbox', m('StopPodSandboxRequest', bySandbox), Empty),
  removePodSandbox: method('Runtime', 'RemovePodSandbox', m('RemovePodSandboxRequest', bySandbox), Empty),
  podSandboxStatus: method(
    'Runtime',
    'PodSandboxStatus',
    m('PodSandboxStatusRequest', bySandbox),
    m('PodSandboxStatusResponse', { status: [1, SandboxStatus] }),
  ),
  listPodSandbox: method(
    'Runtime',
    'ListPodSandbox',
    m('ListPodSandboxRequest', { filter: [1, SandboxFilter] }),
    m('ListPodSandboxResponse', { items: [1, repeated(PodSandbox)] }),
  ),
  createContainer: method(
    'Runtime',
    'CreateContainer',
    m('CreateContainerRequest', {
      pod_sandbox_id: [1, 'string'],
      config: [2, ContainerConfig],
      sandbox_config: [3, PodSandboxConfig],
    }),
    m('CreateContainerResponse', { container_id: [1, 'string'] }),
  ),
  startContainer: method('Runtime', 'StartContainer', m('StartContainerRequest', byContainer), Empty),
  stopContainer: method(
    'Runtime',
    'StopContainer',
    m('StopContainerRequest', { container_id: [1, 'string'], timeout: [2, 'int64'] }),
    Empty,
  ),
  updateContainerResources: method(
    'Runtime',
    'UpdateContainerResources',
    m('UpdateContainerResourcesRequest', { container_id: [1, 'string'], linux: [2, LinuxResources] }),
    Empty,
  ),
  removeContainer: method('Runtime', 'RemoveContainer', m('RemoveContainerRequest', byContainer), Empty),
  listContainers: method(
    'Runtime',
    'ListContainers',
    m('ListContainersRequest', { filter: [1, ContainerFilter] }),
    m('ListContainersResponse', { containers: [1, repeated(Container)] }),
  ),
  listContainerStats: method(
    'Runtime',
    'ListContainerStats',
    m('ListContainerStatsRequest', {}),
    m('ListContainerStatsResponse', { stats: [1, repeated(ContainerStats)] }),
  ),
  containerStatus: method(
    'Runtime',
    'ContainerStatus',
    m('ContainerStatusRequest', { container_id: [1, 'string'], verbose: [2, 'bool'] }),
    m('ContainerStatusResponse', { status: [1, ContainerStatus], info: [2, strings] }),
  ),
  execSync: method(
    'Runtime',
    'ExecSync',
    m('ExecSyncRequest', { container_id: [1, 'string'], cmd: [2, repeated('string')], timeout: [3, 'int64'] }),
    m('ExecSyncResponse', { stdout: [1, 'bytes'], stderr: [2, 'bytes'], exit_code: [3, 'int32'] }),
  ),
  exec: method(
    'Runtime',
    'Exec',
    m('ExecRequest', {
      container_id: [1, 'string'],
      cmd: [2, repeated('string')],
      tty: [3, 'bool'],
      stdin: [4, 'bool'],
      stdout: [5, 'bool'],
      stderr: [6, 'bool'],
    }),
    url,
  ),
  attach: method(
    'Runtime',
    'Attach',
    m('AttachRequest', {
      container_id: [1, 'string'],
      stdin: [2, 'bool'],
      tty: [3, 'bool'],
      stdout: [4, 'bool'],
      stderr: [5, 'bool'],
    }),
    url,
  ),
  portForward: method(
    'Runtime',
    'PortForward',
    m('PortForwardRequest', { pod_sandbox_id: [1, 'string'], port: [2, repeated('int32')] }),
    url,
  ),
  imageStatus: method(
    'Image',
    'ImageStatus',
    m('ImageStatusRequest', { image: [1, ImageSpec], verbose: [2, 'bool'] }),
    m('ImageStatusResponse', { image: [1, Image], info: [2, strings] }),
  ),
  listImages: method(
    'Image',
    'ListImages',
    m('ListImagesRequest', {}),
    m('ListImagesResponse', { images: [1, repeated(Image)] }),
  ),
  pullImage: method(
    'Image',
    'PullImage',
    m('PullImageRequest', { image: [1, ImageSpec], auth: [2, AuthConfig] }),
    m('PullImageResponse', { image_ref: [1, 'string'] }),
  ),
} as const

/** States, as numbers on the wire. */
export const SandboxState = { ready: 0, notReady: 1 } as const
export const ContainerState = { created: 0, running: 1, exited: 2, unknown: 3 } as const
/** Which namespaces a container shares. */
export const NamespaceMode = { pod: 0, container: 1, node: 2, target: 3 } as const

const AnyValue = message('google.protobuf.Any', { type_url: [1, 'string'], value: [2, 'bytes'] })
const Envelope = message('containerd.services.events.v1.Envelope', {
  namespace: [2, 'string'],
  topic: [3, 'string'],
  event: [4, AnyValue],
})
/** containerd's own event stream: what happens to tasks, as it happens. */
export const subscribeEvents: Method = {
  path: '/containerd.services.events.v1.Events/Subscribe',
  request: message('containerd.services.events.v1.SubscribeRequest', { filters: [1, repeated('string')] }),
  response: Envelope,
}
/** The fields that task events share. */
export const TaskEvent = message('containerd.events.Task', { container_id: [1, 'string'] })
