// Request bodies in protobuf, which newer kubectl sends for the objects it makes itself: the kinds of
// `kubectl create`, from the field numbers of Kubernetes' generated.proto files.

import { errors, type Json } from '#api'
import { type Message, type MessageType, mapOf, message, repeated } from '#wire'

const strings = mapOf('string')
const Time = message('Time', { seconds: [1, 'int64'], nanos: [2, 'int32'] })
const IntOrString = message('IntOrString', { type: [1, 'int64'], intVal: [2, 'int32'], strVal: [3, 'string'] })
const OwnerReference = message('OwnerReference', {
  kind: [1, 'string'],
  name: [3, 'string'],
  uid: [4, 'string'],
  apiVersion: [5, 'string'],
  controller: [6, 'bool'],
  blockOwnerDeletion: [7, 'bool'],
})
const ObjectMeta = message('ObjectMeta', {
  name: [1, 'string'],
  generateName: [2, 'string'],
  namespace: [3, 'string'],
  uid: [5, 'string'],
  resourceVersion: [6, 'string'],
  generation: [7, 'int64'],
  creationTimestamp: [8, Time],
  labels: [11, strings],
  annotations: [12, strings],
  ownerReferences: [13, repeated(OwnerReference)],
  finalizers: [14, repeated('string')],
})
const metadata = [1, ObjectMeta] as const
const LabelSelector = message('LabelSelector', { matchLabels: [1, strings] })
const ContainerPort = message('ContainerPort', {
  name: [1, 'string'],
  hostPort: [2, 'int32'],
  containerPort: [3, 'int32'],
  protocol: [4, 'string'],
})
const EnvVar = message('EnvVar', { name: [1, 'string'], value: [2, 'string'] })
const Container = message('Container', {
  name: [1, 'string'],
  image: [2, 'string'],
  command: [3, repeated('string')],
  args: [4, repeated('string')],
  workingDir: [5, 'string'],
  ports: [6, repeated(ContainerPort)],
  env: [7, repeated(EnvVar)],
  imagePullPolicy: [14, 'string'],
})
const PodSpec = message('PodSpec', {
  containers: [2, repeated(Container)],
  restartPolicy: [3, 'string'],
  serviceAccountName: [8, 'string'],
})
const PodTemplate = message('PodTemplateSpec', { metadata, spec: [2, PodSpec] })
const ServicePort = message('ServicePort', {
  name: [1, 'string'],
  protocol: [2, 'string'],
  port: [3, 'int32'],
  targetPort: [4, IntOrString],
  nodePort: [5, 'int32'],
  appProtocol: [6, 'string'],
})
const ServiceSpec = message('ServiceSpec', {
  ports: [1, repeated(ServicePort)],
  selector: [2, strings],
  clusterIP: [3, 'string'],
  type: [4, 'string'],
  sessionAffinity: [7, 'string'],
  externalName: [10, 'string'],
})
const PolicyRule = message('PolicyRule', {
  verbs: [1, repeated('string')],
  apiGroups: [2, repeated('string')],
  resources: [3, repeated('string')],
  resourceNames: [4, repeated('string')],
  nonResourceURLs: [5, repeated('string')],
})
const Subject = message('Subject', {
  kind: [1, 'string'],
  apiGroup: [2, 'string'],
  name: [3, 'string'],
  namespace: [4, 'string'],
})
const RoleRef = message('RoleRef', { apiGroup: [1, 'string'], kind: [2, 'string'], name: [3, 'string'] })
const ResourceAttributes = message('ResourceAttributes', {
  namespace: [1, 'string'],
  verb: [2, 'string'],
  group: [3, 'string'],
  version: [4, 'string'],
  resource: [5, 'string'],
  subresource: [6, 'string'],
  name: [7, 'string'],
})
const NonResourceAttributes = message('NonResourceAttributes', { path: [1, 'string'], verb: [2, 'string'] })
const AccessSpec = message('SelfSubjectAccessReviewSpec', {
  resourceAttributes: [1, ResourceAttributes],
  nonResourceAttributes: [2, NonResourceAttributes],
})
const Preconditions = message('Preconditions', { uid: [1, 'string'], resourceVersion: [2, 'string'] })
const role = message('Role', { metadata, rules: [2, repeated(PolicyRule)] })
const binding = message('RoleBinding', { metadata, subjects: [2, repeated(Subject)], roleRef: [3, RoleRef] })
const TokenSpec = message('TokenRequestSpec', { audiences: [1, repeated('string')], expirationSeconds: [4, 'int64'] })

