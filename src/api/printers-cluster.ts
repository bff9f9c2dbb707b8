// Columns of the kinds that few look at every day: admission, certificates, fair shares, drivers, devices.

import { age, humanDuration } from './duration.ts'
import type { KindPrinter } from './printers.ts'
import type { Json } from './types.ts'

const text = (...names: string[]) => names.map((name) => ({ name, type: 'string' }))
const int = (...names: string[]) => names.map((name) => ({ name, type: 'integer' }))
const or = (value: unknown, fallback = '<none>') =>
  value === undefined || value === null || value === '' ? fallback : value
const some = (list: readonly unknown[] | undefined) => (list?.length ? list.join(',') : '<none>')

const created: KindPrinter = {
  columns: text('Created At'),
  cells: (o) => [o.metadata.creationTimestamp],
  noAge: true,
}
const webhooks: KindPrinter = { columns: int('Webhooks'), cells: (o) => [o.webhooks?.length ?? 0] }
const paramKind = (o: Json) => {
  const p = o.spec?.paramKind
  return p ? `${p.apiVersion}/${p.kind}` : '<unset>'
}
const bindings: KindPrinter = {
  columns: text('PolicyName', 'ParamRef'),
  cells: (o) => {
    const p = o.spec?.paramRef
    const ref = p
      ? p.name
        ? `${p.namespace ? `${p.namespace}/` : '*/'}${p.name}`
        : `${p.namespace ?? '*'}/*`
      : '<unset>'
    return [o.spec?.policyName ?? '', ref]
  },
}

/** "Approved,Issued", "Pending" and so on. */
function certificateState(o: Json): string {
  const types = ((o.status?.conditions ?? []) as Json[]).map((c) => c.type)
  const state = types.includes('Denied') ? 'Denied' : types.includes('Approved') ? 'Approved' : ''
  const parts = [state, types.includes('Failed') ? 'Failed' : '', o.status?.certificate ? 'Issued' : ''].filter(Boolean)
  return parts.length > 0 ? parts.join(',') : 'Pending'
}

function claimState(o: Json): string {
  if (o.metadata.deletionTimestamp) return 'deleted'
  const states = [o.status?.allocation ? 'allocated' : '', o.status?.reservedFor?.length ? 'reserved' : ''].filter(
    Boolean,
  )
  return states.length > 0 ? states.join(',') : 'pending'
}

