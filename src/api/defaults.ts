// Defaulting of the built-in kinds, as Kubernetes' defaults.go files do it. Objects are changed in place.

import type { Json } from './types.ts'

function set(object: Json, key: string, value: unknown): void {
  if (object[key] === undefined || object[key] === null) object[key] = value
}

/** Sets the defaults of an object of a resource ("deployments.apps"). */
export function applyDefaults(resource: string, object: Json): void {
  DEFAULTS[resource]?.(object)
}

const DEFAULTS: Record<string, (object: Json) => void> = {
  pods: (pod) => podSpec((pod.spec ??= {})),
  podtemplates: (o) => template(o.template),
  replicationcontrollers: (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'replicas', 1)
    if (spec.template) {
      template(spec.template)
      const labels = spec.template.metadata?.labels
      if (labels) {
        if (!spec.selector) spec.selector = { ...labels }
        if (!o.metadata.labels) o.metadata.labels = { ...labels }
      }
    }
  },
  services: service,
  secrets: (o) => {
    set(o, 'type', 'Opaque')
    // stringData is write-only: it becomes data.
    for (const [key, value] of Object.entries<string>(o.stringData ?? {})) {
      o.data ??= {}
      o.data[key] = Buffer.from(value).toString('base64')
    }
    delete o.stringData
  },
  namespaces: (o) => {
    const labels = (o.metadata.labels ??= {})
    labels['kubernetes.io/metadata.name'] = o.metadata.name
    const spec = (o.spec ??= {})
    if (!spec.finalizers) spec.finalizers = ['kubernetes']
    const status = (o.status ??= {})
    set(status, 'phase', 'Active')
  },
  persistentvolumes: (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'persistentVolumeReclaimPolicy', 'Retain')
    set(spec, 'volumeMode', 'Filesystem')
    if (spec.hostPath) set(spec.hostPath, 'type', '')
    set((o.status ??= {}), 'phase', 'Pending')
  },
  persistentvolumeclaims: (o) => {
    set((o.spec ??= {}), 'volumeMode', 'Filesystem')
    set((o.status ??= {}), 'phase', 'Pending')
  },
  'deployments.apps': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'replicas', 1)
    set(spec, 'revisionHistoryLimit', 10)
    set(spec, 'progressDeadlineSeconds', 600)
    const strategy = (spec.strategy ??= {})
    set(strategy, 'type', 'RollingUpdate')
    if (strategy.type === 'RollingUpdate') {
      const rolling = (strategy.rollingUpdate ??= {})
      set(rolling, 'maxUnavailable', '25%')
      set(rolling, 'maxSurge', '25%')
    }
    template(spec.template)
  },
  'replicasets.apps': (o) => {
    set((o.spec ??= {}), 'replicas', 1)
    template(o.spec.template)
  },
  'daemonsets.apps': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'revisionHistoryLimit', 10)
    const strategy = (spec.updateStrategy ??= {})
    set(strategy, 'type', 'RollingUpdate')
    if (strategy.type === 'RollingUpdate') {
      const rolling = (strategy.rollingUpdate ??= {})
      set(rolling, 'maxUnavailable', 1)
      set(rolling, 'maxSurge', 0)
    }
    template(spec.template)
  },
  'statefulsets.apps': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'replicas', 1)
    set(spec, 'revisionHistoryLimit', 10)
    set(spec, 'podManagementPolicy', 'OrderedReady')
    const strategy = (spec.updateStrategy ??= {})
    set(strategy, 'type', 'RollingUpdate')
    if (strategy.type === 'RollingUpdate') set((strategy.rollingUpdate ??= {}), 'partition', 0)
    template(spec.template)
    set((spec.persistentVolumeClaimRetentionPolicy ??= {}), 'whenDeleted', 'Retain')
    set(spec.persistentVolumeClaimRetentionPolicy, 'whenScaled', 'Retain')
    for (const claim of spec.volumeClaimTemplates ?? []) {
      set(claim, 'kind', 'PersistentVolumeClaim')
      set(claim, 'apiVersion', 'v1')
      set((claim.spec ??= {}), 'volumeMode', 'Filesystem')
      set((claim.status ??= {}), 'phase', 'Pending')
    }
  },
  'jobs.batch': (o) => {
    const spec = (o.spec ??= {})
    if (spec.completions === undefined && spec.parallelism === undefined) {
      spec.completions = 1
      spec.parallelism = 1
    }
    set(spec, 'parallelism', 1)
    set(spec, 'backoffLimit', 6)
    set(spec, 'completionMode', 'NonIndexed')
    set(spec, 'suspend', false)
    set(spec, 'podReplacementPolicy', 'TerminatingOrFailed')
    template(spec.template)
  },
  'cronjobs.batch': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'concurrencyPolicy', 'Allow')
    set(spec, 'suspend', false)
    set(spec, 'successfulJobsHistoryLimit', 3)
    set(spec, 'failedJobsHistoryLimit', 1)
    template(spec.jobTemplate?.spec?.template)
  },
  'roles.rbac.authorization.k8s.io': (o) => {
    if (o.rules === undefined) o.rules = null
  },
  'clusterroles.rbac.authorization.k8s.io': (o) => {
    if (o.rules === undefined) o.rules = null
  },
  'rolebindings.rbac.authorization.k8s.io': binding,
  'clusterrolebindings.rbac.authorization.k8s.io': binding,
  'storageclasses.storage.k8s.io': (o) => {
    set(o, 'reclaimPolicy', 'Delete')
    set(o, 'volumeBindingMode', 'Immediate')
  },
  endpoints: (o) => {
    for (const s of o.subsets ?? []) for (const p of s.ports ?? []) set(p, 'protocol', 'TCP')
  },
  'endpointslices.discovery.k8s.io': (o) => {
    for (const p of o.ports ?? []) {
      set(p, 'name', '')
      set(p, 'protocol', 'TCP')
    }
  },
  limitranges: (o) => {
    for (const limit of o.spec?.limits ?? []) {
      if (limit.type !== 'Container') continue
      // What is not said of requests is what is said of limits, as far as it goes.
      for (const [name, value] of Object.entries(limit.max ?? {})) set((limit.default ??= {}), name, value)
      for (const [name, value] of Object.entries(limit.default ?? {})) set((limit.defaultRequest ??= {}), name, value)
      for (const [name, value] of Object.entries(limit.min ?? {})) set((limit.defaultRequest ??= {}), name, value)
    }
  },
  'horizontalpodautoscalers.autoscaling': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'minReplicas', 1)
    if (!spec.metrics?.length)
      spec.metrics = [
        { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } },
      ]
    if (!spec.behavior) return
    const { scaleUp, scaleDown } = spec.behavior
    if (scaleUp) {
      set(scaleUp, 'selectPolicy', 'Max')
      set(scaleUp, 'stabilizationWindowSeconds', 0)
      set(scaleUp, 'policies', [
        { type: 'Pods', value: 4, periodSeconds: 15 },
        { type: 'Percent', value: 100, periodSeconds: 15 },
      ])
    }
    if (scaleDown) {
      set(scaleDown, 'selectPolicy', 'Max')
      set(scaleDown, 'policies', [{ type: 'Percent', value: 100, periodSeconds: 15 }])
    }
  },
  'priorityclasses.scheduling.k8s.io': (o) => set(o, 'preemptionPolicy', 'PreemptLowerPriority'),
  'mutatingwebhookconfigurations.admissionregistration.k8s.io': (o) => {
    for (const w of o.webhooks ?? []) {
      webhook(w)
      set(w, 'reinvocationPolicy', 'Never')
    }
  },
  'validatingwebhookconfigurations.admissionregistration.k8s.io': (o) => {
    for (const w of o.webhooks ?? []) webhook(w)
  },
  'validatingadmissionpolicies.admissionregistration.k8s.io': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'failurePolicy', 'Fail')
    if (spec.matchConstraints) matching(spec.matchConstraints)
  },
  'validatingadmissionpolicybindings.admissionregistration.k8s.io': policyBinding,
  'mutatingadmissionpolicybindings.admissionregistration.k8s.io': policyBinding,
  'mutatingadmissionpolicies.admissionregistration.k8s.io': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'failurePolicy', 'Fail')
    set(spec, 'reinvocationPolicy', 'Never')
    if (spec.matchConstraints) matching(spec.matchConstraints)
  },
  'apiservices.apiregistration.k8s.io': (o) => {
    if (o.spec?.service) set(o.spec.service, 'port', 443)
  },
  'resourceclaims.resource.k8s.io': (o) => deviceRequests(o.spec?.devices),
  'resourceclaimtemplates.resource.k8s.io': (o) => deviceRequests(o.spec?.spec?.devices),
  'csidrivers.storage.k8s.io': (o) => {
    const spec = (o.spec ??= {})
    set(spec, 'attachRequired', true)
    set(spec, 'podInfoOnMount', false)
    set(spec, 'storageCapacity', false)
    set(spec, 'fsGroupPolicy', 'ReadWriteOnceWithFSType')
    set(spec, 'volumeLifecycleModes', ['Persistent'])
    set(spec, 'requiresRepublish', false)
    set(spec, 'seLinuxMount', false)
  },
  'flowschemas.flowcontrol.apiserver.k8s.io': (o) => set((o.spec ??= {}), 'matchingPrecedence', 1000),
  'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io': (o) => {
    const limited = o.spec?.limited
    if (!limited) return
    set(limited, 'nominalConcurrencyShares', 30)
    set(limited, 'lendablePercent', 0)
    const response = (limited.limitResponse ??= { type: 'Reject' })
    if (response.type !== 'Queue') return
    const queuing = (response.queuing ??= {})
    set(queuing, 'queues', 64)
    set(queuing, 'handSize', 8)
    set(queuing, 'queueLengthLimit', 50)
  },
  'networkpolicies.networking.k8s.io': (o) => {
    const spec = (o.spec ??= {})
    for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])])
      for (const p of rule.ports ?? []) set(p, 'protocol', 'TCP')
    if (!spec.policyTypes) spec.policyTypes = spec.egress?.length ? ['Ingress', 'Egress'] : ['Ingress']
  },
  'customresourcedefinitions.apiextensions.k8s.io': (o) => {
    const spec = (o.spec ??= {})
    const names = (spec.names ??= {})
    if (typeof names.kind === 'string') {
      set(names, 'singular', names.kind.toLowerCase())
      set(names, 'listKind', `${names.kind}List`)
    }
    set((spec.conversion ??= {}), 'strategy', 'None')
  },
}

