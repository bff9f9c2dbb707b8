// Validation of the built-in kinds beyond their shape, in upstream's field paths and wording.

import { checkLabel1123, checkLabels } from './names.ts'
import { qosClass } from './qos.ts'
import { parseQuantity } from './quantity.ts'
import { labelSelector } from './selectors.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

/** What is wrong with an object about to be stored; `old` is the stored one on an update. */
export function validate(resource: string, object: Json, old?: Json): FieldError[] {
  const problems = VALIDATORS[resource]?.(object, old) ?? []
  return problems
}

type Validator = (object: Json, old?: Json) => FieldError[]

const VALIDATORS: Record<string, Validator> = {
  pods: (pod, old) => (old ? podUpdate(pod, old) : podSpec(pod.spec ?? {}, 'spec')),
  'pods/ephemeralcontainers': ephemeralContainers,
  'pods/resize': resize,
  'certificatesigningrequests.certificates.k8s.io/approval': approval,
  services: service,
  configmaps: (o, old) => [
    ...dataKeys(o.data, 'data'),
    ...dataKeys(o.binaryData, 'binaryData'),
    ...dataSize(o, ''),
    ...immutableData(o, old),
  ],
  secrets: secret,
  'deployments.apps': (o, old) => [
    ...workload(o, old),
    ...percentOrInt(o.spec?.strategy?.rollingUpdate?.maxSurge, 'spec.strategy.rollingUpdate.maxSurge'),
    ...percentOrInt(o.spec?.strategy?.rollingUpdate?.maxUnavailable, 'spec.strategy.rollingUpdate.maxUnavailable'),
    ...(o.spec?.strategy?.type && !['RollingUpdate', 'Recreate'].includes(o.spec.strategy.type)
      ? [field.notSupported('spec.strategy.type', o.spec.strategy.type, ['Recreate', 'RollingUpdate'])]
      : []),
  ],
  'replicasets.apps': workload,
  'daemonsets.apps': workload,
  'statefulsets.apps': workload,
  'jobs.batch': (o) =>
    o.spec?.template
      ? podSpec(o.spec.template.spec ?? {}, 'spec.template.spec', ['OnFailure', 'Never'])
      : [field.required('spec.template')],
  'customresourcedefinitions.apiextensions.k8s.io': crd,
  'rolebindings.rbac.authorization.k8s.io': roleBinding,
  'clusterrolebindings.rbac.authorization.k8s.io': roleBinding,
}

function workload(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  nonNegative(problems, spec.replicas, 'spec.replicas')
  nonNegative(problems, spec.minReadySeconds, 'spec.minReadySeconds')
  nonNegative(problems, spec.revisionHistoryLimit, 'spec.revisionHistoryLimit')
  if (!spec.selector) problems.push(field.required('spec.selector'))
  else {
    const empty = !Object.keys(spec.selector.matchLabels ?? {}).length && !spec.selector.matchExpressions?.length
    if (empty) problems.push(field.invalid('spec.selector', spec.selector, 'empty selector is invalid for deployment'))
    else if (!labelSelector(spec.selector)(spec.template?.metadata?.labels))
      problems.push(
        field.invalid(
          'spec.template.metadata.labels',
          spec.template?.metadata?.labels ?? null,
          '`selector` does not match template `labels`',
        ),
      )
    if (old && !sameJson(old.spec?.selector, spec.selector))
      problems.push(field.invalid('spec.selector', spec.selector, 'field is immutable'))
  }
  if (!spec.template) problems.push(field.required('spec.template'))
  else {
    problems.push(...checkLabels(spec.template.metadata?.labels, 'spec.template.metadata.labels'))
    problems.push(...podSpec(spec.template.spec ?? {}, 'spec.template.spec', ['Always']))
  }
  return problems
}

function nonNegative(problems: FieldError[], value: unknown, path: string): void {
  if (typeof value === 'number' && value < 0)
    problems.push(field.invalid(path, value, 'must be greater than or equal to 0'))
}

