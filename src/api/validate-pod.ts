// Validation of pods and pod templates (upstream's core/validation), field paths and words as there.

import {
  given,
  ipAddress,
  label,
  nonNegative,
  oneOf,
  portNameProblems,
  portNumber,
  portNumberOrName,
  quantity,
  selectorProblems,
} from './checks.ts'
import { checkLabels, checkQualifiedName, checkSubdomain } from './names.ts'
import { qosClass } from './qos.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

const RESTART = ['Always', 'OnFailure', 'Never'] as const

/** A pod about to be created. */
export function validatePod(pod: Json): FieldError[] {
  const problems = podSpec(pod.spec ?? {}, 'spec')
  if (pod.spec?.ephemeralContainers?.length)
    problems.push(field.forbidden('spec.ephemeralContainers', 'cannot be set on create'))
  return problems
}

/** Validates a pod's spec; `restart` limits restartPolicy. */
export function podSpec(spec: Json, path: string, restart: readonly string[] = RESTART): FieldError[] {
  const problems: FieldError[] = []
  const volumes = new Set<string>()
  for (const [i, v] of ((spec.volumes ?? []) as Json[]).entries()) {
    const at = `${path}.volumes[${i}]`
    if (!v.name) problems.push(field.required(`${at}.name`))
    else {
      problems.push(...label(v.name, `${at}.name`))
      if (volumes.has(v.name)) problems.push(field.duplicate(`${at}.name`, v.name))
      volumes.add(v.name)
    }
    problems.push(...volumeSource(v, at))
  }
  const names = new Set<string>()
  if (!spec.containers?.length) problems.push(field.required(`${path}.containers`))
  const hostPorts = new Set<string>()
  for (const list of ['initContainers', 'containers'] as const)
    for (const [i, c] of ((spec[list] ?? []) as Json[]).entries()) {
      const at = `${path}.${list}[${i}]`
      problems.push(...container(c, at, names, volumes))
      problems.push(...containerPorts(c.ports ?? [], `${at}.ports`, spec.hostNetwork === true, hostPorts))
      if (list === 'initContainers') problems.push(...initContainer(c, at))
      else if (c.restartPolicy !== undefined)
        problems.push(field.forbidden(`${at}.restartPolicy`, 'may not be set for non-init containers'))
    }
  if (spec.restartPolicy && !restart.includes(spec.restartPolicy))
    problems.push(field.notSupported(`${path}.restartPolicy`, spec.restartPolicy, restart))
  problems.push(...nonNegative(spec.terminationGracePeriodSeconds, `${path}.terminationGracePeriodSeconds`))
  const deadline = spec.activeDeadlineSeconds
  if (deadline !== undefined && !(deadline >= 1 && deadline <= 2147483647))
    problems.push(
      field.invalid(`${path}.activeDeadlineSeconds`, deadline, 'must be between 1 and 2147483647, inclusive'),
    )
  problems.push(...dns(spec, path))
  for (const key of ['hostname', 'subdomain']) if (spec[key]) problems.push(...label(spec[key], `${path}.${key}`))
  for (const key of ['serviceAccountName', 'nodeName', 'priorityClassName', 'runtimeClassName'])
    if (spec[key])
      for (const p of checkSubdomain(spec[key])) problems.push(field.invalid(`${path}.${key}`, spec[key], p))
  problems.push(...checkLabels(spec.nodeSelector, `${path}.nodeSelector`))
  for (const [i, t] of ((spec.tolerations ?? []) as Json[]).entries())
    problems.push(...toleration(t, `${path}.tolerations[${i}]`))
  if (spec.affinity) problems.push(...affinity(spec.affinity, `${path}.affinity`))
  for (const [i, c] of ((spec.topologySpreadConstraints ?? []) as Json[]).entries())
    problems.push(...spread(c, `${path}.topologySpreadConstraints[${i}]`))
  for (const [i, a] of ((spec.hostAliases ?? []) as Json[]).entries()) {
    problems.push(...ipAddress(a.ip, `${path}.hostAliases[${i}].ip`))
    for (const [j, h] of ((a.hostnames ?? []) as string[]).entries())
      for (const p of checkSubdomain(h)) problems.push(field.invalid(`${path}.hostAliases[${i}].hostnames[${j}]`, h, p))
  }
  for (const [i, g] of ((spec.readinessGates ?? []) as Json[]).entries())
    for (const p of checkQualifiedName(g.conditionType ?? ''))
      problems.push(field.invalid(`${path}.readinessGates[${i}].conditionType`, g.conditionType ?? '', p))
  for (const key of ['runAsUser', 'runAsGroup', 'fsGroup'])
    problems.push(...userId(spec.securityContext?.[key], `${path}.securityContext.${key}`))
  if (spec.hostPID && spec.shareProcessNamespace)
    problems.push(
      field.invalid(`${path}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    )
  problems.push(...oneOf(spec.preemptionPolicy, `${path}.preemptionPolicy`, ['Never', 'PreemptLowerPriority']))
  problems.push(...oneOf(spec.os?.name, `${path}.os.name`, ['linux', 'windows'], spec.os !== undefined))
  return problems
}

function userId(value: unknown, path: string): FieldError[] {
  return typeof value === 'number' && (value < 0 || value > 2147483647)
    ? [field.invalid(path, value, 'must be between 0 and 2147483647, inclusive')]
    : []
}

function dns(spec: Json, path: string): FieldError[] {
  const problems = oneOf(spec.dnsPolicy, `${path}.dnsPolicy`, [
    'ClusterFirst',
    'ClusterFirstWithHostNet',
    'Default',
    'None',
  ])
  const servers: string[] = spec.dnsConfig?.nameservers ?? []
  if (spec.dnsPolicy === 'None' && servers.length === 0)
    problems.push(
      spec.dnsConfig
        ? field.required(
            `${path}.dnsConfig.nameservers`,
            'must provide at least one DNS nameserver when `dnsPolicy` is None',
          )
        : field.required(`${path}.dnsConfig`, 'must provide `dnsConfig` when `dnsPolicy` is None'),
    )
  if (servers.length > 3)
    problems.push(field.invalid(`${path}.dnsConfig.nameservers`, servers, 'must not have more than 3 nameservers'))
  for (const [i, ip] of servers.entries()) problems.push(...ipAddress(ip, `${path}.dnsConfig.nameservers[${i}]`))
  for (const [i, o] of ((spec.dnsConfig?.options ?? []) as Json[]).entries())
    if (!o.name) problems.push(field.required(`${path}.dnsConfig.options[${i}]`, 'must not be empty'))
  return problems
}

const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute']

function toleration(t: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  if (t.key) for (const p of checkQualifiedName(t.key)) problems.push(field.invalid(`${at}.key`, t.key, p))
  if (!t.key && t.operator !== 'Exists')
    problems.push(
      field.invalid(
        `${at}.operator`,
        t.operator ?? '',
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    )
  if (t.operator === 'Exists' && t.value)
    problems.push(field.invalid(`${at}.operator`, t.value, "value must be empty when `operator` is 'Exists'"))
  problems.push(...oneOf(t.operator, `${at}.operator`, ['Equal', 'Exists']))
  problems.push(...oneOf(t.effect, `${at}.effect`, EFFECTS))
  if (t.tolerationSeconds !== undefined && t.effect !== 'NoExecute')
    problems.push(
      field.invalid(`${at}.effect`, t.effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"),
    )
  return problems
}

const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution'
const PREFERRED = 'preferredDuringSchedulingIgnoredDuringExecution'

function nodeTerm(term: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  for (const key of ['matchExpressions', 'matchFields'])
    for (const [i, e] of ((term?.[key] ?? []) as Json[]).entries()) {
      const path = `${at}.${key}[${i}]`
      const count = e.values?.length ?? 0
      if ((e.operator === 'In' || e.operator === 'NotIn') && count === 0)
        problems.push(field.required(`${path}.values`, "must be specified when `operator` is 'In' or 'NotIn'"))
      else if ((e.operator === 'Exists' || e.operator === 'DoesNotExist') && count > 0)
        problems.push(
          field.forbidden(`${path}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        )
      else if ((e.operator === 'Gt' || e.operator === 'Lt') && count !== 1)
        problems.push(
          field.required(`${path}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"),
        )
      else if (!['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'].includes(e.operator))
        problems.push(field.invalid(`${path}.operator`, e.operator ?? '', 'not a valid selector operator'))
      if (key === 'matchExpressions')
        for (const p of checkQualifiedName(e.key ?? '')) problems.push(field.invalid(`${path}.key`, e.key ?? '', p))
    }
  return problems
}

function weight(value: unknown, path: string): FieldError[] {
  return typeof value === 'number' && value >= 1 && value <= 100
    ? []
    : [field.invalid(path, value ?? 0, 'must be in the range 1-100')]
}

function affinity(a: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  const required = a.nodeAffinity?.[REQUIRED]
  if (required) {
    const terms: Json[] = required.nodeSelectorTerms ?? []
    const path = `${at}.nodeAffinity.${REQUIRED}.nodeSelectorTerms`
    if (terms.length === 0) problems.push(field.required(path, 'must have at least one node selector term'))
    for (const [i, t] of terms.entries()) problems.push(...nodeTerm(t, `${path}[${i}]`))
  }
  for (const [i, p] of ((a.nodeAffinity?.[PREFERRED] ?? []) as Json[]).entries()) {
    const path = `${at}.nodeAffinity.${PREFERRED}[${i}]`
    problems.push(...weight(p.weight, `${path}.weight`), ...nodeTerm(p.preference, `${path}.preference`))
  }
  const podTerm = (t: Json | undefined, path: string) => {
    if (!t?.topologyKey) problems.push(field.required(`${path}.topologyKey`, 'can not be empty'))
    else
      for (const p of checkQualifiedName(t.topologyKey))
        problems.push(field.invalid(`${path}.topologyKey`, t.topologyKey, p))
    problems.push(...selectorProblems(t?.labelSelector, `${path}.labelSelector`))
  }
  for (const kind of ['podAffinity', 'podAntiAffinity']) {
    for (const [i, t] of ((a[kind]?.[REQUIRED] ?? []) as Json[]).entries())
      podTerm(t, `${at}.${kind}.${REQUIRED}[${i}]`)
    for (const [i, p] of ((a[kind]?.[PREFERRED] ?? []) as Json[]).entries()) {
      const path = `${at}.${kind}.${PREFERRED}[${i}]`
      problems.push(...weight(p.weight, `${path}.weight`))
      podTerm(p.podAffinityTerm, `${path}.podAffinityTerm`)
    }
  }
  return problems
}

function spread(c: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  if (!(c.maxSkew > 0)) problems.push(field.invalid(`${at}.maxSkew`, c.maxSkew ?? 0, 'must be greater than zero'))
  if (!c.topologyKey) problems.push(field.required(`${at}.topologyKey`, 'can not be empty'))
  problems.push(...oneOf(c.whenUnsatisfiable, `${at}.whenUnsatisfiable`, ['DoNotSchedule', 'ScheduleAnyway'], true))
  problems.push(...selectorProblems(c.labelSelector, `${at}.labelSelector`))
  return problems
}

const HOST_PATH_TYPES = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
]

function volumeSource(v: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  const sources = Object.keys(v).filter((k) => k !== 'name' && v[k] !== null && v[k] !== undefined)
  for (const extra of sources.slice(1))
    problems.push(field.forbidden(`${at}.${extra}`, 'may not specify more than 1 volume type'))
  const need = (source: string, key: string) => {
    if (v[source] && !v[source][key]) problems.push(field.required(`${at}.${source}.${key}`))
  }
  need('secret', 'secretName')
  need('configMap', 'name')
  need('persistentVolumeClaim', 'claimName')
  need('hostPath', 'path')
  need('nfs', 'server')
  need('nfs', 'path')
  need('csi', 'driver')
  if (v.hostPath?.type !== undefined && !HOST_PATH_TYPES.includes(v.hostPath.type))
    problems.push(field.notSupported(`${at}.hostPath.type`, v.hostPath.type, HOST_PATH_TYPES))
  if (
    String(v.hostPath?.path ?? '')
      .split('/')
      .includes('..')
  )
    problems.push(field.invalid(`${at}.hostPath.path`, v.hostPath.path, "must not contain '..'"))
  if (v.emptyDir?.sizeLimit !== undefined) problems.push(...quantity(v.emptyDir.sizeLimit, `${at}.emptyDir.sizeLimit`))
  for (const source of ['secret', 'configMap', 'downwardAPI', 'projected']) {
    if (!v[source]) continue
    problems.push(...fileMode(v[source].defaultMode, `${at}.${source}.defaultMode`))
    problems.push(...keyToPaths(v[source].items, `${at}.${source}.items`, source !== 'downwardAPI'))
  }
  for (const [i, s] of ((v.projected?.sources ?? []) as Json[]).entries()) {
    const path = `${at}.projected.sources[${i}]`
    const kinds = given(s, [
      'secret',
      'configMap',
      'downwardAPI',
      'serviceAccountToken',
      'clusterTrustBundle',
      'podCertificate',
    ])
    for (const extra of kinds.slice(1))
      problems.push(field.forbidden(`${path}.${extra}`, 'may not specify more than 1 volume type per source'))
    for (const source of ['secret', 'configMap']) {
      if (s[source] && !s[source].name) problems.push(field.required(`${path}.${source}.name`))
      problems.push(...keyToPaths(s[source]?.items, `${path}.${source}.items`, true))
    }
    const token = s.serviceAccountToken
    if (token && !token.path) problems.push(field.required(`${path}.serviceAccountToken.path`))
    if (token?.expirationSeconds < 600)
      problems.push(
        field.invalid(
          `${path}.serviceAccountToken.expirationSeconds`,
          token.expirationSeconds,
          'may not specify a duration less than 10 minutes',
        ),
      )
  }
  return problems
}

function fileMode(value: unknown, path: string): FieldError[] {
  return typeof value === 'number' && (value < 0 || value > 0o777)
    ? [field.invalid(path, value, 'must be a number between 0 and 0777 (octal), both inclusive')]
    : []
}

function relativePath(value: string, path: string): FieldError[] {
  const problems: FieldError[] = []
  if (value.startsWith('/')) problems.push(field.invalid(path, value, 'must be a relative path'))
  if (value.split('/').includes('..')) problems.push(field.invalid(path, value, "must not contain '..'"))
  return problems
}

function keyToPaths(items: Json[] | undefined, at: string, keyed: boolean): FieldError[] {
  const problems: FieldError[] = []
  for (const [i, item] of (items ?? []).entries()) {
    if (keyed && !item.key) problems.push(field.required(`${at}[${i}].key`))
    if (!item.path) problems.push(field.required(`${at}[${i}].path`))
    else problems.push(...relativePath(item.path, `${at}[${i}].path`))
    problems.push(...fileMode(item.mode, `${at}[${i}].mode`))
  }
  return problems
}

function containerPorts(ports: Json[], at: string, hostNetwork: boolean, hostPorts: Set<string>): FieldError[] {
  const problems: FieldError[] = []
  const names = new Set<string>()
  for (const [i, p] of ports.entries()) {
    const path = `${at}[${i}]`
    if (p.name) {
      const wrong = portNameProblems(p.name)
      for (const w of wrong) problems.push(field.invalid(`${path}.name`, p.name, w))
      if (wrong.length === 0 && names.has(p.name)) problems.push(field.duplicate(`${path}.name`, p.name))
      names.add(p.name)
    }
    if (p.containerPort === undefined || p.containerPort === 0) problems.push(field.required(`${path}.containerPort`))
    else problems.push(...portNumber(p.containerPort, `${path}.containerPort`))
    if (p.hostPort) {
      problems.push(...portNumber(p.hostPort, `${path}.hostPort`))
      if (hostNetwork && p.hostPort !== p.containerPort)
        problems.push(
          field.invalid(`${path}.hostPort`, p.hostPort, 'must match `containerPort` when `hostNetwork` is true'),
        )
      const key = `${p.protocol}/${p.hostIP ?? ''}/${p.hostPort}`
      if (hostPorts.has(key)) problems.push(field.duplicate(`${path}.hostPort`, key))
      hostPorts.add(key)
    }
    problems.push(...oneOf(p.protocol, `${path}.protocol`, ['SCTP', 'TCP', 'UDP']))
  }
  return problems
}

function initContainer(c: Json, at: string): FieldError[] {
  if (c.restartPolicy === 'Always') return []
  const problems: FieldError[] = []
  for (const key of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'])
    if (c[key])
      problems.push(field.forbidden(`${at}.${key}`, 'may not be set for init containers without restartPolicy=Always'))
  if (c.restartPolicy !== undefined)
    problems.push(field.notSupported(`${at}.restartPolicy`, c.restartPolicy, ['Always']))
  return problems
}

const ENV_SOURCES = ['fieldRef', 'resourceFieldRef', 'configMapKeyRef', 'secretKeyRef', 'fileKeyRef']
const FIELD_PATHS = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
]

function environment(c: Json, at: string): FieldError[] {
  const problems: FieldError[] = []
  for (const [i, e] of ((c.env ?? []) as Json[]).entries()) {
    const path = `${at}.env[${i}]`
    if (!e.name) problems.push(field.required(`${path}.name`))
    else if (!/^[ -<>-~]+$/.test(e.name))
      problems.push(
        field.invalid(
          `${path}.name`,
          e.name,
          "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
      )
    if (!e.valueFrom) continue
    const sources = given(e.valueFrom, ENV_SOURCES)
    if (sources.length === 0)
      problems.push(
        field.invalid(
          `${path}.valueFrom`,
          '',
          'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`',
        ),
      )
    else if (e.value)
      problems.push(field.invalid(`${path}.valueFrom`, '', 'may not be specified when `value` is not empty'))
    else if (sources.length > 1)
      problems.push(field.invalid(`${path}.valueFrom`, '', 'may not have more than one field specified at a time'))
    for (const source of ['configMapKeyRef', 'secretKeyRef'])
      if (e.valueFrom[source] && !e.valueFrom[source].key)
        problems.push(field.required(`${path}.valueFrom.${source}.key`))
    const fieldPath = e.valueFrom.fieldRef?.fieldPath
    if (e.valueFrom.fieldRef && !fieldPath) problems.push(field.required(`${path}.valueFrom.fieldRef.fieldPath`))
    else if (
      fieldPath &&
      !FIELD_PATHS.includes(fieldPath) &&
      !/^metadata\.(labels|annotations)\['.+'\]$/.test(fieldPath)
    )
      problems.push(field.notSupported(`${path}.valueFrom.fieldRef.fieldPath`, fieldPath, FIELD_PATHS))
  }
  for (const [i, e] of ((c.envFrom ?? []) as Json[]).entries()) {
    const path = `${at}.envFrom[${i}]`
    const sources = given(e, ['configMapRef', 'secretRef'])
    if (sources.length === 0)
      problems.push(field.invalid(path, '', 'must specify one of: `configMapRef` or `secretRef`'))
    if (sources.length > 1)
      problems.push(field.invalid(path, '', 'may not have more than one field specified at a time'))
    for (const s of sources) if (!e[s].name) problems.push(field.required(`${path}.${s}.name`))
  }
  return problems
}

