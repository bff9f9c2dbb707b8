// Certificates that Gateways and ListenerSets name: those they show to clients, and to backends. Pure.

import type { Json, KubeObject } from '#api'
import { keyPair } from '../model/key-pair.ts'
import { type GatewayApiView, type Problem, ungranted } from './view.ts'

/** What a certificate is for: its field, its name in messages, and the reason when it is not to be had. */
interface Use {
  readonly field: string
  readonly what: string
  readonly reason: string
}

const TO_CLIENTS: Use = { field: 'certificateRef', what: 'certificate', reason: 'InvalidCertificateRef' }
const TO_BACKENDS: Use = {
  field: 'clientCertificateRef',
  what: 'client certificate',
  reason: 'InvalidClientCertificateRef',
}

/** The Secret with a certificate, "namespace/name"; or why it cannot be had. */
export type CertificateRef = { readonly secret: string } | { readonly problem: Problem }

function resolve(view: GatewayApiView, owner: KubeObject, ref: Json, { field, what, reason }: Use): CertificateRef {
  const { group = '', kind = 'Secret', name, namespace = owner.metadata.namespace ?? '' } = ref
  if (group !== '' || kind !== 'Secret') {
    const message = `invalid ${what} reference ${group}/${kind}/${name}; only Secrets are supported`
    return { problem: { reason, message } }
  }
  const refused = ungranted(view, owner, { group, kind, namespace, name }, field)
  if (refused) return { problem: refused }
  const pair = keyPair(view.secret(namespace, name))
  if (pair && isPem(pair.chain) && isPem(pair.key)) return { secret: `${namespace}/${name}` }
  const message = `invalid ${what} reference ${namespace}/${name}, there is no Secret with a certificate and a key`
  return { problem: { reason, message } }
}

const isPem = (base64: string) => Buffer.from(base64, 'base64').toString('latin1').includes('-----BEGIN ')

/** What is wrong with the certificates of a listener that ends TLS. `owner`: the Gateway or ListenerSet it stands in. */
export function listenerCertificateProblem(
  view: GatewayApiView,
  owner: KubeObject,
  listener: Json,
): Problem | undefined {
  const refs: Json[] = listener.tls?.certificateRefs ?? []
  if (refs.length === 0)
    return { reason: TO_CLIENTS.reason, message: 'TLS is to be terminated but certificateRefs names no Secret' }
  for (const ref of refs) {
    const found = resolve(view, owner, ref, TO_CLIENTS)
    if ('problem' in found) return found.problem
  }
  return undefined
}

/** The certificate that a Gateway shows to backends it speaks TLS with (spec.tls.backend, GEP-3155), if it asks for one. */
export function clientCertificate(view: GatewayApiView, gateway: KubeObject): CertificateRef | undefined {
  const ref: Json | undefined = gateway.spec?.tls?.backend?.clientCertificateRef
  return ref && resolve(view, gateway, ref, TO_BACKENDS)
}
