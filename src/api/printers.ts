// The columns of the built-in kinds, as `kubectl get` shows them.

import { age, humanDuration } from './duration.ts'
import { CLUSTER_PRINTERS } from './printers-cluster.ts'
import { formatSelector } from './selectors.ts'
import { condition, type Json } from './types.ts'

/** A column; priority 1 shows only with -o wide. */
export interface Column {
  readonly name: string
  readonly type: string
  readonly format?: string
  readonly description?: string
  readonly priority?: number
}

/** Columns between Name and Age, and the wide ones after Age. */
export interface KindPrinter {
  readonly columns: readonly Column[]
  cells(object: Json, now: number): unknown[]
  readonly wide?: readonly Column[]
  wideCells?(object: Json, now: number): unknown[]
  readonly noAge?: true
  readonly noName?: true
}

const text = (...names: string[]): Column[] => names.map((name) => ({ name, type: 'string' }))
const int = (...names: string[]): Column[] => names.map((name) => ({ name, type: 'integer' }))
const or = (value: unknown, fallback = '<none>') =>
  value === undefined || value === null || value === '' ? fallback : value
const containersOf = (spec: Json | undefined): Json[] => spec?.template?.spec?.containers ?? spec?.containers ?? []
const names = (spec: Json | undefined) =>
  containersOf(spec)
    .map((c) => c.name)
    .join(',')
const images = (spec: Json | undefined) =>
  containersOf(spec)
    .map((c) => c.image)
    .join(',')

const containerColumns = text('Containers', 'Images', 'Selector')
const containerCells = (o: Json) => [names(o.spec), images(o.spec), formatSelector(o.spec?.selector)]

/** "cpu: 12%/80%", for each metric; three at most. */
function autoscalerTargets(o: Json): string {
  const metrics: Json[] = o.spec?.metrics ?? []
  const now: Json[] = o.status?.currentMetrics ?? []
  if (metrics.length === 0) return '<none>'
  const shown = metrics.map((m) => {
    const key = String(m.type).replace(/^./, (c) => c.toLowerCase())
    const target: Json = m[key]?.target ?? {}
    const name = m[key]?.name ?? m[key]?.metric?.name ?? ''
    const current: Json = now.find((c) => (c[key]?.name ?? c[key]?.metric?.name) === name)?.[key]?.current ?? {}
    const percent = (v: unknown) => (v === undefined ? '<unknown>' : `${v}%`)
    const value =
      target.averageUtilization === undefined
        ? `${current.averageValue ?? current.value ?? '<unknown>'}/${target.averageValue ?? target.value ?? '<auto>'}${target.averageValue ? ' (avg)' : ''}`
        : `${percent(current.averageUtilization)}/${percent(target.averageUtilization)}`
    return m.type === 'Resource' ? `${name}: ${value}` : value
  })
  return shown.length > 2 ? `${shown.slice(0, 2).join(', ')} + ${shown.length - 2} more...` : shown.join(', ')
}