/** One container of any list; `names` gathers names, `volumes` are those of the pod. */
export function container(c: Json, at: string, names: Set<string>, volumes: ReadonlySet<string>): FieldError[] {
  const problems: FieldError[] = []
  if (!c.name) problems.push(field.required(`${at}.name`))
  else {
    problems.push(...label(c.name, `${at}.name`))
    if (names.has(c.name)) problems.push(field.duplicate(`${at}.name`, c.name))
    names.add(c.name)
  }
  if (!c.image) problems.push(field.required(`${at}.image`))
  else if (c.image !== c.image.trim())
    problems.push(field.invalid(`${at}.image`, c.image, 'must not have leading or trailing whitespace'))
  problems.push(...oneOf(c.imagePullPolicy, `${at}.imagePullPolicy`, ['Always', 'IfNotPresent', 'Never']))
  problems.push(
    ...oneOf(c.terminationMessagePolicy, `${at}.terminationMessagePolicy`, ['FallbackToLogsOnError', 'File']),
  )
  problems.push(...environment(c, at))
  const mounts = new Set<string>()
  for (const [i, m] of ((c.volumeMounts ?? []) as Json[]).entries()) {
    const path = `${at}.volumeMounts[${i}]`
    if (!m.name) problems.push(field.required(`${path}.name`))
    else if (!volumes.has(m.name)) problems.push(field.notFound(`${path}.name`, m.name))
    if (!m.mountPath) problems.push(field.required(`${path}.mountPath`))
    else if (mounts.has(m.mountPath)) problems.push(field.invalid(`${path}.mountPath`, m.mountPath, 'must be unique'))
    mounts.add(m.mountPath)
    if (m.subPath) problems.push(...relativePath(m.subPath, `${path}.subPath`))
    if (m.subPath && m.subPathExpr)
      problems.push(
        field.invalid(`${path}.subPathExpr`, m.subPathExpr, 'subPathExpr and subPath are mutually exclusive'),
      )
    problems.push(
      ...oneOf(m.mountPropagation, `${path}.mountPropagation`, ['Bidirectional', 'HostToContainer', 'None']),
    )
    if (m.mountPropagation === 'Bidirectional' && !c.securityContext?.privileged)
      problems.push(
        field.forbidden(
          `${path}.mountPropagation`,
          'Bidirectional mount propagation is available only to privileged containers',
        ),
      )
  }
  problems.push(...resources(c.resources, `${at}.resources`))
  for (const key of ['livenessProbe', 'readinessProbe', 'startupProbe'])
    if (c[key]) problems.push(...probe(c[key], `${at}.${key}`, key !== 'readinessProbe'))
  for (const hook of ['postStart', 'preStop'])
    if (c.lifecycle?.[hook])
      problems.push(...handler(c.lifecycle[hook], `${at}.lifecycle.${hook}`, ['exec', 'httpGet', 'tcpSocket', 'sleep']))
  const security: Json = c.securityContext ?? {}
  for (const key of ['runAsUser', 'runAsGroup']) problems.push(...userId(security[key], `${at}.securityContext.${key}`))
  if (security.allowPrivilegeEscalation === false && security.privileged)
    problems.push(
      field.invalid(
        `${at}.securityContext`,
        security,
        'cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
      ),
    )
  return problems
}

