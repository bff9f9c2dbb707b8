// Names of the resources that Sampan's own code reads and writes.

/** A resource in the version our code speaks. */
export interface Resource {
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
}

const r = (group: string, version: string, plural: string, kind: string, namespaced = true): Resource => ({
  group,
  version,
  plural,
  kind,
  namespaced,
})

export const resources = {
  pods: r('', 'v1', 'pods', 'Pod'),
  services: r('', 'v1', 'services', 'Service'),
  endpoints: r('', 'v1', 'endpoints', 'Endpoints'),
  events: r('', 'v1', 'events', 'Event'),
  configMaps: r('', 'v1', 'configmaps', 'ConfigMap'),
  secrets: r('', 'v1', 'secrets', 'Secret'),
  serviceAccounts: r('', 'v1', 'serviceaccounts', 'ServiceAccount'),
  namespaces: r('', 'v1', 'namespaces', 'Namespace', false),
  nodes: r('', 'v1', 'nodes', 'Node', false),
  deployments: r('apps', 'v1', 'deployments', 'Deployment'),
  statefulSets: r('apps', 'v1', 'statefulsets', 'StatefulSet'),
  daemonSets: r('apps', 'v1', 'daemonsets', 'DaemonSet'),
  replicationControllers: r('', 'v1', 'replicationcontrollers', 'ReplicationController'),
  podDisruptionBudgets: r('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget'),
  replicaSets: r('apps', 'v1', 'replicasets', 'ReplicaSet'),
  endpointSlices: r('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice'),
  leases: r('coordination.k8s.io', 'v1', 'leases', 'Lease'),
  clusterRoles: r('rbac.authorization.k8s.io', 'v1', 'clusterroles', 'ClusterRole', false),
  clusterRoleBindings: r('rbac.authorization.k8s.io', 'v1', 'clusterrolebindings', 'ClusterRoleBinding', false),
  roles: r('rbac.authorization.k8s.io', 'v1', 'roles', 'Role'),
  roleBindings: r('rbac.authorization.k8s.io', 'v1', 'rolebindings', 'RoleBinding'),
  priorityClasses: r('scheduling.k8s.io', 'v1', 'priorityclasses', 'PriorityClass', false),
  ingresses: r('networking.k8s.io', 'v1', 'ingresses', 'Ingress'),
  ingressClasses: r('networking.k8s.io', 'v1', 'ingressclasses', 'IngressClass', false),
  customResourceDefinitions: r(
    'apiextensions.k8s.io',
    'v1',
    'customresourcedefinitions',
    'CustomResourceDefinition',
    false,
  ),
  mutatingWebhookConfigurations: r(
    'admissionregistration.k8s.io',
    'v1',
    'mutatingwebhookconfigurations',
    'MutatingWebhookConfiguration',
    false,
  ),
  validatingWebhookConfigurations: r(
    'admissionregistration.k8s.io',
    'v1',
    'validatingwebhookconfigurations',
    'ValidatingWebhookConfiguration',
    false,
  ),
  virtualServices: r('networking.istio.io', 'v1', 'virtualservices', 'VirtualService'),
  gateways: r('networking.istio.io', 'v1', 'gateways', 'Gateway'),
  destinationRules: r('networking.istio.io', 'v1', 'destinationrules', 'DestinationRule'),
  serviceEntries: r('networking.istio.io', 'v1', 'serviceentries', 'ServiceEntry'),
  workloadEntries: r('networking.istio.io', 'v1', 'workloadentries', 'WorkloadEntry'),
  workloadGroups: r('networking.istio.io', 'v1', 'workloadgroups', 'WorkloadGroup'),
  sidecars: r('networking.istio.io', 'v1', 'sidecars', 'Sidecar'),
  gatewayClasses: r('gateway.networking.k8s.io', 'v1', 'gatewayclasses', 'GatewayClass', false),
  k8sGateways: r('gateway.networking.k8s.io', 'v1', 'gateways', 'Gateway'),
  listenerSets: r('gateway.networking.k8s.io', 'v1', 'listenersets', 'ListenerSet'),
  httpRoutes: r('gateway.networking.k8s.io', 'v1', 'httproutes', 'HTTPRoute'),
  grpcRoutes: r('gateway.networking.k8s.io', 'v1', 'grpcroutes', 'GRPCRoute'),
  tlsRoutes: r('gateway.networking.k8s.io', 'v1', 'tlsroutes', 'TLSRoute'),
  tcpRoutes: r('gateway.networking.k8s.io', 'v1', 'tcproutes', 'TCPRoute'),
  referenceGrants: r('gateway.networking.k8s.io', 'v1', 'referencegrants', 'ReferenceGrant'),
  backendTlsPolicies: r('gateway.networking.k8s.io', 'v1', 'backendtlspolicies', 'BackendTLSPolicy'),
  trafficSplits: r('split.smi-spec.io', 'v1alpha4', 'trafficsplits', 'TrafficSplit'),
  httpRouteGroups: r('specs.smi-spec.io', 'v1alpha4', 'httproutegroups', 'HTTPRouteGroup'),
  envoyFilters: r('networking.istio.io', 'v1alpha3', 'envoyfilters', 'EnvoyFilter'),
  authorizationPolicies: r('security.istio.io', 'v1', 'authorizationpolicies', 'AuthorizationPolicy'),
  peerAuthentications: r('security.istio.io', 'v1', 'peerauthentications', 'PeerAuthentication'),
  requestAuthentications: r('security.istio.io', 'v1', 'requestauthentications', 'RequestAuthentication'),
  telemetries: r('telemetry.istio.io', 'v1', 'telemetries', 'Telemetry'),
  proxyConfigs: r('networking.istio.io', 'v1beta1', 'proxyconfigs', 'ProxyConfig'),
} as const
