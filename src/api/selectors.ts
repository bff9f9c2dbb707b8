// Label and field selectors: parsing and matching.

import { errors } from './status.ts'
import type { Json } from './types.ts'

export type Labels = Readonly<Record<string, string>> | undefined

/** Decides by an object's labels. */
export type LabelMatcher = (labels: Labels) => boolean

interface Requirement {
  key: string
  op: 'in' | 'notin' | 'exists' | 'absent' | 'gt' | 'lt'
  values: readonly string[]
}

function meets(r: Requirement, labels: Labels): boolean {
  const value = labels?.[r.key]
  switch (r.op) {
    case 'in':
      return value !== undefined && r.values.includes(value)
    case 'notin':
      return value === undefined || !r.values.includes(value)
    case 'exists':
      return value !== undefined
    case 'absent':
      return value === undefined
    case 'gt':
      return value !== undefined && Number(value) > Number(r.values[0])
    case 'lt':
      return value !== undefined && Number(value) < Number(r.values[0])
  }
}

const all =
  (requirements: readonly Requirement[]): LabelMatcher =>
  (labels) =>
    requirements.every((r) => meets(r, labels))

/**
 * Parses the string form ("a=b,c in (d,e),!f").
 * Fails with BadRequest naming the part that cannot be read.
 */
export function parseLabelSelector(text: string): LabelMatcher {
  const requirements: Requirement[] = []
  const key = '[A-Za-z0-9][-A-Za-z0-9_./]*'
  const token = new RegExp(
    String.raw`^\s*(?:!\s*(${key})|(${key})\s+(in|notin)\s*\(([^)]*)\)|(${key})\s*(==|=|!=|>|<)\s*([-A-Za-z0-9_.]*)|(${key}))\s*(?:,|$)`,
  )
  let rest = text
  while (rest.trim() !== '') {
    const m = token.exec(rest)
    if (!m)
      throw errors.badRequest(
        `unable to parse requirement: found '${rest.trim()}', expected: a key, '!', or a requirement such as 'key in (a,b)'`,
      )
    const [, absent, setKey, setOp, set, opKey, op, value = '', exists] = m
    if (absent) requirements.push({ key: absent, op: 'absent', values: [] })
    else if (setKey)
      requirements.push({
        key: setKey,
        op: setOp as 'in' | 'notin',
        values: (set ?? '').split(',').map((v) => v.trim()),
      })
    else if (opKey)
      requirements.push({
        key: opKey,
        op: op === '!=' ? 'notin' : op === '>' ? 'gt' : op === '<' ? 'lt' : 'in',
        values: [value],
      })
    else if (exists) requirements.push({ key: exists, op: 'exists', values: [] })
    rest = rest.slice(m[0].length)
  }
  return all(requirements)
}

/** Compiles a metav1.LabelSelector. An absent selector matches nothing, an empty one everything. */
export function labelSelector(selector: Json | undefined): LabelMatcher {
  if (!selector) return () => false
  const requirements: Requirement[] = []
  for (const [key, value] of Object.entries(selector.matchLabels ?? {}))
    requirements.push({ key, op: 'in', values: [value as string] })
  const ops = { In: 'in', NotIn: 'notin', Exists: 'exists', DoesNotExist: 'absent', Gt: 'gt', Lt: 'lt' } as const
  for (const e of selector.matchExpressions ?? [])
    requirements.push({ key: e.key, op: ops[e.operator as keyof typeof ops] ?? 'in', values: e.values ?? [] })
  return all(requirements)
}

/** Compiles a plain map selector (a Service's). An empty or absent one matches nothing. */
export function mapSelector(selector: Record<string, string> | undefined): LabelMatcher {
  const entries = Object.entries(selector ?? {})
  if (entries.length === 0) return () => false
  return (labels) => entries.every(([k, v]) => labels?.[k] === v)
}

