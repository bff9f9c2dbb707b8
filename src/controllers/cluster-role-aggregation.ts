// Fills in the rules of ClusterRoles that are gathered from others by label.

import { type Json, labelSelector, resources, sameJson } from '#api'
import type { Log } from '#base'
import { Controller, type Informers } from '#client'

export function clusterRoleAggregationController(informers: Informers, log: Log): Controller {
  const { client, clock } = informers
  const roles = informers.for(resources.clusterRoles)
  const controller = new Controller({ name: 'clusterrole-aggregation', clock, log, workers: 1, reconcile })
  roles.on(() => {
    for (const role of roles.list()) if (role.aggregationRule) controller.queue.add(role.metadata.name)
  })
  return controller

  async function reconcile(name: string): Promise<void> {
    const role = roles.get(name)
    if (!role?.aggregationRule) return
    const selectors = ((role.aggregationRule.clusterRoleSelectors ?? []) as Json[]).map((s) => labelSelector(s))
    const rules: Json[] = []
    const parts = roles.list().sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
    for (const other of parts)
      if (other.metadata.name !== name && selectors.some((matches) => matches(other.metadata.labels)))
        for (const rule of (other.rules ?? []) as Json[]) if (!rules.some((r) => sameJson(r, rule))) rules.push(rule)
    if (!sameJson(role.rules ?? [], rules)) await client.update(resources.clusterRoles, { ...role, rules })
  }
}
