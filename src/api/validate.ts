// Validation of the built-in kinds beyond their shape, in upstream's field paths and wording.

import type { FieldError } from './status.ts'
import type { Json } from './types.ts'
import { mutatingPolicy, policyBinding, validatingPolicy, webhooks } from './validate-admission.ts'
import {
  apiService,
  approval,
  certificateRequest,
  crd,
  event,
  lease,
  node,
  priorityClass,
  role,
  roleBinding,
  runtimeClass,
} from './validate-cluster.ts'
import { configMap, secret } from './validate-config.ts'
import { deviceClass, resourceClaim, resourceClaimTemplate, resourceSlice } from './validate-device.ts'
import { flowSchema, priorityLevel } from './validate-flowcontrol.ts'
import {
  addressRange,
  endpointSlice,
  endpoints,
  ingress,
  ingressClass,
  ipAddressObject,
  networkPolicy,
  service,
} from './validate-network.ts'
import { ephemeralContainers, podUpdate, resize, validatePod } from './validate-pod.ts'
import { budget, limitRange, quota } from './validate-policy.ts'
import {
  attributesClass,
  claim,
  csiCapacity,
  csiDriver,
  csiNode,
  storageClass,
  volume,
  volumeAttachment,
} from './validate-storage.ts'
import {
  autoscaler,
  controllerRevision,
  cronJob,
  daemonSet,
  deployment,
  job,
  podTemplate,
  replicaSet,
  replicationController,
  statefulSet,
} from './validate-workload.ts'

type Validator = (object: Json, old?: Json) => FieldError[]

/** By resource, and by resource and subresource for those that change a spec. */
const VALIDATORS: Record<string, Validator> = {
  pods: (pod, old) => (old ? podUpdate(pod, old) : validatePod(pod)),
  'pods/ephemeralcontainers': ephemeralContainers,
  'pods/resize': resize,
  podtemplates: podTemplate,
  replicationcontrollers: replicationController,
  services: service,
  endpoints,
  configmaps: configMap,
  secrets: secret,
  events: event,
  nodes: node,
  limitranges: limitRange,
  resourcequotas: quota,
  persistentvolumes: volume,
  persistentvolumeclaims: claim,
  'deployments.apps': deployment,
  'replicasets.apps': replicaSet,
  'daemonsets.apps': daemonSet,
  'statefulsets.apps': statefulSet,
  'controllerrevisions.apps': controllerRevision,
  'jobs.batch': job,
  'cronjobs.batch': cronJob,
  'horizontalpodautoscalers.autoscaling': autoscaler,
  'poddisruptionbudgets.policy': budget,
  'endpointslices.discovery.k8s.io': endpointSlice,
  'ingresses.networking.k8s.io': ingress,
  'ingressclasses.networking.k8s.io': ingressClass,
  'networkpolicies.networking.k8s.io': networkPolicy,
  'roles.rbac.authorization.k8s.io': role,
  'clusterroles.rbac.authorization.k8s.io': (o) => role(o, undefined, true),
  'rolebindings.rbac.authorization.k8s.io': roleBinding,
  'clusterrolebindings.rbac.authorization.k8s.io': roleBinding,
  'storageclasses.storage.k8s.io': storageClass,
  'volumeattachments.storage.k8s.io': volumeAttachment,
  'priorityclasses.scheduling.k8s.io': priorityClass,
  'leases.coordination.k8s.io': lease,
  'runtimeclasses.node.k8s.io': runtimeClass,
  'certificatesigningrequests.certificates.k8s.io': certificateRequest,
  'certificatesigningrequests.certificates.k8s.io/approval': approval,
  'customresourcedefinitions.apiextensions.k8s.io': crd,
  'apiservices.apiregistration.k8s.io': apiService,
  'flowschemas.flowcontrol.apiserver.k8s.io': flowSchema,
  'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io': priorityLevel,
  'deviceclasses.resource.k8s.io': deviceClass,
  'resourceclaims.resource.k8s.io': resourceClaim,
  'resourceclaimtemplates.resource.k8s.io': resourceClaimTemplate,
  'resourceslices.resource.k8s.io': resourceSlice,
  'ipaddresses.networking.k8s.io': ipAddressObject,
  'servicecidrs.networking.k8s.io': addressRange,
  'csidrivers.storage.k8s.io': csiDriver,
  'csinodes.storage.k8s.io': csiNode,
  'csistoragecapacities.storage.k8s.io': csiCapacity,
  'volumeattributesclasses.storage.k8s.io': attributesClass,
  'validatingadmissionpolicies.admissionregistration.k8s.io': validatingPolicy,
  'validatingadmissionpolicybindings.admissionregistration.k8s.io': policyBinding,
  'mutatingadmissionpolicies.admissionregistration.k8s.io': mutatingPolicy,
  'mutatingadmissionpolicybindings.admissionregistration.k8s.io': policyBinding,
  'validatingwebhookconfigurations.admissionregistration.k8s.io': webhooks,
  'mutatingwebhookconfigurations.admissionregistration.k8s.io': webhooks,
}

/** What is wrong with an object about to be stored; `old` is the stored one on an update. */
export function validate(resource: string, object: Json, old?: Json): FieldError[] {
  return VALIDATORS[resource]?.(object, old) ?? []
}