function policyBinding(o: Json): void {
  if (o.spec?.matchResources) matching(o.spec.matchResources)
  if (o.spec?.paramRef) set(o.spec.paramRef, 'parameterNotFoundAction', 'Deny')
}

function deviceRequests(devices: Json | undefined): void {
  for (const request of devices?.requests ?? [])
    for (const wanted of [request.exactly, ...(request.firstAvailable ?? [])]) {
      if (!wanted) continue
      set(wanted, 'allocationMode', 'ExactCount')
      if (wanted.allocationMode === 'ExactCount') set(wanted, 'count', 1)
      for (const t of wanted.tolerations ?? []) set(t, 'operator', 'Equal')
    }
}

function webhook(w: Json): void {
  set(w, 'failurePolicy', 'Fail')
  set(w, 'timeoutSeconds', 10)
  if (w.clientConfig?.service) set(w.clientConfig.service, 'port', 443)
  matching(w)
}

function matching(m: Json): void {
  set(m, 'matchPolicy', 'Equivalent')
  set(m, 'namespaceSelector', {})
  set(m, 'objectSelector', {})
  for (const rule of [...(m.rules ?? []), ...(m.resourceRules ?? [])]) set(rule, 'scope', '*')
}

function binding(o: Json): void {
  if (o.roleRef) set(o.roleRef, 'apiGroup', 'rbac.authorization.k8s.io')
  for (const subject of o.subjects ?? [])
    if (subject.kind === 'User' || subject.kind === 'Group') set(subject, 'apiGroup', 'rbac.authorization.k8s.io')
}

