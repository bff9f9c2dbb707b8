// Admission of pods: their service account with its token volume, priority, default tolerations.

import { errors, groupResource, type Json } from '#api'
import { randomSuffix } from '#base'
import type { Admission } from './identity.ts'
import type { WatchCache } from './watch-cache.ts'

const TOKEN_PATH = '/var/run/secrets/kubernetes.io/serviceaccount'
/** Seconds; upstream's bound token with the hour added for old clients. */
const TOKEN_SECONDS = 3607

export function podAdmission(serviceAccounts: WatchCache): Admission {
  return {
    name: 'ServiceAccount',
    mutate({ kind, operation, subresource, namespace, object }) {
      if (groupResource(kind) !== 'pods' || operation !== 'CREATE' || subresource) return
      const spec = (object.spec ??= {})
      // A mirror shows what a node runs on its own account.
      if (object.metadata.annotations?.['kubernetes.io/config.mirror']) {
        spec.priority ??= 0
        spec.preemptionPolicy ??= 'PreemptLowerPriority'
        spec.enableServiceLinks ??= true
        return
      }
      spec.serviceAccountName ||= 'default'
      spec.serviceAccount = spec.serviceAccountName
      const account = serviceAccounts.entry(`${namespace}/${spec.serviceAccountName}`)?.object
      if (!account)
        throw errors.forbidden(
          kind,
          object.metadata.name,
          `error looking up service account ${namespace}/${spec.serviceAccountName}: serviceaccount "${spec.serviceAccountName}" not found`,
        )
      const automount = spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true
      if (automount) mountToken(spec)
      if (!spec.imagePullSecrets?.length && account.imagePullSecrets?.length)
        spec.imagePullSecrets = account.imagePullSecrets
      spec.priority ??= 0
      spec.preemptionPolicy ??= 'PreemptLowerPriority'
      spec.enableServiceLinks ??= true
      addTolerations(spec)
    },
  }
}

function mountToken(spec: Json): void {
  const containers: Json[] = [...(spec.initContainers ?? []), ...(spec.containers ?? [])]
  const missing = containers.filter((c) => !(c.volumeMounts ?? []).some((m: Json) => m.mountPath === TOKEN_PATH))
  if (missing.length === 0) return
  let volume = (spec.volumes ?? []).find((v: Json) => v.name?.startsWith('kube-api-access-'))
  if (!volume) {
    volume = {
      name: `kube-api-access-${randomSuffix(5)}`,
      projected: {
        defaultMode: 0o644,
        sources: [
          { serviceAccountToken: { expirationSeconds: TOKEN_SECONDS, path: 'token' } },
          { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
      },
    }
    spec.volumes = [...(spec.volumes ?? []), volume]
  }
  for (const c of missing)
    c.volumeMounts = [...(c.volumeMounts ?? []), { name: volume.name, readOnly: true, mountPath: TOKEN_PATH }]
}

function addTolerations(spec: Json): void {
  const tolerations: Json[] = spec.tolerations ?? []
  for (const key of ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'])
    if (!tolerations.some((t) => (t.key === key || !t.key) && (!t.effect || t.effect === 'NoExecute')))
      tolerations.push({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 })
  spec.tolerations = tolerations
}