export const PRINTERS: Record<string, KindPrinter> = {
  ...CLUSTER_PRINTERS,
  pods: {
    columns: [{ name: 'Ready', type: 'string' }, ...text('Status'), ...text('Restarts')],
    cells: podCells,
    wide: text('IP', 'Node', 'Nominated Node', 'Readiness Gates'),
    wideCells: (o) => {
      const gates: Json[] = o.spec?.readinessGates ?? []
      const met = gates.filter((g) => condition(o, g.conditionType)?.status === 'True').length
      return [
        or(o.status?.podIP),
        or(o.spec?.nodeName),
        or(o.status?.nominatedNodeName),
        gates.length ? `${met}/${gates.length}` : '<none>',
      ]
    },
  },
  services: {
    columns: text('Type', 'Cluster-IP', 'External-IP', 'Port(s)'),
    cells: (o) => [o.spec?.type, or(o.spec?.clusterIP), externalIp(o), servicePorts(o)],
    wide: text('Selector'),
    wideCells: (o) => [formatSelector(o.spec?.selector ? { matchLabels: o.spec.selector } : undefined)],
  },
  'deployments.apps': {
    columns: [...text('Ready'), ...int('Up-to-date', 'Available')],
    cells: (o) => [
      `${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`,
      o.status?.updatedReplicas ?? 0,
      o.status?.availableReplicas ?? 0,
    ],
    wide: containerColumns,
    wideCells: containerCells,
  },
  'replicasets.apps': {
    columns: int('Desired', 'Current', 'Ready'),
    cells: (o) => [o.spec?.replicas ?? 0, o.status?.replicas ?? 0, o.status?.readyReplicas ?? 0],
    wide: containerColumns,
    wideCells: containerCells,
  },
  replicationcontrollers: {
    columns: int('Desired', 'Current', 'Ready'),
    cells: (o) => [o.spec?.replicas ?? 0, o.status?.replicas ?? 0, o.status?.readyReplicas ?? 0],
    wide: containerColumns,
    wideCells: (o) => [names(o.spec), images(o.spec), formatSelector({ matchLabels: o.spec?.selector })],
  },
  'daemonsets.apps': {
    columns: [...int('Desired', 'Current', 'Ready', 'Up-to-date', 'Available'), ...text('Node Selector')],
    cells: (o) => [
      o.status?.desiredNumberScheduled ?? 0,
      o.status?.currentNumberScheduled ?? 0,
      o.status?.numberReady ?? 0,
      o.status?.updatedNumberScheduled ?? 0,
      o.status?.numberAvailable ?? 0,
      formatSelector({ matchLabels: o.spec?.template?.spec?.nodeSelector ?? {} }),
    ],
    wide: containerColumns,
    wideCells: containerCells,
  },
  'statefulsets.apps': {
    columns: text('Ready'),
    cells: (o) => [`${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`],
    wide: text('Containers', 'Images'),
    wideCells: (o) => [names(o.spec), images(o.spec)],
  },
  'jobs.batch': {
    columns: text('Status', 'Completions', 'Duration'),
    cells: (o, now) => [
      condition(o, 'Complete')?.status === 'True'
        ? 'Complete'
        : condition(o, 'Failed')?.status === 'True'
          ? 'Failed'
          : o.spec?.suspend
            ? 'Suspended'
            : 'Running',
      `${o.status?.succeeded ?? 0}/${o.spec?.completions ?? o.spec?.parallelism ?? 1}`,
      o.status?.startTime
        ? humanDuration(
            (o.status.completionTime ? Date.parse(o.status.completionTime) : now) - Date.parse(o.status.startTime),
          )
        : '',
    ],
    wide: containerColumns,
    wideCells: containerCells,
  },
  'cronjobs.batch': {
    columns: [...text('Schedule', 'Timezone', 'Suspend'), ...int('Active'), ...text('Last Schedule')],
    cells: (o, now) => [
      o.spec?.schedule,
      or(o.spec?.timeZone),
      o.spec?.suspend ? 'True' : 'False',
      o.status?.active?.length ?? 0,
      o.status?.lastScheduleTime ? age(o.status.lastScheduleTime, now) : '<none>',
    ],
    wide: containerColumns,
    wideCells: (o) => [names(o.spec?.jobTemplate?.spec), images(o.spec?.jobTemplate?.spec), '<none>'],
  },
  nodes: nodePrinter(),
  namespaces: { columns: text('Status'), cells: (o) => [o.status?.phase] },
  configmaps: {
    columns: int('Data'),
    cells: (o) => [Object.keys(o.data ?? {}).length + Object.keys(o.binaryData ?? {}).length],
  },
  secrets: { columns: [...text('Type'), ...int('Data')], cells: (o) => [o.type, Object.keys(o.data ?? {}).length] },
  serviceaccounts: { columns: int('Secrets'), cells: (o) => [o.secrets?.length ?? 0] },
  events: eventPrinter(),
  endpoints: { columns: text('Endpoints'), cells: (o) => [endpointsText(o)] },
  'endpointslices.discovery.k8s.io': {
    columns: text('AddressType', 'Ports', 'Endpoints'),
    cells: (o) => [
      o.addressType,
      limited(
        (o.ports ?? []).map((p: Json) => String(p.port ?? '*')),
        '<unset>',
      ),
      limited(
        (o.endpoints ?? []).flatMap((e: Json) => e.addresses),
        '<unset>',
      ),
    ],
  },
  'ingresses.networking.k8s.io': {
    columns: text('Class', 'Hosts', 'Address', 'Ports'),
    cells: (o) => [
      or(o.spec?.ingressClassName ?? o.metadata.annotations?.['kubernetes.io/ingress.class']),
      limited((o.spec?.rules ?? []).map((r: Json) => r.host).filter(Boolean), '*'),
      (o.status?.loadBalancer?.ingress ?? []).map((i: Json) => i.ip ?? i.hostname).join(','),
      o.spec?.tls?.length ? '80, 443' : '80',
    ],
  },
  'ingressclasses.networking.k8s.io': {
    columns: text('Controller', 'Parameters'),
    cells: (o) => [
      o.spec?.controller,
      o.spec?.parameters
        ? `${o.spec.parameters.kind}.${o.spec.parameters.apiGroup ?? ''}/${o.spec.parameters.name}`
        : '<none>',
    ],
  },
  'networkpolicies.networking.k8s.io': {
    columns: text('Pod-Selector'),
    cells: (o) => [formatSelector(o.spec?.podSelector)],
  },
  'roles.rbac.authorization.k8s.io': created(),
  'clusterroles.rbac.authorization.k8s.io': created(),
  'rolebindings.rbac.authorization.k8s.io': bindingPrinter(),
  'clusterrolebindings.rbac.authorization.k8s.io': bindingPrinter(),
  persistentvolumes: {
    columns: text(
      'Capacity',
      'Access Modes',
      'Reclaim Policy',
      'Status',
      'Claim',
      'StorageClass',
      'VolumeAttributesClass',
      'Reason',
    ),
    cells: (o) => [
      o.spec?.capacity?.storage ?? '',
      accessModes(o.spec?.accessModes),
      o.spec?.persistentVolumeReclaimPolicy,
      o.metadata.deletionTimestamp ? 'Terminating' : o.status?.phase,
      o.spec?.claimRef ? `${o.spec.claimRef.namespace}/${o.spec.claimRef.name}` : '',
      o.spec?.storageClassName ?? '',
      or(o.spec?.volumeAttributesClassName, '<unset>'),
      o.status?.reason ?? '',
    ],
    wide: text('VolumeMode'),
    wideCells: (o) => [or(o.spec?.volumeMode, '<unset>')],
  },
  persistentvolumeclaims: {
    columns: text('Status', 'Volume', 'Capacity', 'Access Modes', 'StorageClass', 'VolumeAttributesClass'),
    cells: (o) => [
      o.metadata.deletionTimestamp ? 'Terminating' : o.status?.phase,
      o.spec?.volumeName ?? '',
      o.spec?.volumeName ? (o.status?.capacity?.storage ?? '') : '',
      o.spec?.volumeName ? accessModes(o.status?.accessModes) : '',
      o.spec?.storageClassName ?? '',
      or(o.spec?.volumeAttributesClassName, '<unset>'),
    ],
    wide: text('VolumeMode'),
    wideCells: (o) => [or(o.spec?.volumeMode, '<unset>')],
  },
  'storageclasses.storage.k8s.io': {
    columns: text('Provisioner', 'ReclaimPolicy', 'VolumeBindingMode', 'AllowVolumeExpansion'),
    cells: (o) => [o.provisioner, o.reclaimPolicy, o.volumeBindingMode, o.allowVolumeExpansion ? 'true' : 'false'],
  },
  'leases.coordination.k8s.io': { columns: text('Holder'), cells: (o) => [o.spec?.holderIdentity ?? ''] },
  'customresourcedefinitions.apiextensions.k8s.io': {
    columns: text('Created At'),
    cells: (o) => [o.metadata.creationTimestamp],
    noAge: true,
  },
  'poddisruptionbudgets.policy': {
    columns: [...text('Min Available', 'Max Unavailable'), ...int('Allowed Disruptions')],
    cells: (o) => [
      or(o.spec?.minAvailable, 'N/A'),
      or(o.spec?.maxUnavailable, 'N/A'),
      o.status?.disruptionsAllowed ?? 0,
    ],
  },
  'horizontalpodautoscalers.autoscaling': {
    columns: [...text('Reference', 'Targets'), ...int('MinPods', 'MaxPods', 'Replicas')],
    cells: (o) => [
      `${o.spec?.scaleTargetRef?.kind}/${o.spec?.scaleTargetRef?.name}`,
      autoscalerTargets(o),
      or(o.spec?.minReplicas, '<unset>'),
      o.spec?.maxReplicas,
      o.status?.currentReplicas ?? 0,
    ],
  },
  resourcequotas: {
    columns: text('Request', 'Limit'),
    cells: (o) => {
      const show = (limits: boolean) =>
        Object.keys(o.status?.hard ?? o.spec?.hard ?? {})
          .filter((k) => k.startsWith('limits.') === limits)
          .sort()
          .map((k) => `${k}: ${o.status?.used?.[k] ?? 0}/${o.status?.hard?.[k] ?? o.spec?.hard?.[k]}`)
          .join(', ')
      return [show(false), show(true)]
    },
  },
}