function percentOrInt(value: unknown, path: string): FieldError[] {
  if (value === undefined) return []
  if (typeof value === 'number')
    return value < 0 ? [field.invalid(path, value, 'must be greater than or equal to 0')] : []
  return /^\d+%$/.test(String(value))
    ? []
    : [
        field.invalid(
          path,
          value,
          "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
      ]
}

/** Validates a pod's spec; `restart` limits restartPolicy. */
export function podSpec(
  spec: Json,
  path: string,
  restart: readonly string[] = ['Always', 'OnFailure', 'Never'],
): FieldError[] {
  const problems: FieldError[] = []
  const volumes = new Set<string>()
  for (const [i, v] of (spec.volumes ?? []).entries()) {
    const at = `${path}.volumes[${i}]`
    if (!v.name) problems.push(field.required(`${at}.name`))
    else {
      for (const p of checkLabel1123(v.name)) problems.push(field.invalid(`${at}.name`, v.name, p))
      if (volumes.has(v.name)) problems.push(field.duplicate(`${at}.name`, v.name))
      volumes.add(v.name)
    }
  }
  const names = new Set<string>()
  if (!spec.containers?.length) problems.push(field.required(`${path}.containers`))
  for (const list of ['initContainers', 'containers'] as const)
    for (const [i, c] of (spec[list] ?? []).entries())
      problems.push(...container(c, `${path}.${list}[${i}]`, names, volumes))
  if (spec.restartPolicy && !restart.includes(spec.restartPolicy))
    problems.push(field.notSupported(`${path}.restartPolicy`, spec.restartPolicy, restart))
  nonNegative(problems, spec.terminationGracePeriodSeconds, `${path}.terminationGracePeriodSeconds`)
  return problems
}

function container(c: Json, at: string, names: Set<string>, volumes: Set<string>): FieldError[] {
  const problems: FieldError[] = []
  if (!c.name) problems.push(field.required(`${at}.name`))
  else {
    for (const p of checkLabel1123(c.name)) problems.push(field.invalid(`${at}.name`, c.name, p))
    if (names.has(c.name)) problems.push(field.duplicate(`${at}.name`, c.name))
    names.add(c.name)
  }
  if (!c.image) problems.push(field.required(`${at}.image`))
  else if (c.image !== c.image.trim())
    problems.push(field.invalid(`${at}.image`, c.image, 'must not have leading or trailing whitespace'))
  if (c.imagePullPolicy && !['Always', 'IfNotPresent', 'Never'].includes(c.imagePullPolicy))
    problems.push(field.notSupported(`${at}.imagePullPolicy`, c.imagePullPolicy, ['Always', 'IfNotPresent', 'Never']))
  for (const [i, p] of (c.ports ?? []).entries()) {
    if (p.containerPort === undefined) problems.push(field.required(`${at}.ports[${i}].containerPort`))
    else if (!isPort(p.containerPort))
      problems.push(
        field.invalid(`${at}.ports[${i}].containerPort`, p.containerPort, 'must be between 1 and 65535, inclusive'),
      )
    if (p.protocol && !['TCP', 'UDP', 'SCTP'].includes(p.protocol))
      problems.push(field.notSupported(`${at}.ports[${i}].protocol`, p.protocol, ['SCTP', 'TCP', 'UDP']))
  }
  for (const [i, e] of (c.env ?? []).entries()) {
    if (!e.name) problems.push(field.required(`${at}.env[${i}].name`))
    if (e.value && e.valueFrom)
      problems.push(field.invalid(`${at}.env[${i}].valueFrom`, '', 'may not be specified when `value` is not empty'))
  }
  const mounts = new Set<string>()
  for (const [i, m] of (c.volumeMounts ?? []).entries()) {
    const path = `${at}.volumeMounts[${i}]`
    if (!m.name) problems.push(field.required(`${path}.name`))
    else if (!volumes.has(m.name)) problems.push(field.notFound(`${path}.name`, m.name))
    if (!m.mountPath) problems.push(field.required(`${path}.mountPath`))
    else if (mounts.has(m.mountPath)) problems.push(field.invalid(`${path}.mountPath`, m.mountPath, 'must be unique'))
    mounts.add(m.mountPath)
  }
  for (const kind of ['limits', 'requests'])
    for (const [name, value] of Object.entries(c.resources?.[kind] ?? {})) {
      const amount = parseQuantity(value as string)
      if (amount === undefined)
        problems.push(
          field.invalid(
            `${at}.resources.${kind}[${name}]`,
            value,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
          ),
        )
      else if (amount < 0)
        problems.push(field.invalid(`${at}.resources.${kind}[${name}]`, value, 'must be greater than or equal to 0'))
      else if (kind === 'requests') {
        const limit = parseQuantity(c.resources.limits?.[name])
        if (limit !== undefined && amount > limit)
          problems.push(
            field.invalid(
              `${at}.resources.requests`,
              value,
              `must be less than or equal to ${name} limit of ${c.resources.limits[name]}`,
            ),
          )
      }
    }
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const p = c[probe]
    if (!p) continue
    const handlers = ['exec', 'httpGet', 'tcpSocket', 'grpc'].filter((h) => p[h])
    if (handlers.length === 0) problems.push(field.required(`${at}.${probe}`, 'must specify a handler type'))
    if (handlers.length > 1)
      problems.push(field.forbidden(`${at}.${probe}.${handlers[1]}`, 'may not specify more than 1 handler type'))
    if (p.httpGet && p.httpGet.port === undefined) problems.push(field.required(`${at}.${probe}.httpGet.port`))
  }
  return problems
}

