// What Istio refuses in the destinations of a route, in its wording. Pure.

import type { Json } from '#api'
import { host, isPort, LABEL, type Problems, portMessage } from './problems.ts'

/** Checks the weights and names of a route's destinations; `path` leads to their list. */
export function destinations(routes: Json[] | undefined, path: string, p: Problems): void {
  let total = 0
  for (const [i, r] of (routes ?? []).entries()) {
    const weight = r?.weight ?? 0
    p.check(weight >= 0, `${path}[${i}].weight`, `weight ${weight} < 0`)
    total += weight
    const { host: name, port, subset } = r?.destination ?? {}
    if (!r?.destination) p.add(`${path}[${i}].destination`, 'destination is required')
    else if (!name) p.add(`${path}[${i}].destination.host`, 'destination must have a host')
    else {
      p.check(name !== '*', `${path}[${i}].destination.host`, `invalid destination host ${name}`)
      host(name, `${path}[${i}].destination.host`, p)
    }
    if (subset)
      p.check(LABEL.test(subset), `${path}[${i}].destination.subset`, `invalid subset name ${JSON.stringify(subset)}`)
    if (port?.number !== undefined)
      p.check(isPort(port.number), `${path}[${i}].destination.port.number`, portMessage(port.number))
  }
  if ((routes?.length ?? 0) > 1) p.check(total > 0, path, 'total destination weight = 0')
}
