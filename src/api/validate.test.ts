// What is refused of kinds whose objects nothing here acts on, in upstream's paths and words.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyDefaults } from './defaults.ts'
import type { Json } from './types.ts'
import { validate } from './validate.ts'

/** Each problem as "path: message". */
function problems(resource: string, object: Json, old?: Json): string[] {
  const copy = structuredClone(object)
  applyDefaults(resource, copy)
  return validate(resource, copy, old).map((e) => `${e.path}: ${e.message}`)
}

const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }

/** A resource, an object, and what is said of it. */
const REFUSED: [string, Json, RegExp][] = [
  [
    'flowschemas.flowcontrol.apiserver.k8s.io',
    { metadata: { name: 'f' }, spec: { matchingPrecedence: 1, priorityLevelConfiguration: { name: 'p' } } },
    /^spec\.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1$/,
  ],
  [
    'flowschemas.flowcontrol.apiserver.k8s.io',
    { metadata: { name: 'f' }, spec: { priorityLevelConfiguration: { name: 'p' }, rules: [{ subjects: [] }] } },
    /^spec\.rules\[0\]\.subjects: Required value: subjects must contain at least one value\nspec\.rules\[0\]: Required value: at least one of resourceRules/,
  ],
  [
    'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io',
    { metadata: { name: 'p' }, spec: { type: 'Exempt' } },
    /^spec\.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is 'exempt'$/,
  ],
  [
    'prioritylevelconfigurations.flowcontrol.apiserver.k8s.io',
    {
      metadata: { name: 'p' },
      spec: { type: 'Limited', limited: { limitResponse: { type: 'Queue', queuing: { queues: 4, handSize: 9 } } } },
    },
    /handSize: Invalid value: 9: should not be greater than queues \(4\)$/,
  ],
  [
    'validatingadmissionpolicies.admissionregistration.k8s.io',
    { metadata: { name: 'v' }, spec: { matchConstraints: { resourceRules: [rule] } } },
    /^spec\.validations: Required value: validations or auditAnnotations must contain at least one item\nspec\.auditAnnotations: /,
  ],
  [
    'validatingadmissionpolicies.admissionregistration.k8s.io',
    {
      metadata: { name: 'v' },
      spec: {
        matchConstraints: {},
        variables: [{ name: 'for', expression: '1' }],
        validations: [{ expression: 'true' }],
      },
    },
    /matchConstraints\.resourceRules: Required value\nspec\.variables\[0\]\.name: Invalid value: "for": name is not a valid CEL identifier$/,
  ],
  [
    'mutatingadmissionpolicies.admissionregistration.k8s.io',
    {
      metadata: { name: 'm' },
      spec: { matchConstraints: { resourceRules: [rule] }, mutations: [{ patchType: 'Other' }] },
    },
    /^spec\.mutations\[0\]\.patchType: Unsupported value: "Other": supported values: "ApplyConfiguration", "JSONPatch"$/,
  ],
  [
    'validatingadmissionpolicybindings.admissionregistration.k8s.io',
    { metadata: { name: 'b' }, spec: { policyName: 'p', paramRef: {}, validationActions: ['Deny', 'Warn'] } },
    /^spec\.paramRef: Required value: one of name or selector must be specified\nspec\.validationActions: Invalid value: \["Deny","Warn"\]: must not contain both/,
  ],
  [
    'validatingwebhookconfigurations.admissionregistration.k8s.io',
    {
      metadata: { name: 'w' },
      webhooks: [
        {
          name: 'a.b.c',
          clientConfig: { url: 'http://x/' },
          sideEffects: 'None',
          admissionReviewVersions: ['v9'],
          rules: [{ ...rule, operations: ['*', 'CREATE'] }],
        },
      ],
    },
    /rules\[0\]\.operations: Invalid value: \["\*","CREATE"\]: if '\*' is present.*\n.*must include at least one of v1, v1beta1\n.*'https' is the only allowed URL scheme; desired format: https:\/\/host\[\/path\]$/,
  ],
  [
    'apiservices.apiregistration.k8s.io',
    {
      metadata: { name: 'v1.x' },
      spec: { group: 'example.com', version: 'v1', groupPriorityMinimum: 100, versionPriority: 0 },
    },
    /^metadata\.name: Invalid value: "v1\.x": must be `spec\.version\+"\."\+spec\.group`: "v1\.example\.com"\nspec\.versionPriority: Invalid value: 0: must be positive and less than 1000$/,
  ],
  [
    'resourceclaims.resource.k8s.io',
    {
      metadata: { name: 'c' },
      spec: {
        devices: {
          requests: [{ name: 'a', exactly: { deviceClassName: 'gpu', allocationMode: 'All', count: 2 } }],
          constraints: [{ requests: ['b'], matchAttribute: 'example.com/model' }],
        },
      },
    },
    /^spec\.devices\.requests\[0\]\.exactly\.count: Invalid value: 2: must not be specified when allocationMode is 'All'\nspec\.devices\.constraints\[0\]\.requests\[0\]: Invalid value: "b": must be the name of a request/,
  ],
  [
    'resourceslices.resource.k8s.io',
    {
      metadata: { name: 's' },
      spec: { driver: 'd.example.com', pool: { name: 'p', resourceSliceCount: 1 }, nodeName: 'n', allNodes: true },
    },
    /^spec: Invalid value: "\{`nodeName`, `allNodes`\}": exactly one of .* is required, but multiple fields are set$/,
  ],
  [
    'deviceclasses.resource.k8s.io',
    { metadata: { name: 'd' }, spec: { selectors: [{}] } },
    /^spec\.selectors\[0\]\.cel: Required value$/,
  ],
  [
    'ipaddresses.networking.k8s.io',
    { metadata: { name: '2001:DB8::0' }, spec: { parentRef: { resource: 'services', name: 's' } } },
    /^metadata\.name: Invalid value: "2001:DB8::0": must be a canonical format IP address$/,
  ],
  [
    'servicecidrs.networking.k8s.io',
    { metadata: { name: 's' }, spec: {} },
    /^spec\.cidrs: Required value: at least one CIDR/,
  ],
  [
    'csidrivers.storage.k8s.io',
    { metadata: { name: 'd' }, spec: { tokenRequests: [{ audience: 'a' }, { audience: 'a' }] } },
    /^spec\.tokenRequests\[1\]\.audience: Duplicate value: "a"$/,
  ],
  [
    'csinodes.storage.k8s.io',
    { metadata: { name: 'n' }, spec: { drivers: [{ name: 'd.example.com' }] } },
    /nodeID: Required value$/,
  ],
  ['csistoragecapacities.storage.k8s.io', { metadata: { name: 'c' } }, /^storageClassName: Required value$/],
  [
    'volumeattributesclasses.storage.k8s.io',
    { metadata: { name: 'v' }, driverName: 'd.example.com' },
    /^parameters: Required value: must contain at least one key\/value pair$/,
  ],
]