/** The string form of a LabelSelector, for printing. */
export function formatSelector(selector: Json | undefined): string {
  if (!selector) return '<none>'
  const parts = Object.entries(selector.matchLabels ?? {}).map(([k, v]) => `${k}=${v}`)
  for (const e of selector.matchExpressions ?? []) {
    if (e.operator === 'Exists') parts.push(e.key)
    else if (e.operator === 'DoesNotExist') parts.push(`!${e.key}`)
    else parts.push(`${e.key} ${e.operator === 'In' ? 'in' : 'notin'} (${(e.values ?? []).join(',')})`)
  }
  return parts.length > 0 ? parts.join(',') : '<none>'
}

/** Fields that can be selected, by resource; every resource has metadata.name and metadata.namespace. */
const FIELDS: Record<string, readonly string[]> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.podIPs',
    'status.nominatedNodeName',
  ],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  'events.events.k8s.io': [
    'regarding.kind',
    'regarding.namespace',
    'regarding.name',
    'regarding.uid',
    'regarding.apiVersion',
    'regarding.resourceVersion',
    'regarding.fieldPath',
    'reason',
    'type',
    'reportingController',
  ],
  secrets: ['type'],
  namespaces: ['status.phase', 'name'],
  nodes: ['spec.unschedulable'],
  services: ['spec.clusterIP', 'spec.type'],
  'replicasets.apps': ['status.replicas'],
  replicationcontrollers: ['status.replicas'],
  'jobs.batch': ['status.successful'],
  'certificatesigningrequests.certificates.k8s.io': ['spec.signerName'],
  'resourceslices.resource.k8s.io': ['spec.nodeName', 'spec.driver'],
}

/** What fields of a version are called where it is stored. */
export const STORED_FIELDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'events.events.k8s.io': {
    'regarding.kind': 'involvedObject.kind',
    'regarding.namespace': 'involvedObject.namespace',
    'regarding.name': 'involvedObject.name',
    'regarding.uid': 'involvedObject.uid',
    'regarding.apiVersion': 'involvedObject.apiVersion',
    'regarding.resourceVersion': 'involvedObject.resourceVersion',
    'regarding.fieldPath': 'involvedObject.fieldPath',
    reportingController: 'reportingComponent',
  },
}

export type FieldMatcher = (object: Json) => boolean

/** Parses a field selector ("a=b,c!=d"). Fails with BadRequest for a field the resource does not offer. */
export function parseFieldSelector(
  text: string,
  resource: string,
  extra: readonly string[] = [],
  renamed: Readonly<Record<string, string>> = {},
): FieldMatcher {
  const terms: { path: string[]; name: string; value: string; equal: boolean }[] = []
  for (const part of text.split(',')) {
    if (part.trim() === '') continue
    const m = /^\s*([^=!]+?)\s*(!=|==|=)\s*(.*?)\s*$/.exec(part)
    if (!m) throw errors.badRequest(`invalid selector: '${part}'; can't understand '${part}'`)
    const name = m[1]!
    if (
      name !== 'metadata.name' &&
      name !== 'metadata.namespace' &&
      !FIELDS[resource]?.includes(name) &&
      !extra.includes(name)
    )
      throw errors.badRequest(`field label not supported: ${name}`)
    terms.push({
      path: name === 'name' ? ['metadata', 'name'] : (renamed[name] ?? name).split('.'),
      name: renamed[name] ?? name,
      value: m[3]!,
      equal: m[2] !== '!=',
    })
  }
  return (object) => terms.every((t) => (fieldText(object, t.name, t.path) === t.value) === t.equal)
}

function fieldText(object: Json, name: string, path: readonly string[]): string {
  if (name === 'source') return object.source?.component ?? ''
  // biome-ignore lint/suspicious/noExplicitAny: walks JSON
  let value: any = object
  for (const step of path) value = value?.[step]
  if (name === 'spec.unschedulable') return value ? 'true' : 'false'
  if (name === 'status.podIPs') return (value ?? []).map((p: Json) => p.ip).join(',')
  return value === undefined || value === null ? '' : String(value)
}