function service(o: Json): void {
  const spec = (o.spec ??= {})
  set(spec, 'type', 'ClusterIP')
  set(spec, 'sessionAffinity', 'None')
  if (spec.sessionAffinity === 'ClientIP')
    set(((spec.sessionAffinityConfig ??= {}).clientIP ??= {}), 'timeoutSeconds', 10800)
  if (spec.type !== 'ExternalName') {
    set(spec, 'internalTrafficPolicy', 'Cluster')
    set(spec, 'ipFamilyPolicy', 'SingleStack')
    set(spec, 'ipFamilies', ['IPv4'])
  }
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') set(spec, 'externalTrafficPolicy', 'Cluster')
  if (spec.type === 'LoadBalancer') set(spec, 'allocateLoadBalancerNodePorts', true)
  for (const port of spec.ports ?? []) {
    set(port, 'protocol', 'TCP')
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === '') port.targetPort = port.port
  }
  set(o, 'status', { loadBalancer: {} })
}

function template(t: Json | undefined): void {
  if (!t) return
  if (t.metadata && t.metadata.creationTimestamp === undefined) t.metadata.creationTimestamp = null
  if (t.spec) podSpec(t.spec)
}

function podSpec(spec: Json): void {
  set(spec, 'restartPolicy', 'Always')
  set(spec, 'terminationGracePeriodSeconds', 30)
  set(spec, 'dnsPolicy', 'ClusterFirst')
  set(spec, 'securityContext', {})
  set(spec, 'schedulerName', 'default-scheduler')
  if (spec.serviceAccount && !spec.serviceAccountName) spec.serviceAccountName = spec.serviceAccount
  if (spec.serviceAccountName && !spec.serviceAccount) spec.serviceAccount = spec.serviceAccountName
  for (const c of spec.initContainers ?? []) container(c, spec)
  for (const c of spec.containers ?? []) container(c, spec)
  for (const c of spec.ephemeralContainers ?? []) container(c, spec)
  for (const v of spec.volumes ?? []) volume(v)
}

