// The ConfigMap by which sidecars know the control plane, in every namespace.

import { isAlreadyExists, resources } from '#api'
import { type Log, messageOf } from '#base'
import type { Informers } from '#client'

/** Puts the mesh's authority, PEM, into each namespace there is and each that comes. */
export function publishRootCertificate(informers: Informers, rootCa: string, log: Log): void {
  informers.for(resources.namespaces).on(({ type, object }) => {
    if (type !== 'added' || object.metadata.deletionTimestamp) return
    const namespace = object.metadata.name
    informers.client
      .create(resources.configMaps, {
        metadata: { name: 'istio-ca-root-cert', namespace, labels: { 'istio.io/config': 'true' } },
        data: { 'root-cert.pem': rootCa },
      })
      .catch((error) => {
        if (!isAlreadyExists(error)) log.warn('root certificate not published', { namespace, error: messageOf(error) })
      })
  })
}
