// The shapes of Istio's objects: what type each field has. Translation may rely on them.

import { type FieldError, type Json, parseDuration } from '#api'

/** The type of a field: a scalar, a list [of], a record of fields, or a map { '*': of }. Other fields pass. */
type Shape =
  | 'string'
  | 'number'
  | 'boolean'
  | 'object'
  | 'duration'
  | readonly [Shape]
  | { readonly [field: string]: Shape }

const TEXTS: Shape = ['string']
const LABELS: Shape = { '*': 'string' }
const STRING_MATCH: Shape = { exact: 'string', prefix: 'string', regex: 'string' }
const MATCHES: Shape = { '*': STRING_MATCH }
const PORT: Shape = { number: 'number' }
const DESTINATION: Shape = { host: 'string', subset: 'string', port: PORT }
const EDITS: Shape = { set: LABELS, add: LABELS, remove: TEXTS }
const HEADERS: Shape = { request: EDITS, response: EDITS }
const TARGETS: Shape = [{ destination: DESTINATION, weight: 'number', headers: HEADERS }]
const POLICY: Shape = {
  loadBalancer: { simple: 'string', consistentHash: 'object' },
  connectionPool: { tcp: 'object', http: 'object' },
  outlierDetection: 'object',
  tls: { mode: 'string' },
  portLevelSettings: [{ port: PORT, loadBalancer: { simple: 'string' } }],
}
const L4_MATCH: Shape = [
  { destinationSubnets: TEXTS, sniHosts: TEXTS, port: 'number', sourceLabels: LABELS, gateways: TEXTS },
]

const SHAPES: Readonly<Record<string, Shape>> = {
  VirtualService: {
    hosts: TEXTS,
    gateways: TEXTS,
    exportTo: TEXTS,
    http: [
      {
        name: 'string',
        match: [
          {
            name: 'string',
            uri: STRING_MATCH,
            scheme: STRING_MATCH,
            method: STRING_MATCH,
            authority: STRING_MATCH,
            headers: MATCHES,
            withoutHeaders: MATCHES,
            queryParams: MATCHES,
            port: 'number',
            sourceLabels: LABELS,
            sourceNamespace: 'string',
            gateways: TEXTS,
            ignoreUriCase: 'boolean',
          },
        ],
        route: TARGETS,
        redirect: { uri: 'string', authority: 'string', scheme: 'string', port: 'number', redirectCode: 'number' },
        directResponse: { status: 'number', body: { string: 'string', bytes: 'string' } },
        delegate: { name: 'string', namespace: 'string' },
        rewrite: {
          uri: 'string',
          authority: 'string',
          uriRegexRewrite: { match: 'string', rewrite: 'string' },
        },
        timeout: 'duration',
        retries: { attempts: 'number', perTryTimeout: 'duration', retryOn: 'string' },
        fault: { delay: 'object', abort: 'object' },
        mirror: DESTINATION,
        mirrors: [{ destination: DESTINATION, percentage: 'object' }],
        corsPolicy: 'object',
        headers: HEADERS,
      },
    ],
    tls: [{ match: L4_MATCH, route: TARGETS }],
    tcp: [{ match: L4_MATCH, route: TARGETS }],
  },
  DestinationRule: {
    host: 'string',
    exportTo: TEXTS,
    trafficPolicy: POLICY,
    subsets: [{ name: 'string', labels: LABELS, trafficPolicy: POLICY }],
    workloadSelector: { matchLabels: LABELS },
  },
  Gateway: {
    selector: LABELS,
    servers: [
      {
        name: 'string',
        bind: 'string',
        hosts: TEXTS,
        port: { number: 'number', protocol: 'string', name: 'string', targetPort: 'number' },
        tls: {
          mode: 'string',
          credentialName: 'string',
          credentialNames: TEXTS,
          httpsRedirect: 'boolean',
          minProtocolVersion: 'string',
          maxProtocolVersion: 'string',
          subjectAltNames: TEXTS,
        },
      },
    ],
  },
}

/** Where a spec's types are not those of its kind; empty for kinds without a shape here. */
export function shapeProblems(kind: string, spec: unknown): FieldError[] {
  const shape = SHAPES[kind]
  const problems: FieldError[] = []
  if (shape) check(spec, shape, 'spec', problems)
  return problems
}

function check(value: unknown, shape: Shape, path: string, problems: FieldError[]): void {
  if (value === undefined) return
  const wrong = (wanted: string) =>
    void problems.push({
      path,
      reason: 'FieldValueTypeInvalid',
      message: `Invalid value: "${typeOf(value)}": ${path} in body must be of type ${wanted}: "${typeOf(value)}"`,
    })
  if (shape === 'duration') {
    if (typeof value !== 'string') wrong('string')
    else if (parseDuration(value) === undefined)
      problems.push({ path, reason: 'FieldValueInvalid', message: `invalid duration: ${JSON.stringify(value)}` })
  } else if (shape === 'number') {
    if (typeof value !== 'number' || !Number.isInteger(value)) wrong('integer')
  } else if (shape === 'string' || shape === 'boolean') {
    if (typeof value !== shape) wrong(shape)
  } else if (Array.isArray(shape)) {
    if (!Array.isArray(value)) wrong('array')
    else for (const [i, item] of value.entries()) check(item, shape[0], `${path}[${i}]`, problems)
  } else if (typeOf(value) !== 'object') wrong('object')
  else if (shape !== 'object')
    for (const [key, of] of Object.entries(shape))
      if (key === '*')
        for (const [name, item] of Object.entries(value as Json)) check(item, of, `${path}[${name}]`, problems)
      else check((value as Json)[key], of, `${path}.${key}`, problems)
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
