// How lists merge in a strategic-merge patch: the patchMergeKey and patchStrategy of Kubernetes' types.

/** `key`: list of objects merged by that field. `merge`: list of scalars merged as a set. `retainKeys`: $retainKeys allowed. */
export interface MergeRule {
  readonly key?: string
  readonly merge?: true
  readonly retainKeys?: true
}

const by = (key: string): MergeRule => ({ key, merge: true })

const CONTAINER: Record<string, MergeRule> = {
  env: by('name'),
  ports: by('containerPort'),
  volumeDevices: by('devicePath'),
  volumeMounts: by('mountPath'),
}

const RULES: Record<string, Record<string, MergeRule>> = {
  'meta.v1.ObjectMeta': { finalizers: { merge: true }, ownerReferences: by('uid') },
  'core.v1.PodSpec': {
    containers: by('name'),
    initContainers: by('name'),
    ephemeralContainers: by('name'),
    volumes: { key: 'name', merge: true, retainKeys: true },
    imagePullSecrets: by('name'),
    hostAliases: by('ip'),
    topologySpreadConstraints: by('topologyKey'),
    schedulingGates: by('name'),
    resourceClaims: { key: 'name', merge: true, retainKeys: true },
  },
  'core.v1.Container': CONTAINER,
  'core.v1.EphemeralContainer': CONTAINER,
  'core.v1.PodStatus': {
    podIPs: by('ip'),
    hostIPs: by('ip'),
    resourceClaimStatuses: { key: 'name', merge: true, retainKeys: true },
  },
  'core.v1.ServiceSpec': { ports: by('port') },
  'core.v1.ServiceAccount': { secrets: by('name') },
  'core.v1.NodeSpec': { podCIDRs: { merge: true } },
  'core.v1.NodeStatus': { addresses: by('type') },
  'apps.v1.DeploymentSpec': { strategy: { retainKeys: true } },
  'apps.v1beta1.DeploymentSpec': { strategy: { retainKeys: true } },
  'extensions.v1beta1.DeploymentSpec': { strategy: { retainKeys: true } },
  'admissionregistration.v1.MutatingWebhookConfiguration': { webhooks: by('name') },
  'admissionregistration.v1.ValidatingWebhookConfiguration': { webhooks: by('name') },
  'admissionregistration.v1.MutatingWebhook': { matchConditions: by('name') },
  'admissionregistration.v1.ValidatingWebhook': { matchConditions: by('name') },
  'admissionregistration.v1.ValidatingAdmissionPolicySpec': { matchConditions: by('name'), variables: by('name') },
}

/** The rule of a field of a definition ("io.k8s.api.core.v1.PodSpec"). Conditions merge by type. */
export function mergeRule(model: string, fieldName: string): MergeRule | undefined {
  if (fieldName === 'conditions' && model.endsWith('Status')) return by('type')
  const short = model.split('.').slice(-3).join('.')
  return RULES[short]?.[fieldName]
}