/** Nodes have columns behind Age. */
function nodePrinter(): KindPrinter {
  return {
    noAge: true,
    columns: text('Status', 'Roles', 'Age', 'Version'),
    cells: (o, now) => [
      nodeStatus(o),
      nodeRoles(o),
      age(o.metadata.creationTimestamp, now),
      o.status?.nodeInfo?.kubeletVersion,
    ],
    wide: text('Internal-IP', 'External-IP', 'OS-Image', 'Kernel-Version', 'Container-Runtime'),
    wideCells: (o) => {
      const address = (type: string) => o.status?.addresses?.find((a: Json) => a.type === type)?.address
      const info = o.status?.nodeInfo ?? {}
      return [
        or(address('InternalIP')),
        or(address('ExternalIP')),
        info.osImage,
        info.kernelVersion,
        info.containerRuntimeVersion,
      ]
    },
  }
}

/** Events begin with when they were last seen and have wide columns in between. */
function eventPrinter(): KindPrinter {
  const wide = (name: string): Column => ({ name, type: 'string', priority: 1 })
  return {
    noName: true,
    noAge: true,
    columns: [...text('Last Seen', 'Type', 'Reason', 'Object'), wide('Subobject'), wide('Source'), ...text('Message')],
    cells: (o, now) => [
      age(o.series?.lastObservedTime ?? o.lastTimestamp ?? o.eventTime ?? o.firstTimestamp, now),
      o.type,
      o.reason,
      `${String(o.involvedObject?.kind ?? '').toLowerCase()}/${o.involvedObject?.name}`,
      o.involvedObject?.fieldPath ?? '',
      [o.source?.component, o.source?.host].filter(Boolean).join(', ') || (o.reportingComponent ?? ''),
      String(o.message ?? '').trim(),
    ],
    wide: [...text('First Seen'), ...int('Count'), ...text('Name')],
    wideCells: (o, now) => [
      age(o.firstTimestamp ?? o.eventTime, now),
      o.count ?? o.series?.count ?? 1,
      o.metadata.name,
    ],
  }
}