function container(c: Json, spec: Json): void {
  if (typeof c.image === 'string') {
    const tag = /:([^/:@]+)(@|$)/.exec(c.image)?.[1]
    set(
      c,
      'imagePullPolicy',
      !c.image.includes('@') && (tag === undefined || tag === 'latest') ? 'Always' : 'IfNotPresent',
    )
  }
  set(c, 'terminationMessagePath', '/dev/termination-log')
  set(c, 'terminationMessagePolicy', 'File')
  set(c, 'resources', {})
  for (const [name, limit] of Object.entries(c.resources.limits ?? {})) {
    c.resources.requests ??= {}
    set(c.resources.requests, name, limit)
  }
  for (const port of c.ports ?? []) {
    set(port, 'protocol', 'TCP')
    if (spec.hostNetwork) set(port, 'hostPort', port.containerPort)
  }
  for (const e of c.env ?? []) if (e.valueFrom?.fieldRef) set(e.valueFrom.fieldRef, 'apiVersion', 'v1')
  for (const key of ['livenessProbe', 'readinessProbe', 'startupProbe']) if (c[key]) probe(c[key])
  for (const hook of [c.lifecycle?.postStart, c.lifecycle?.preStop]) if (hook?.httpGet) httpGet(hook.httpGet)
}

function probe(p: Json): void {
  set(p, 'timeoutSeconds', 1)
  set(p, 'periodSeconds', 10)
  set(p, 'successThreshold', 1)
  set(p, 'failureThreshold', 3)
  if (p.httpGet) httpGet(p.httpGet)
  if (p.grpc) set(p.grpc, 'service', '')
}

function httpGet(h: Json): void {
  set(h, 'path', '/')
  set(h, 'scheme', 'HTTP')
}

const MODE = 0o644

function volume(v: Json): void {
  const sources = Object.keys(v).filter((k) => k !== 'name' && v[k] !== null && v[k] !== undefined)
  if (sources.length === 0) v.emptyDir = {}
  if (v.configMap) set(v.configMap, 'defaultMode', MODE)
  if (v.secret) set(v.secret, 'defaultMode', MODE)
  if (v.downwardAPI) {
    set(v.downwardAPI, 'defaultMode', MODE)
    for (const item of v.downwardAPI.items ?? []) if (item.fieldRef) set(item.fieldRef, 'apiVersion', 'v1')
  }
  if (v.projected) {
    set(v.projected, 'defaultMode', MODE)
    for (const s of v.projected.sources ?? []) {
      if (s.serviceAccountToken) set(s.serviceAccountToken, 'expirationSeconds', 3600)
      for (const item of s.downwardAPI?.items ?? []) if (item.fieldRef) set(item.fieldRef, 'apiVersion', 'v1')
    }
  }
  if (v.hostPath) set(v.hostPath, 'type', '')
}