const isPort = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65536

function podUpdate(pod: Json, old: Json): FieldError[] {
  const strip = (spec: Json): Json => {
    const {
      activeDeadlineSeconds: _a,
      tolerations: _t,
      terminationGracePeriodSeconds: _g,
      schedulingGates: _s,
      ...rest
    } = spec
    const images = (list: Json[] | undefined) => list?.map(({ image: _i, resources: _r, ...c }) => c)
    return { ...rest, containers: images(rest.containers), initContainers: images(rest.initContainers) }
  }
  if (sameJson(strip(pod.spec ?? {}), strip(old.spec ?? {}))) return []
  return [
    field.forbidden(
      'spec',
      'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
    ),
  ]
}

/** Fields an ephemeral container may not have: it gets no ports, probes or share of resources. */
const NOT_EPHEMERAL = ['ports', 'livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle', 'resizePolicy']

function ephemeralContainers(pod: Json, old: Json = {}): FieldError[] {
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
function resize(pod: Json, old: Json = {}): FieldError[] {
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

function approval(csr: Json): FieldError[] {
  const types = ((csr.status?.conditions ?? []) as Json[]).map((c) => c.type)
  const problems: FieldError[] = []
  for (const [i, c] of ((csr.status?.conditions ?? []) as Json[]).entries()) {
    const at = `status.conditions[${i}]`
    if (!c.type) problems.push(field.required(`${at}.type`))
    if (!c.status) problems.push(field.required(`${at}.status`))
    else if (['Approved', 'Denied', 'Failed'].includes(c.type) && c.status !== 'True')
      problems.push(field.notSupported(`${at}.status`, c.status, ['True']))
  }
  if (types.includes('Approved') && types.includes('Denied'))
    problems.push(field.invalid('status.conditions', 'Denied', 'Approved and Denied conditions are mutually exclusive'))
  return problems
}

function service(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']
  if (spec.type && !types.includes(spec.type)) problems.push(field.notSupported('spec.type', spec.type, types))
  if (spec.type === 'ExternalName') {
    if (!spec.externalName) problems.push(field.required('spec.externalName'))
  } else if (!spec.ports?.length && spec.clusterIP !== 'None') problems.push(field.required('spec.ports'))
  const names = new Set<string>()
  const seen = new Set<string>()
  for (const [i, p] of (spec.ports ?? []).entries()) {
    const at = `spec.ports[${i}]`
    if ((spec.ports as Json[]).length > 1 && !p.name) problems.push(field.required(`${at}.name`))
    if (p.name) {
      for (const x of checkLabel1123(p.name)) problems.push(field.invalid(`${at}.name`, p.name, x))
      if (names.has(p.name)) problems.push(field.duplicate(`${at}.name`, p.name))
      names.add(p.name)
    }
    if (!isPort(p.port)) problems.push(field.invalid(`${at}.port`, p.port, 'must be between 1 and 65535, inclusive'))
    if (typeof p.targetPort === 'number' && !isPort(p.targetPort))
      problems.push(field.invalid(`${at}.targetPort`, p.targetPort, 'must be between 1 and 65535, inclusive'))
    if (p.nodePort && spec.type === 'ClusterIP')
      problems.push(field.forbidden(`${at}.nodePort`, "may not be used when `type` is 'ClusterIP'"))
    const key = `${p.protocol}/${p.port}`
    if (seen.has(key)) problems.push(field.duplicate(at, { protocol: p.protocol, port: p.port }))
    seen.add(key)
  }
  problems.push(...checkLabels(spec.selector, 'spec.selector'))
  if (!['None', 'ClientIP', undefined].includes(spec.sessionAffinity))
    problems.push(field.notSupported('spec.sessionAffinity', spec.sessionAffinity, ['ClientIP', 'None']))
  if (
    old?.spec?.clusterIP &&
    old.spec.type !== 'ExternalName' &&
    spec.type !== 'ExternalName' &&
    spec.clusterIP !== old.spec.clusterIP
  )
    problems.push(
      field.invalid('spec.clusterIPs[0]', spec.clusterIP ? [spec.clusterIP] : null, 'may not change once set'),
    )
  return problems
}

function dataKeys(data: Json | undefined, path: string): FieldError[] {
  return Object.keys(data ?? {}).flatMap((key) =>
    key.length <= 253 && /^[-._a-zA-Z0-9]+$/.test(key) && key !== '.' && key !== '..'
      ? []
      : [
          field.invalid(
            `${path}[${key}]`,
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
          ),
        ],
  )
}

/** Bytes of a ConfigMap's or a Secret's data at most. */
const MAX_DATA = 1024 * 1024

function dataSize(o: Json, path: string): FieldError[] {
  let size = 0
  for (const value of Object.values(o.data ?? {})) size += path === 'data' ? decodedLength(value) : byteLength(value)
  for (const value of Object.values(o.binaryData ?? {})) size += decodedLength(value)
  return size > MAX_DATA ? [field.tooLong(path, MAX_DATA)] : []
}

const byteLength = (text: unknown) => Buffer.byteLength(String(text))
const decodedLength = (text: unknown) => Math.floor((String(text).replace(/[\s=]+$/, '').length * 3) / 4)

function immutableData(o: Json, old?: Json): FieldError[] {
  if (!old?.immutable) return []
  const problems: FieldError[] = []
  if (!o.immutable) problems.push(field.forbidden('immutable', 'field is immutable when `immutable` is set'))
  for (const key of ['data', 'binaryData'])
    if (!sameJson(o[key], old[key])) problems.push(field.forbidden(key, 'field is immutable when `immutable` is set'))
  return problems
}

/** Keys that a Secret of a type must have. */
const SECRET_KEYS: Record<string, readonly string[]> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
}

function secret(o: Json, old?: Json): FieldError[] {
  const problems = [...dataKeys(o.data, 'data'), ...dataSize(o, 'data'), ...immutableData(o, old)]
  for (const [key, value] of Object.entries(o.data ?? {}))
    if (typeof value === 'string' && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(value))
      problems.push(field.invalid(`data[${key}]`, '<secret>', 'illegal base64 data'))
  for (const key of SECRET_KEYS[o.type] ?? [])
    if (!o.data || !(key in o.data)) problems.push(field.required(`data[${key}]`))
  if (old && old.type !== o.type) problems.push(field.invalid('type', o.type, 'field is immutable'))
  return problems
}

function crd(o: Json): FieldError[] {
  const problems: FieldError[] = []
  const spec = o.spec ?? {}
  if (!spec.group) problems.push(field.required('spec.group'))
  if (!spec.names?.plural) problems.push(field.required('spec.names.plural'))
  if (!spec.names?.kind) problems.push(field.required('spec.names.kind'))
  if (!['Namespaced', 'Cluster'].includes(spec.scope))
    problems.push(
      spec.scope
        ? field.notSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced'])
        : field.required('spec.scope'),
    )
  if (o.metadata?.name !== `${spec.names?.plural}.${spec.group}`)
    problems.push(field.invalid('metadata.name', o.metadata?.name, 'must be spec.names.plural+"."+spec.group'))
  const versions: Json[] = spec.versions ?? []
  if (versions.length === 0) problems.push(field.required('spec.versions', 'must have at least one version'))
  if (versions.filter((v) => v.storage).length !== 1)
    problems.push(
      field.invalid(
        'spec.versions',
        versions.map((v) => v.name),
        'must have exactly one version marked as storage version',
      ),
    )
  for (const [i, v] of versions.entries())
    if (!v.schema?.openAPIV3Schema)
      problems.push(field.required(`spec.versions[${i}].schema.openAPIV3Schema`, 'schemas are required'))
  return problems
}

function roleBinding(o: Json, old?: Json): FieldError[] {
  if (!o.roleRef?.name) return [field.required('roleRef.name')]
  if (old && !sameJson(old.roleRef, o.roleRef)) return [field.invalid('roleRef', o.roleRef, 'cannot change roleRef')]
  return []
}
