// What proxies have refused (NACKs), and the objects it was made of.

import type { Snapshot } from '../model/snapshot.ts'

export class Refusals {
  /** Reasons by "proxy type". */
  readonly #reasons = new Map<string, string>()

  /** Notes a proxy's answer; an empty message takes back what it refused before. True when that changes something. */
  note(proxy: string, url: string, message: string): boolean {
    const key = `${proxy} ${url.split('.').at(-1)}`
    const before = this.#reasons.get(key)
    if (message) this.#reasons.set(key, message)
    else this.#reasons.delete(key)
    return before !== (message || undefined)
  }

  /** Forgets a proxy that has gone. */
  forget(proxy: string): void {
    for (const key of this.#reasons.keys()) if (key.startsWith(`${proxy} `)) this.#reasons.delete(key)
  }

  all(): Record<string, string> {
    return Object.fromEntries(this.#reasons)
  }

  /** Reasons by the object, "Kind namespace/name", whose hosts or name they mention. */
  byObject(snapshot: Snapshot): Map<string, string> {
    const found = new Map<string, string>()
    for (const [key, reason] of this.#reasons) {
      const text = `refused by ${key.split(' ')[0]}: ${reason}`
      for (const vs of snapshot.virtualServices)
        if (vs.hosts.some((h) => reason.includes(h)) && reason.includes('route'))
          found.set(`VirtualService ${vs.namespace}/${vs.object.metadata.name}`, text)
      for (const rule of snapshot.view.destinationRules)
        if (reason.includes('cluster') && reason.includes(String(rule.spec?.host ?? '')))
          found.set(`DestinationRule ${rule.metadata.namespace}/${rule.metadata.name}`, text)
      for (const gateway of snapshot.view.gateways)
        if (reason.includes('listener') && reason.includes(`${gateway.metadata.name}.${gateway.metadata.namespace}`))
          found.set(`Gateway ${gateway.metadata.namespace}/${gateway.metadata.name}`, text)
    }
    return found
  }
}