const STANDARD = /^(cpu|memory|ephemeral-storage|hugepages-.+)$/

function resources(r: Json | undefined, at: string): FieldError[] {
  const problems: FieldError[] = []
  for (const kind of ['limits', 'requests'])
    for (const [name, value] of Object.entries(r?.[kind] ?? {})) {
      const path = `${at}.${kind}[${name}]`
      for (const p of checkQualifiedName(name)) problems.push(field.invalid(path, name, p))
      if (!name.includes('/') && !STANDARD.test(name)) {
        problems.push(field.invalid(path, name, 'must be a standard resource type or fully qualified'))
        problems.push(field.invalid(path, name, 'must be a standard resource for containers'))
      }
      const wrong = quantity(value, path)
      problems.push(...wrong)
      if (wrong.length > 0) continue
      const amount = parseQuantity(value as string)!
      if (name.includes('/') && !Number.isInteger(amount))
        problems.push(field.invalid(path, value, 'must be an integer'))
      const limit = parseQuantity(r?.limits?.[name])
      if (kind === 'requests' && limit !== undefined && amount > limit)
        problems.push(
          field.invalid(`${at}.requests`, value, `must be less than or equal to ${name} limit of ${r!.limits[name]}`),
        )
    }
  return problems
}

function handler(h: Json, at: string, kinds: readonly string[]): FieldError[] {
  const problems: FieldError[] = []
  const chosen = given(h, kinds)
  if (chosen.length === 0) problems.push(field.required(at, 'must specify a handler type'))
  for (const extra of chosen.slice(1))
    problems.push(field.forbidden(`${at}.${extra}`, 'may not specify more than 1 handler type'))
  if (h.exec && !h.exec.command?.length) problems.push(field.required(`${at}.exec.command`))
  if (h.httpGet) {
    if (h.httpGet.port === undefined) problems.push(field.required(`${at}.httpGet.port`))
    else problems.push(...portNumberOrName(h.httpGet.port, `${at}.httpGet.port`))
    problems.push(...oneOf(h.httpGet.scheme, `${at}.httpGet.scheme`, ['HTTP', 'HTTPS']))
  }
  if (h.tcpSocket) problems.push(...portNumberOrName(h.tcpSocket.port, `${at}.tcpSocket.port`))
  if (h.grpc) problems.push(...portNumber(h.grpc.port, `${at}.grpc.port`))
  return problems
}

