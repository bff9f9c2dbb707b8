// The roles every Kubernetes cluster has (kubernetes.io/docs/reference/access-authn-authz/rbac, "Default roles").

import { type KubeInput, type Resource, resources } from '#api'

interface Rule {
  apiGroups?: string[]
  resources?: string[]
  resourceNames?: string[]
  nonResourceURLs?: string[]
  verbs: string[]
}

const READ = ['get', 'list', 'watch']
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update']
const ALL = [...WRITE, ...READ]
const on = (group: string, names: string, verbs: string[], resourceNames?: string[]): Rule => ({
  apiGroups: [group],
  resources: names.split(' '),
  verbs,
  ...(resourceNames ? { resourceNames } : {}),
})
const paths = (urls: string, verbs = ['get']): Rule => ({ nonResourceURLs: urls.split(' '), verbs })

const LABEL = { 'kubernetes.io/bootstrapping': 'rbac-defaults' }
const ANNOTATIONS = { 'rbac.authorization.kubernetes.io/autoupdate': 'true' }
const AGGREGATE = (to: string) => ({ [`rbac.authorization.k8s.io/aggregate-to-${to}`]: 'true' })

const DISCOVERY = '/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/'

const READABLE: Rule[] = [
  on(
    '',
    'configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status',
    READ,
  ),
  on(
    '',
    'bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status namespaces',
    READ,
  ),
  on('discovery.k8s.io', 'endpointslices', READ),
  on(
    'apps',
    'controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status',
    READ,
  ),
  on('autoscaling', 'horizontalpodautoscalers horizontalpodautoscalers/status', READ),
  on('batch', 'cronjobs cronjobs/status jobs jobs/status', READ),
  on(
    'extensions',
    'daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale',
    READ,
  ),
  on('policy', 'poddisruptionbudgets poddisruptionbudgets/status', READ),
  on('networking.k8s.io', 'ingresses ingresses/status networkpolicies', READ),
]

const EDITABLE: Rule[] = [
  on('', 'pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy', READ),
  on('', 'serviceaccounts', ['impersonate']),
  on('', 'pods pods/attach pods/exec pods/portforward pods/proxy', WRITE),
  on('', 'pods/eviction', ['create']),
  on(
    '',
    'configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy',
    WRITE,
  ),
  on('', 'serviceaccounts/token', ['create']),
  on(
    'apps',
    'daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale',
    WRITE,
  ),
  on('autoscaling', 'horizontalpodautoscalers', WRITE),
  on('batch', 'cronjobs jobs', WRITE),
  on(
    'extensions',
    'daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale',
    WRITE,
  ),
  on('policy', 'poddisruptionbudgets', WRITE),
  on('networking.k8s.io', 'ingresses networkpolicies', WRITE),
  on('coordination.k8s.io', 'leases', ALL),
]

const ADMIN: Rule[] = [
  on('authorization.k8s.io', 'localsubjectaccessreviews', ['create']),
  on('rbac.authorization.k8s.io', 'rolebindings roles', ALL),
]

const EVENTS: Rule[] = [
  on('', 'events', ['create', 'patch', 'update']),
  on('events.k8s.io', 'events', ['create', 'patch', 'update']),
]
const REVIEWS: Rule[] = [
  on('authentication.k8s.io', 'tokenreviews', ['create']),
  on('authorization.k8s.io', 'subjectaccessreviews', ['create']),
]
const ISTIO = 'networking.istio.io security.istio.io telemetry.istio.io extensions.istio.io'.split(' ')

