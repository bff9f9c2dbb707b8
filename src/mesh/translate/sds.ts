// Certificates out of Secrets and ConfigMaps, delivered apart by name. Pure.

import type { KubeObject } from '#api'
import type { Message } from '#wire'
import type { MeshView, ProxyNode, XdsResources } from '../model/view.ts'

/** The configuration source of everything that comes by the same stream. */
export const ADS: Message = { ads: {}, resource_api_version: 2 }

const bytes = (text: string) => ({ inline_bytes: Buffer.from(text, 'base64') })

/** Whether a proxy may be given the Secrets of a namespace. */
export const mayRead = (node: ProxyNode, namespace: string): boolean =>
  namespace === node.namespace ? node.readsSecrets : node.servesIngresses

/** A key pair as a Secret bears it: of type kubernetes.io/tls, or Istio's generic "cert", "key", "cacert". */
export function keyPair(secret: KubeObject | undefined): { chain: string; key: string; ca?: string } | undefined {
  const { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca, cert: generic, key: genericKey, cacert } = secret?.data ?? {}
  const chain = cert ?? generic
  const privateKey = key ?? genericKey
  if (!chain || !privateKey) return undefined
  const authority = ca ?? cacert
  return { chain, key: privateKey, ...(authority ? { ca: authority } : {}) }
}

/** Adds the certificate that a Secret bears; `granted`: whoever names it may have it. Returns its resource's name, or undefined when there is none. */
export function addCertificate(
  result: XdsResources,
  view: MeshView,
  node: ProxyNode,
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
  result: XdsResources,
  view: MeshView,
  node: ProxyNode,
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