const KINDS: Record<string, MessageType> = {
  'v1/ConfigMap': message('ConfigMap', {
    metadata,
    data: [2, strings],
    binaryData: [3, mapOf('bytes')],
    immutable: [4, 'bool'],
  }),
  'v1/Secret': message('Secret', {
    metadata,
    data: [2, mapOf('bytes')],
    type: [3, 'string'],
    stringData: [4, strings],
    immutable: [5, 'bool'],
  }),
  'v1/Namespace': message('Namespace', { metadata }),
  'v1/ServiceAccount': message('ServiceAccount', { metadata, automountServiceAccountToken: [4, 'bool'] }),
  'v1/Service': message('Service', { metadata, spec: [2, ServiceSpec] }),
  'v1/Pod': message('Pod', { metadata, spec: [2, PodSpec] }),
  'apps/v1/Deployment': message('Deployment', {
    metadata,
    spec: [
      2,
      message('DeploymentSpec', { replicas: [1, 'int32'], selector: [2, LabelSelector], template: [3, PodTemplate] }),
    ],
  }),
  'rbac.authorization.k8s.io/v1/Role': role,
  'rbac.authorization.k8s.io/v1/ClusterRole': role,
  'rbac.authorization.k8s.io/v1/RoleBinding': binding,
  'rbac.authorization.k8s.io/v1/ClusterRoleBinding': binding,
  'authorization.k8s.io/v1/SelfSubjectAccessReview': message('SelfSubjectAccessReview', {
    metadata,
    spec: [2, AccessSpec],
  }),
  'authentication.k8s.io/v1/SelfSubjectReview': message('SelfSubjectReview', { metadata }),
  'authentication.k8s.io/v1/TokenRequest': message('TokenRequest', { metadata, spec: [2, TokenSpec] }),
  '/DeleteOptions': message('DeleteOptions', {
    gracePeriodSeconds: [1, 'int64'],
    preconditions: [2, Preconditions],
    orphanDependents: [3, 'bool'],
    propagationPolicy: [4, 'string'],
    dryRun: [5, repeated('string')],
  }),
}

const MAGIC = Buffer.from('k8s\0')
const TypeMeta = message('TypeMeta', { apiVersion: [1, 'string'], kind: [2, 'string'] })
const Unknown = message('runtime.Unknown', { typeMeta: [1, TypeMeta], raw: [2, 'bytes'] })

/** Decodes a body. Fails with UnsupportedMediaType for a kind that is only read as JSON, with BadRequest for bad bytes. */
export function decodeProtobufBody(body: Buffer): Json {
  if (!body.subarray(0, 4).equals(MAGIC))
    throw errors.badRequest('the request body is not Kubernetes protobuf: it does not begin with "k8s"')
  let envelope: Message
  let object: Message
  const { apiVersion = '', kind = '' } = (() => {
    try {
      envelope = Unknown.decode(body.subarray(4))
      return (envelope.typeMeta ?? {}) as { apiVersion?: string; kind?: string }
    } catch (error) {
      throw errors.badRequest(`couldn't parse the request body: ${(error as Error).message}`)
    }
  })()
  const type = KINDS[`${apiVersion}/${kind}`] ?? KINDS[`/${kind}`]
  if (!type)
    throw errors.unsupportedMediaType(
      `${kind} in version "${apiVersion}" is not read as protobuf by this server: send application/json (with kubectl: write the object to a file and apply it)`,
    )
  try {
    object = type.decode(envelope!.raw ?? new Uint8Array())
  } catch (error) {
    throw errors.badRequest(`couldn't parse the request body: ${(error as Error).message}`)
  }
  return { apiVersion, kind, ...(toJson(object) as Json) }
}

/** Bytes become base64, an IntOrString its value, an empty string nothing. */
function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value
  const result: Json = {}
  for (const [key, item] of Object.entries(value)) {
    if (key === 'creationTimestamp' || item === '') continue
    if (key === 'targetPort')
      result[key] = (item as Message).type ? (item as Message).strVal : ((item as Message).intVal ?? 0)
    else result[key] = toJson(item)
  }
  return result
}