for (const [resource, object, expected] of REFUSED)
  test(`${resource}: ${expected.source.slice(0, 60)}…`, () => {
    assert.match(problems(resource, object).join('\n'), expected)
  })

test('what may not change is refused in an update', () => {
  const claim = { metadata: { name: 'c' }, spec: { devices: {} } }
  assert.deepEqual(problems('resourceclaims.resource.k8s.io', claim, { ...claim, spec: {} }), [
    'spec: Invalid value: {"devices":{}}: field is immutable',
  ])
  const one = { driverName: 'd.example.com', parameters: { a: '1' } }
  assert.deepEqual(problems('volumeattributesclasses.storage.k8s.io', { ...one, parameters: { a: '2' } }, one), [
    'parameters: Invalid value: {"a":"2"}: field is immutable',
  ])
})

test('a valid claim for a device gets its defaults and no problem', () => {
  const claim = {
    metadata: { name: 'c' },
    spec: { devices: { requests: [{ name: 'a', firstAvailable: [{ name: 'x', deviceClassName: 'gpu' }] }] } },
  }
  assert.deepEqual(problems('resourceclaims.resource.k8s.io', claim), [])
  applyDefaults('resourceclaims.resource.k8s.io', claim)
  assert.deepEqual(claim.spec.devices.requests[0]!.firstAvailable[0], {
    name: 'x',
    deviceClassName: 'gpu',
    allocationMode: 'ExactCount',
    count: 1,
  })
})
