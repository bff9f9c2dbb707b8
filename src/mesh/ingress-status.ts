// Writes the gateway's addresses into the status of the Ingresses it serves, and says which nobody serves.

import { type KubeObject, keyOf, resources, sameJson } from '#api'
import { Coalesced, type Log, messageOf } from '#base'
import type { EventRecorder, Informers } from '#client'
import { MESH_CONFIG } from './model/mesh-config.ts'
import { unservedReason } from './translate/ingress.ts'

const GATEWAY_SERVICE = 'istio-system/istio-ingressgateway'

/** What status.loadBalancer of an Ingress should say. */
export function ingressAddress(gateway: KubeObject | undefined, serves: boolean): object {
  const addresses: { ip?: string; hostname?: string }[] = gateway?.status?.loadBalancer?.ingress ?? []
  if (!serves || addresses.length === 0) return {}
  return { ingress: addresses.map(({ ip, hostname }) => (ip ? { ip } : { hostname })) }
}

/** Keeps the status of all Ingresses in step; `serves`: whether one is ours, by its class and MeshConfig. An Ingress of an unknown class gets one event. */
export function publishIngressAddress(
  informers: Informers,
  serves: (ingress: KubeObject) => boolean,
  events: EventRecorder,
  log: Log,
): void {
  const ingresses = informers.for(resources.ingresses)
  const classes = informers.for(resources.ingressClasses)
  const services = informers.for(resources.services)
  /** What was last said of an Ingress, by uid. */
  const said = new Map<string, string>()
  const say = (ingress: KubeObject) => {
    const { uid } = ingress.metadata
    const reason = unservedReason(ingress, classes.list())
    if (!reason) said.delete(uid)
    else if (said.get(uid) !== reason) {
      said.set(uid, reason)
      events.warning(ingress, 'IngressClassNotFound', reason)
    }
  }
  const job = new Coalesced(
    async () => {
      for (const ingress of ingresses.list()) {
        say(ingress)
        const wanted = ingressAddress(services.get(GATEWAY_SERVICE), serves(ingress))
        if (sameJson(ingress.status?.loadBalancer ?? {}, wanted)) continue
        await informers.client.updateStatus(resources.ingresses, {
          ...ingress,
          status: { ...ingress.status, loadBalancer: wanted },
        })
      }
    },
    (error) => log.warn('Ingress status not written', { error: messageOf(error) }),
  )
  ingresses.on(({ type, object }) => {
    if (type === 'deleted') said.delete(object.metadata.uid)
    else void job.trigger()
  })
  classes.on(() => void job.trigger())
  services.on(({ object }) => keyOf(object) === GATEWAY_SERVICE && void job.trigger())
  // MeshConfig says which are ours.
  informers.for(resources.configMaps).on(({ object }) => keyOf(object) === MESH_CONFIG && void job.trigger())
}
