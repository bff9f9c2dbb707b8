// What the server itself writes into new objects of some kinds: who asks for a certificate, what a Job selects.

import { errors, groupResource, type Json } from '#api'
import type { Admission } from './identity.ts'

/** Fills in the requester of CertificateSigningRequests and the selector and labels of Jobs. */
export function requesterAdmission(): Admission {
  return {
    name: 'Requester',
    mutate({ kind, operation, subresource, object, old, context }) {
      if (subresource) return
      const resource = groupResource(kind)
      if (resource === 'certificatesigningrequests.certificates.k8s.io') {
        const spec = (object.spec ??= {})
        const { user } = context
        // Nobody asks in another's name.
        if (operation === 'CREATE') {
          spec.username = user.name
          spec.groups = [...user.groups]
          if (user.uid) spec.uid = user.uid
          else delete spec.uid
          if (user.extra) spec.extra = user.extra
          else delete spec.extra
        } else if (old) Object.assign(spec, pick(old.spec ?? {}))
      }
      if (resource === 'jobs.batch' && operation === 'CREATE') jobLabels(object)
    },
  }
}

function pick({ username, groups, uid, extra }: Json): Json {
  return { username, groups, ...(uid ? { uid } : {}), ...(extra ? { extra } : {}) }
}

/** A Job finds its pods by its own uid, unless it says that it chooses them itself. */
function jobLabels(job: Json): void {
  const spec = job.spec ?? {}
  if (!spec.template || spec.manualSelector === true) return
  if (spec.selector)
    throw errors.invalid('Job', 'batch', job.metadata.name, [
      { path: 'spec.selector', reason: 'FieldValueInvalid', message: 'Invalid value: `selector` not auto-generated' },
    ])
  const { uid, name } = job.metadata
  const metadata = (spec.template.metadata ??= { creationTimestamp: null })
  metadata.labels = {
    ...metadata.labels,
    'batch.kubernetes.io/controller-uid': uid,
    'batch.kubernetes.io/job-name': name,
    'controller-uid': uid,
    'job-name': name,
  }
  spec.selector = { matchLabels: { 'batch.kubernetes.io/controller-uid': uid } }
}
