// A small valid object of every built-in kind.

import type { Json } from '#api'

const labels = { app: 'sample' }
const selector = { matchLabels: labels }
const podSpec = { containers: [{ name: 'c', image: 'busybox:1' }] }
const template = { metadata: { labels }, spec: podSpec }
const csr = Buffer.from('-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n').toString(
  'base64',
)
const webhook = {
  name: 'a.example.com',
  clientConfig: { url: 'https://127.0.0.1/' },
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
  failurePolicy: 'Ignore',
  namespaceSelector: { matchLabels: { nothing: 'has-this' } },
}
const matchConstraints = {
  resourceRules: [{ apiGroups: ['example.com'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['samples'] }],
}
const policy = { matchConstraints, validations: [{ expression: 'true' }] }
const RBAC = 'rbac.authorization.k8s.io'

/** By "plural.group"; the name and namespace are left to the user. */
export const SAMPLES: Readonly<Record<string, Json>> = {
  configmaps: { data: { key: 'value' } },
  endpoints: { subsets: [{ addresses: [{ ip: '10.0.0.9' }], ports: [{ port: 80 }] }] },
  events: { involvedObject: { kind: 'Pod', namespace: 'default', name: 'p' }, reason: 'Sampled', type: 'Normal' },
  limitranges: { spec: { limits: [{ type: 'Container', max: { cpu: '1' } }] } },
  namespaces: {},
  nodes: { spec: { unschedulable: true } },
  persistentvolumeclaims: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
  persistentvolumes: {
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, hostPath: { path: '/tmp/sample' } },
  },
  pods: { spec: podSpec },
  podtemplates: { template },
  replicationcontrollers: { spec: { replicas: 0, template } },
  resourcequotas: { spec: { hard: { pods: '100' } } },
  secrets: { stringData: { key: 'value' } },
  serviceaccounts: {},
  services: { spec: { selector: labels, ports: [{ port: 80 }] } },
  'mutatingadmissionpolicies.admissionregistration.k8s.io': {
    spec: {
      matchConstraints,
      mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression: '[]' } }],
      reinvocationPolicy: 'Never',
    },
  },
  'mutatingadmissionpolicybindings.admissionregistration.k8s.io': { spec: { policyName: 'p' } },
  'mutatingwebhookconfigurations.admissionregistration.k8s.io': { webhooks: [webhook] },
  'validatingadmissionpolicies.admissionregistration.k8s.io': { spec: policy },
  'validatingadmissionpolicybindings.admissionregistration.k8s.io': {
    spec: { policyName: 'p', validationActions: ['Deny'] },
  },
  'validatingwebhookconfigurations.admissionregistration.k8s.io': { webhooks: [webhook] },
  'controllerrevisions.apps': { revision: 1, data: { any: 'thing' } },
  'daemonsets.apps': { spec: { selector, template } },
  'deployments.apps': { spec: { replicas: 0, selector, template } },
  'replicasets.apps': { spec: { replicas: 0, selector, template } },
  'statefulsets.apps': { spec: { replicas: 0, serviceName: 's', selector, template } },
  'horizontalpodautoscalers.autoscaling': {
    spec: { maxReplicas: 3, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' } },
  },
  'cronjobs.batch': {
    spec: {
      schedule: '@yearly',
      jobTemplate: { spec: { template: { spec: { ...podSpec, restartPolicy: 'Never' } } } },
    },
  },
  'jobs.batch': { spec: { suspend: true, template: { spec: { ...podSpec, restartPolicy: 'Never' } } } },
  'certificatesigningrequests.certificates.k8s.io': {
    spec: { request: csr, signerName: 'example.com/sample', usages: ['client auth'] },
  },
  'leases.coordination.k8s.io': { spec: { holderIdentity: 'me', leaseDurationSeconds: 10 } },
  'endpointslices.discovery.k8s.io': {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.9'] }],
    ports: [{ port: 80 }],
  },
  'events.events.k8s.io': {
    regarding: { kind: 'Pod', namespace: 'default', name: 'p' },
    reason: 'Sampled',
    type: 'Normal',
    action: 'Sample',
    reportingController: 'example.com/sampler',
    reportingInstance: 'sampler-1',
    eventTime: '2026-01-01T00:00:00.000000Z',
  },
  'flowschemas.flowcontrol.apiserver.k8s.io': { spec: { priorityLevelConfiguration: { name: 'sample' } } },
  'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io': { spec: { type: 'Limited', limited: {} } },
  'ingressclasses.networking.k8s.io': { spec: { controller: 'example.com/sample' } },
  'ingresses.networking.k8s.io': {
    spec: { ingressClassName: 'other', defaultBackend: { service: { name: 's', port: { number: 80 } } } },
  },
  'ipaddresses.networking.k8s.io': { spec: { parentRef: { resource: 'services', name: 's', namespace: 'default' } } },
  'networkpolicies.networking.k8s.io': { spec: { podSelector: {} } },
  'servicecidrs.networking.k8s.io': { spec: { cidrs: ['10.200.0.0/24'] } },
  'runtimeclasses.node.k8s.io': { handler: 'sample' },
  'poddisruptionbudgets.policy': { spec: { minAvailable: 1, selector } },
  [`clusterrolebindings.${RBAC}`]: { roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'view' } },
  [`clusterroles.${RBAC}`]: { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
  [`rolebindings.${RBAC}`]: { roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: 'view' } },
  [`roles.${RBAC}`]: { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
  'deviceclasses.resource.k8s.io': { spec: {} },
  'resourceclaims.resource.k8s.io': { spec: {} },
  'resourceclaimtemplates.resource.k8s.io': { spec: { spec: {} } },
  'resourceslices.resource.k8s.io': {
    spec: { driver: 'example.com', nodeName: 'n', pool: { name: 'p', generation: 1, resourceSliceCount: 1 } },
  },
  'priorityclasses.scheduling.k8s.io': { value: 1000 },
  'csidrivers.storage.k8s.io': { spec: {} },
  'csinodes.storage.k8s.io': { spec: { drivers: [] } },
  'csistoragecapacities.storage.k8s.io': { storageClassName: 'sample' },
  'storageclasses.storage.k8s.io': { provisioner: 'example.com/sample' },
  'volumeattachments.storage.k8s.io': {
    spec: { attacher: 'example.com', nodeName: 'n', source: { persistentVolumeName: 'v' } },
  },
  'volumeattributesclasses.storage.k8s.io': { driverName: 'example.com', parameters: { a: 'b' } },
}

/** Names that a kind wants otherwise. */
export const SAMPLE_NAMES: Readonly<Record<string, (n: string) => string>> = {
  'ipaddresses.networking.k8s.io': (n) => `10.200.0.${[...n].reduce((a, c) => (a * 31 + c.charCodeAt(0)) % 250, 1)}`,
}