export const CLUSTER_PRINTERS: Record<string, KindPrinter> = {
  limitranges: created,
  podtemplates: {
    columns: text('Containers', 'Images', 'Pod Labels'),
    cells: (o) => {
      const containers: Json[] = o.template?.spec?.containers ?? []
      const labels = Object.entries(o.template?.metadata?.labels ?? {}).map(([k, v]) => `${k}=${v}`)
      return [containers.map((c) => c.name).join(','), containers.map((c) => c.image).join(','), some(labels)]
    },
    noAge: true,
  },
  componentstatuses: {
    columns: text('Status', 'Message', 'Error'),
    cells: (o) => {
      const c = ((o.conditions ?? []) as Json[]).find((x) => x.type === 'Healthy')
      return [
        c?.status === 'True' ? 'Healthy' : c?.status === 'False' ? 'Unhealthy' : 'Unknown',
        c?.message ?? '',
        c?.error ?? '',
      ]
    },
    noAge: true,
  },
  'controllerrevisions.apps': {
    columns: [...text('Controller'), ...int('Revision')],
    cells: (o) => {
      const owner = ((o.metadata.ownerReferences ?? []) as Json[]).find((r) => r.controller)
      const group = owner?.apiVersion?.includes('/') ? `.${owner.apiVersion.split('/')[0]}` : ''
      return [owner ? `${String(owner.kind).toLowerCase()}${group}/${owner.name}` : '<none>', o.revision ?? 0]
    },
  },
  'mutatingwebhookconfigurations.admissionregistration.k8s.io': webhooks,
  'validatingwebhookconfigurations.admissionregistration.k8s.io': webhooks,
  'validatingadmissionpolicies.admissionregistration.k8s.io': {
    columns: [...int('Validations'), ...text('ParamKind')],
    cells: (o) => [o.spec?.validations?.length ?? 0, paramKind(o)],
  },
  'mutatingadmissionpolicies.admissionregistration.k8s.io': {
    columns: [...int('Mutations'), ...text('ParamKind')],
    cells: (o) => [o.spec?.mutations?.length ?? 0, paramKind(o)],
  },
  'validatingadmissionpolicybindings.admissionregistration.k8s.io': bindings,
  'mutatingadmissionpolicybindings.admissionregistration.k8s.io': bindings,
  'apiservices.apiregistration.k8s.io': {
    columns: text('Service', 'Available'),
    cells: (o) => {
      const s = o.spec?.service
      const c = ((o.status?.conditions ?? []) as Json[]).find((x) => x.type === 'Available')
      return [
        s ? `${s.namespace}/${s.name}` : 'Local',
        c ? (c.status === 'True' ? 'True' : `${c.status} (${c.reason})`) : 'Unknown',
      ]
    },
  },
  'certificatesigningrequests.certificates.k8s.io': {
    columns: text('Age', 'SignerName', 'Requestor', 'RequestedDuration', 'Condition'),
    cells: (o, now) => [
      age(o.metadata.creationTimestamp, now),
      or(o.spec?.signerName),
      o.spec?.username ?? '',
      o.spec?.expirationSeconds ? humanDuration(o.spec.expirationSeconds * 1000) : '<none>',
      certificateState(o),
    ],
    noAge: true,
  },
  'flowschemas.flowcontrol.apiserver.k8s.io': {
    columns: [
      ...text('PriorityLevel'),
      ...int('MatchingPrecedence'),
      ...text('DistinguisherMethod', 'Age', 'MissingPL'),
    ],
    cells: (o, now) => {
      const dangling = ((o.status?.conditions ?? []) as Json[]).find((c) => c.type === 'Dangling')
      return [
        o.spec?.priorityLevelConfiguration?.name ?? '',
        o.spec?.matchingPrecedence ?? 0,
        or(o.spec?.distinguisherMethod?.type),
        age(o.metadata.creationTimestamp, now),
        dangling?.status ?? '?',
      ]
    },
    noAge: true,
  },
  'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io': {
    columns: text('Type', 'NominalConcurrencyShares', 'Queues', 'HandSize', 'QueueLengthLimit'),
    cells: (o) => {
      const limited = o.spec?.limited
      const queuing = limited?.limitResponse?.queuing
      return [
        o.spec?.type ?? '',
        or(limited?.nominalConcurrencyShares),
        or(queuing?.queues),
        or(queuing?.handSize),
        or(queuing?.queueLengthLimit),
      ]
    },
  },
  'ipaddresses.networking.k8s.io': {
    columns: text('ParentRef'),
    cells: (o) => {
      const p = o.spec?.parentRef
      if (!p) return ['<none>']
      return [`${p.resource}${p.group ? `.${p.group}` : ''}/${p.namespace ? `${p.namespace}/` : ''}${p.name}`]
    },
  },
  'servicecidrs.networking.k8s.io': { columns: text('CIDRs'), cells: (o) => [some(o.spec?.cidrs)] },
  'runtimeclasses.node.k8s.io': { columns: text('Handler'), cells: (o) => [o.handler ?? ''] },
  'resourceclaims.resource.k8s.io': { columns: text('State'), cells: (o) => [claimState(o)] },
  'resourceslices.resource.k8s.io': {
    columns: text('Node', 'Driver', 'Pool'),
    cells: (o) => [
      or(o.spec?.nodeName, o.spec?.allNodes ? '<all nodes>' : '<unset>'),
      o.spec?.driver ?? '',
      o.spec?.pool?.name ?? '',
    ],
  },
  'priorityclasses.scheduling.k8s.io': {
    columns: [...int('Value'), ...text('Global-Default', 'Age', 'PreemptionPolicy')],
    cells: (o, now) => [
      o.value ?? 0,
      o.globalDefault ? 'true' : 'false',
      age(o.metadata.creationTimestamp, now),
      o.preemptionPolicy ?? '',
    ],
    noAge: true,
  },
  'csidrivers.storage.k8s.io': {
    columns: text('AttachRequired', 'PodInfoOnMount', 'StorageCapacity', 'TokenRequests', 'RequiresRepublish', 'Modes'),
    cells: (o) => [
      String(o.spec?.attachRequired ?? true),
      String(o.spec?.podInfoOnMount ?? false),
      String(o.spec?.storageCapacity ?? false),
      (o.spec?.tokenRequests ?? []).map((t: Json) => t.audience).join(',') || '<unset>',
      String(o.spec?.requiresRepublish ?? false),
      some(o.spec?.volumeLifecycleModes),
    ],
  },
  'csinodes.storage.k8s.io': { columns: int('Drivers'), cells: (o) => [o.spec?.drivers?.length ?? 0] },
  'csistoragecapacities.storage.k8s.io': {
    columns: text('StorageClassName', 'Capacity'),
    cells: (o) => [o.storageClassName ?? '', or(o.capacity, '<unset>')],
    noAge: true,
  },
  'volumeattachments.storage.k8s.io': {
    columns: text('Attacher', 'PV', 'Node', 'Attached'),
    cells: (o) => [
      o.spec?.attacher ?? '',
      o.spec?.source?.persistentVolumeName ?? '',
      o.spec?.nodeName ?? '',
      String(o.status?.attached ?? false),
    ],
  },
  'volumeattributesclasses.storage.k8s.io': { columns: text('DriverName'), cells: (o) => [o.driverName ?? ''] },
}
