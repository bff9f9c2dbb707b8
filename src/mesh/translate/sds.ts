// Certificates out of Secrets and ConfigMaps, delivered apart by name. Pure.

import { rootCertificates } from 'node:tls'
import type { Message } from '#wire'
import { keyPair } from '../model/key-pair.ts'
import type { MeshView, ProxyNode, XdsResources } from '../model/view.ts'

/** The configuration source of everything that comes by the same stream. */
export const ADS: Message = { ads: {}, resource_api_version: 2 }

/** The secret, by Istio's name, of the authorities that every machine trusts. Our data plane has them itself. */
export const SYSTEM_ROOTS = 'file-root:system'

const systemRoots: Message = {
  name: SYSTEM_ROOTS,
  validation_context: { trusted_ca: { inline_string: rootCertificates.join('\n') } },
}

/** Adds the authorities that every machine trusts, for whoever asks for them. */
export const addSystemRoots = (result: XdsResources) => result.secrets.set(SYSTEM_ROOTS, systemRoots)

const bytes = (text: string) => ({ inline_bytes: Buffer.from(text, 'base64') })

/** Whether a proxy may be given the Secrets of a namespace. */
export const mayRead = (node: ProxyNode, namespace: string): boolean =>
  namespace === node.namespace ? node.readsSecrets : node.servesIngresses

/** Where secrets go, and whose they are. */
export interface SecretHolder {
  readonly result: XdsResources
  readonly view: MeshView
  readonly node: ProxyNode
}

/** Adds the certificate that a Secret bears; `granted`: whoever names it may have it. Returns its resource's name, or undefined when there is none. */
export function addCertificate(
  { result, view, node }: SecretHolder,
  namespace: string,
  name: string,
  granted = false,
): string | undefined {
  if (!node.trusted || (!granted && !mayRead(node, namespace))) return undefined
  const pair = keyPair(view.secret(namespace, name))
  if (!pair) return undefined
  const resource = `kubernetes://${namespace}/${name}`
  result.secrets.set(resource, {
    name: resource,
    tls_certificate: { certificate_chain: bytes(pair.chain), private_key: bytes(pair.key) },
  })
  return resource
}

/** Adds the authority that stands with a certificate: in its Secret, in NAME-cacert, or in a ConfigMap. */
export function addAuthority(
  { result, view, node }: SecretHolder,
  namespace: string,
  name: string,
  granted = false,
): string | undefined {
  if (!node.trusted || (!granted && !mayRead(node, namespace))) return undefined
  const own = view.secret(namespace, name)?.data
  const beside = view.secret(namespace, `${name}-cacert`)?.data
  const ca = own?.['ca.crt'] ?? own?.cacert ?? beside?.['ca.crt'] ?? beside?.cacert
  if (!ca) return undefined
  const crl = own?.['ca.crl'] ?? own?.crl ?? beside?.['ca.crl'] ?? beside?.crl
  const resource = `kubernetes://${namespace}/${name}-cacert`
  result.secrets.set(resource, {
    name: resource,
    validation_context: { trusted_ca: bytes(ca), ...(crl ? { crl: bytes(crl) } : {}) },
  })
  return resource
}