function probe(p: Json, at: string, once: boolean): FieldError[] {
  const problems = handler(p, at, ['exec', 'httpGet', 'tcpSocket', 'grpc'])
  for (const key of ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'])
    problems.push(...nonNegative(p[key], `${at}.${key}`))
  if (once && p.successThreshold !== undefined && p.successThreshold !== 1)
    problems.push(field.invalid(`${at}.successThreshold`, p.successThreshold, 'must be 1'))
  return problems
}

/** What may change of a pod that exists. */
export function podUpdate(pod: Json, old: Json): FieldError[] {
  const strip = (spec: Json): Json => {
    const {
      activeDeadlineSeconds: _a,
      tolerations: _t,
      terminationGracePeriodSeconds: _g,
      schedulingGates: _s,
      ...rest
    } = spec
    const images = (list: Json[] | undefined) => list?.map(({ image: _i, ...c }) => c)
    return { ...rest, containers: images(rest.containers), initContainers: images(rest.initContainers) }
  }
  const problems: FieldError[] = []
  const [next, before] = [pod.spec ?? {}, old.spec ?? {}]
  for (const list of ['containers', 'initContainers'])
    for (const [i, c] of ((next[list] ?? []) as Json[]).entries())
      if (!c.image) problems.push(field.required(`spec.${list}[${i}].image`))
  if ((next.containers?.length ?? 0) !== (before.containers?.length ?? 0))
    problems.push(field.forbidden('spec.containers', 'pod updates may not add or remove containers'))
  if ((next.initContainers?.length ?? 0) !== (before.initContainers?.length ?? 0))
    problems.push(field.forbidden('spec.initContainers', 'pod updates may not add or remove containers'))
  const [deadline, was] = [next.activeDeadlineSeconds, before.activeDeadlineSeconds]
  if (was !== undefined && deadline === undefined)
    problems.push(
      field.invalid('spec.activeDeadlineSeconds', null, 'must not update from a positive integer to nil value'),
    )
  else if (was !== undefined && deadline > was)
    problems.push(field.invalid('spec.activeDeadlineSeconds', deadline, `must be less than or equal to previous value`))
  const tolerations: Json[] = next.tolerations ?? []
  const kept = ((before.tolerations ?? []) as Json[]).every((t) =>
    tolerations.some((n) => sameJson({ ...n, tolerationSeconds: 0 }, { ...t, tolerationSeconds: 0 })),
  )
  if (!kept)
    problems.push(
      field.forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds'),
    )
  if (problems.length > 0 || sameJson(strip(next), strip(before))) return problems
  return [
    field.forbidden(
      'spec',
      'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
    ),
  ]
}

/** Fields an ephemeral container may not have: it gets no ports, probes or share of resources. */
const NOT_EPHEMERAL = ['ports', 'livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle', 'resizePolicy']

/** A pod about to get another ephemeral container. */
export function ephemeralContainers(pod: Json, old: Json = {}): FieldError[] {
  const problems: FieldError[] = []
  const at = 'spec.ephemeralContainers'
  const list: Json[] = pod.spec?.ephemeralContainers ?? []
  const before: Json[] = old.spec?.ephemeralContainers ?? []
  const volumes = new Set<string>((pod.spec?.volumes ?? []).map((v: Json) => v.name))
  const names = new Set<string>(
    [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].map((c: Json) => c.name),
  )
  for (const [i, c] of list.entries()) {
    const path = `${at}[${i}]`
    problems.push(...container(c, path, names, volumes))
    for (const name of NOT_EPHEMERAL)
      if (c[name]) problems.push(field.forbidden(`${path}.${name}`, 'cannot be set for an Ephemeral Container'))
    if (Object.keys(c.resources ?? {}).length > 0)
      problems.push(field.forbidden(`${path}.resources`, 'cannot be set for an Ephemeral Container'))
    const target = c.targetContainerName
    if (
      target &&
      ![...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].some((x) => x.name === target)
    )
      problems.push(field.notFound(`${path}.targetContainerName`, target))
  }
  for (const c of before) {
    const now = list.find((x) => x.name === c.name)
    if (!now) problems.push(field.forbidden(at, `existing ephemeral containers "${c.name}" may not be removed`))
    else if (!sameJson(now, c))
      problems.push(field.forbidden(at, `existing ephemeral containers "${c.name}" may not be changed`))
  }
  return problems
}

/** A resize changes cpu and memory of containers, within the pod's quality-of-service class. */
export function resize(pod: Json, old: Json = {}): FieldError[] {
  const problems = podSpec(pod.spec ?? {}, 'spec')
  for (const list of ['containers', 'initContainers'])
    for (const [i, c] of (pod.spec?.[list] ?? []).entries()) {
      const before = old.spec?.[list]?.[i]?.resources ?? {}
      for (const part of ['requests', 'limits'])
        for (const name of new Set([...Object.keys(c.resources?.[part] ?? {}), ...Object.keys(before[part] ?? {})]))
          if (name !== 'cpu' && name !== 'memory' && c.resources?.[part]?.[name] !== before[part]?.[name])
            problems.push(
              field.forbidden(`spec.${list}[${i}].resources.${part}`, 'only cpu and memory resources are mutable'),
            )
    }
  if (pod.metadata?.deletionTimestamp) problems.push(field.forbidden('', 'Pod running on node is being deleted'))
  const was = old.status?.qosClass
  if (was && qosClass(pod.spec ?? {}) !== was)
    problems.push(
      field.invalid('spec', qosClass(pod.spec ?? {}), `Pod QOS Class may not change as a result of resizing`),
    )
  return problems
}