function created(): KindPrinter {
  return { columns: text('Created At'), cells: (o) => [o.metadata.creationTimestamp], noAge: true }
}

function bindingPrinter(): KindPrinter {
  const subjects = (o: Json, kind: string) =>
    (o.subjects ?? [])
      .filter((s: Json) => s.kind === kind)
      .map((s: Json) => (kind === 'ServiceAccount' ? `${s.namespace}/${s.name}` : s.name))
      .join(', ')
  return {
    columns: text('Role'),
    cells: (o) => [`${o.roleRef?.kind}/${o.roleRef?.name}`],
    wide: text('Users', 'Groups', 'ServiceAccounts'),
    wideCells: (o) => [subjects(o, 'User'), subjects(o, 'Group'), subjects(o, 'ServiceAccount')],
  }
}

/** The summary that `kubectl get pods` calls STATUS, with the ready count and restarts. */
function podCells(pod: Json, now: number): unknown[] {
  const status = pod.status ?? {}
  let reason: string = status.reason || status.phase || ''
  let restarts = 0
  let lastRestart = 0
  let ready = 0
  let total = pod.spec?.containers?.length ?? 0
  const initSpecs = new Map<string, Json>((pod.spec?.initContainers ?? []).map((c: Json) => [c.name, c]))
  for (const c of initSpecs.values()) if (c.restartPolicy === 'Always') total++
  let initializing = false
  for (const [i, c] of (status.initContainerStatuses ?? []).entries()) {
    const sidecar = initSpecs.get(c.name)?.restartPolicy === 'Always'
    restarts += c.restartCount ?? 0
    lastRestart = Math.max(lastRestart, finishedAt(c))
    if (sidecar && c.ready) ready++
    if (c.state?.terminated?.exitCode === 0) continue
    if (sidecar && c.started) continue
    if (initializing) continue
    if (c.state?.terminated) reason = `Init:${c.state.terminated.reason || `ExitCode:${c.state.terminated.exitCode}`}`
    else if (c.state?.waiting?.reason && c.state.waiting.reason !== 'PodInitializing')
      reason = `Init:${c.state.waiting.reason}`
    else reason = `Init:${i}/${initSpecs.size}`
    initializing = true
  }
  if (!initializing) {
    restarts = (status.initContainerStatuses ?? [])
      .filter((c: Json) => initSpecs.get(c.name)?.restartPolicy === 'Always')
      .reduce((n: number, c: Json) => n + (c.restartCount ?? 0), 0)
    let hasRunning = false
    for (const c of [...(status.containerStatuses ?? [])].reverse()) {
      restarts += c.restartCount ?? 0
      lastRestart = Math.max(lastRestart, finishedAt(c))
      if (c.state?.waiting?.reason) reason = c.state.waiting.reason
      else if (c.state?.terminated)
        reason =
          c.state.terminated.reason ||
          (c.state.terminated.signal
            ? `Signal:${c.state.terminated.signal}`
            : `ExitCode:${c.state.terminated.exitCode}`)
      else if (c.ready && c.state?.running) {
        hasRunning = true
        ready++
      }
    }
    if (reason === 'Completed' && hasRunning)
      reason = condition(pod, 'Ready')?.status === 'True' ? 'Running' : 'NotReady'
  }
  if (pod.metadata.deletionTimestamp && status.reason === 'NodeLost') reason = 'Unknown'
  else if (pod.metadata.deletionTimestamp && status.phase !== 'Failed' && status.phase !== 'Succeeded')
    reason = 'Terminating'
  const restartText =
    restarts > 0 && lastRestart > 0 ? `${restarts} (${humanDuration(now - lastRestart)} ago)` : String(restarts)
  return [`${ready}/${total}`, reason, restartText]
}

