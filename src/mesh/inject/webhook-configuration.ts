// How injection is decided, as a MutatingWebhookConfiguration: istioctl and people read it there. The API server injects
// itself, by policy.ts, and calls nobody; what stands here says the same (istio.io, "Controlling the injection policy").

import type { Json, KubeInput } from '#api'

type Expression = readonly [key: string, operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', ...values: string[]]

const selector = (...expressions: readonly Expression[]): Json => ({
  matchExpressions: expressions.map(([key, operator, ...values]) => ({
    key,
    operator,
    ...(values.length > 0 ? { values } : {}),
  })),
})

const webhook = (name: string, namespaceSelector: Json, objectSelector: Json): Json => ({
  name: `${name}.sidecar-injector.istio.io`,
  clientConfig: { service: { name: 'istiod', namespace: 'istio-system', path: '/inject', port: 443 } },
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
  failurePolicy: 'Fail',
  rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
  namespaceSelector,
  objectSelector,
})

const INJECTION = 'istio-injection'
const REVISION = 'istio.io/rev'
const INJECT = 'sidecar.istio.io/inject'

/** The four webhooks of Istio's default revision. */
export const webhookConfiguration = (): KubeInput => ({
  metadata: { name: 'istio-sidecar-injector', labels: { app: 'sidecar-injector', [REVISION]: 'default' } },
  webhooks: [
    webhook(
      'rev.namespace',
      selector([REVISION, 'In', 'default'], [INJECTION, 'DoesNotExist']),
      selector([INJECT, 'NotIn', 'false']),
    ),
    webhook(
      'rev.object',
      selector([REVISION, 'DoesNotExist'], [INJECTION, 'DoesNotExist']),
      selector([INJECT, 'NotIn', 'false'], [REVISION, 'In', 'default']),
    ),
    webhook('namespace', selector([INJECTION, 'In', 'enabled']), selector([INJECT, 'NotIn', 'false'])),
    webhook(
      'object',
      selector([INJECTION, 'DoesNotExist'], [REVISION, 'DoesNotExist']),
      selector([INJECT, 'In', 'true'], [REVISION, 'DoesNotExist']),
    ),
  ],
})