/** Roles by name, with their rules. */
const CLUSTER_ROLES: Record<string, Rule[]> = {
  'cluster-admin': [
    { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
    { nonResourceURLs: ['*'], verbs: ['*'] },
  ],
  'system:discovery': [paths(DISCOVERY)],
  'system:public-info-viewer': [paths('/healthz /livez /readyz /version /version/')],
  'system:monitoring': [paths('/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*')],
  'system:basic-user': [
    on('authorization.k8s.io', 'selfsubjectaccessreviews selfsubjectrulesreviews', ['create']),
    on('authentication.k8s.io', 'selfsubjectreviews', ['create']),
  ],
  'system:auth-delegator': REVIEWS,
  'system:service-account-issuer-discovery': [
    paths('/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/'),
  ],
  'system:kube-dns': [on('', 'endpoints services', ['list', 'watch'])],
  'system:node-proxier': [
    on('', 'endpoints services nodes', READ),
    on('discovery.k8s.io', 'endpointslices', READ),
    ...EVENTS,
  ],
  'system:node': [
    ...REVIEWS,
    on('', 'services nodes endpoints', READ),
    on('', 'nodes nodes/status', ['create', 'get', 'patch', 'update', 'delete']),
    ...EVENTS,
    on('', 'pods', [...READ, 'create', 'delete']),
    on('', 'pods/status', ['patch', 'update']),
    on('', 'pods/eviction serviceaccounts/token', ['create']),
    on('', 'configmaps secrets persistentvolumeclaims persistentvolumes', READ),
    on('coordination.k8s.io', 'leases', ['create', 'delete', 'get', 'patch', 'update']),
  ],
  'system:node-problem-detector': [on('', 'nodes', ['get']), on('', 'nodes/status', ['patch']), ...EVENTS],
  'system:kubelet-api-admin': [
    on('', 'nodes', [...READ, 'proxy']),
    on('', 'nodes/log nodes/metrics nodes/proxy nodes/stats', ['*']),
  ],
  'system:kube-scheduler': [
    ...EVENTS,
    on('coordination.k8s.io', 'leases', ['create', 'get', 'list', 'update', 'watch']),
    on('', 'nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services', READ),
    on('', 'pods', ['delete', ...READ]),
    on('', 'bindings pods/binding', ['create']),
    on('', 'pods/status', ['patch', 'update']),
    on('apps', 'replicasets statefulsets', READ),
    on('policy', 'poddisruptionbudgets', READ),
    ...REVIEWS,
  ],
  'system:kube-controller-manager': [
    ...EVENTS,
    on('coordination.k8s.io', 'leases', ['create', 'get', 'update']),
    on('', 'secrets serviceaccounts', ['create', 'get', 'update', 'delete']),
    on('', 'serviceaccounts/token', ['create']),
    ...REVIEWS,
    on('*', '*', ['list', 'watch']),
  ],
  'system:persistent-volume-provisioner': [
    on('', 'persistentvolumes', ['create', 'delete', ...READ]),
    on('', 'persistentvolumeclaims', [...READ, 'update']),
    on('storage.k8s.io', 'storageclasses', READ),
    ...EVENTS,
  ],
  'system:aggregate-to-view': READABLE,
  'system:aggregated-metrics-reader': [on('metrics.k8s.io', 'pods nodes', READ)],
  'system:aggregate-to-edit': EDITABLE,
  'system:aggregate-to-admin': ADMIN,
  'istio-reader': ISTIO.map((group) => on(group, '*', READ)),
  'istio-writer': ISTIO.map((group) => on(group, '*', WRITE)),
}

/** Labels beyond the usual: which roles are gathered into which. */
const ROLE_LABELS: Record<string, Record<string, string>> = {
  'system:aggregate-to-view': AGGREGATE('view'),
  'system:aggregate-to-edit': AGGREGATE('edit'),
  'system:aggregate-to-admin': AGGREGATE('admin'),
  'system:aggregated-metrics-reader': AGGREGATE('view'),
  'istio-reader': AGGREGATE('view'),
  'istio-writer': AGGREGATE('edit'),
  view: AGGREGATE('edit'),
  edit: AGGREGATE('admin'),
}

/** Roles to groups and users. */
const CLUSTER_BINDINGS: Record<string, { kind: 'Group' | 'User'; name: string }[]> = {
  'cluster-admin': [{ kind: 'Group', name: 'system:masters' }],
  'system:discovery': [{ kind: 'Group', name: 'system:authenticated' }],
  'system:basic-user': [{ kind: 'Group', name: 'system:authenticated' }],
  'system:public-info-viewer': [
    { kind: 'Group', name: 'system:authenticated' },
    { kind: 'Group', name: 'system:unauthenticated' },
  ],
  'system:monitoring': [{ kind: 'Group', name: 'system:monitoring' }],
  'system:service-account-issuer-discovery': [{ kind: 'Group', name: 'system:serviceaccounts' }],
  'system:node-proxier': [{ kind: 'User', name: 'system:kube-proxy' }],
  'system:kube-scheduler': [{ kind: 'User', name: 'system:kube-scheduler' }],
  'system:kube-controller-manager': [{ kind: 'User', name: 'system:kube-controller-manager' }],
}

/** The default roles and their bindings, as objects. */
export function defaultRoles(): { resource: Resource; object: KubeInput }[] {
  const metadata = (name: string) => ({
    name,
    labels: { ...LABEL, ...ROLE_LABELS[name] },
    annotations: ANNOTATIONS,
  })
  const gathered = (name: string) => ({
    resource: resources.clusterRoles,
    object: {
      metadata: metadata(name),
      aggregationRule: { clusterRoleSelectors: [{ matchLabels: AGGREGATE(name) }] },
      rules: [],
    },
  })
  return [
    ...Object.entries(CLUSTER_ROLES).map(([name, rules]) => ({
      resource: resources.clusterRoles,
      object: { metadata: metadata(name), rules },
    })),
    ...['admin', 'edit', 'view'].map(gathered),
    ...Object.entries(CLUSTER_BINDINGS).map(([name, subjects]) => ({
      resource: resources.clusterRoleBindings,
      object: {
        metadata: metadata(name),
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
        subjects: subjects.map((s) => ({ apiGroup: 'rbac.authorization.k8s.io', ...s })),
      },
    })),
  ]
}