const finishedAt = (c: Json): number => Date.parse(c.lastState?.terminated?.finishedAt ?? '') || 0

function nodeStatus(o: Json): string {
  const ready = condition(o, 'Ready')
  const status = ready ? (ready.status === 'True' ? 'Ready' : 'NotReady') : 'Unknown'
  return o.spec?.unschedulable ? `${status},SchedulingDisabled` : status
}

function nodeRoles(o: Json): string {
  const roles = Object.keys(o.metadata.labels ?? {})
    .filter((l) => l.startsWith('node-role.kubernetes.io/'))
    .map((l) => l.slice('node-role.kubernetes.io/'.length))
    .filter(Boolean)
    .sort()
  return roles.length > 0 ? roles.join(',') : '<none>'
}

function externalIp(o: Json): string {
  const spec = o.spec ?? {}
  if (spec.type === 'ExternalName') return spec.externalName
  const own: string[] = spec.externalIPs ?? []
  if (spec.type === 'LoadBalancer') {
    const ips = [...(o.status?.loadBalancer?.ingress ?? []).map((i: Json) => i.ip ?? i.hostname), ...own]
    return ips.length > 0 ? ips.join(',') : '<pending>'
  }
  return own.length > 0 ? own.join(',') : '<none>'
}

function servicePorts(o: Json): string {
  const ports = (o.spec?.ports ?? []).map(
    (p: Json) => `${p.port}${p.nodePort ? `:${p.nodePort}` : ''}/${p.protocol ?? 'TCP'}`,
  )
  return ports.length > 0 ? ports.join(',') : '<none>'
}

function limited(values: readonly string[], empty: string): string {
  if (values.length === 0) return empty
  return values.length > 3 ? `${values.slice(0, 3).join(',')} + ${values.length - 3} more...` : values.join(',')
}

function endpointsText(o: Json): string {
  const all: string[] = []
  for (const subset of o.subsets ?? [])
    for (const a of subset.addresses ?? [])
      if (subset.ports?.length) for (const p of subset.ports) all.push(`${a.ip}:${p.port}`)
      else all.push(a.ip)
  return limited(all, '<none>')
}

const MODES: Record<string, string> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
}
const accessModes = (modes: string[] | undefined) => (modes ?? []).map((m) => MODES[m] ?? m).join(',')
