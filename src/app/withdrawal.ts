// A pod that ends leaves the endpoints of its Services before its containers are told to stop.

import { type Json, resources } from '#api'
import type { Informers } from '#client'

/** Resolves when no EndpointSlice offers the address as ready. */
export async function endpointLeft(informers: Informers, ip: string): Promise<void> {
  const slices = informers.for(resources.endpointSlices)
  const offered = () =>
    slices
      .list()
      .some((s) => (s.endpoints ?? []).some((e: Json) => e.addresses[0] === ip && e.conditions?.ready !== false))
  if (!offered()) return
  await new Promise<void>((resolve) => {
    const stop = slices.on(() => {
      if (offered()) return
      queueMicrotask(() => stop())
      resolve()
    })
  })
}
