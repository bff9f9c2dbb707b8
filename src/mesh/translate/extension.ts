// Extensions of Envoy that have no settings: a name and an empty message of their type. Envoy wants both. Pure.

import type { Message } from '#wire'

/** An extension by its name and the type of its settings, which are left as they are. */
export const extension = (name: string, type: string): Message => ({
  name,
  typed_config: { type_url: `type.googleapis.com/envoy.extensions.${type}`, value: new Uint8Array() },
})

/** The last filter of every HTTP chain: it sends a request where its route says. */
export const ROUTER: Message = extension('envoy.filters.http.router', 'filters.http.router.v3.Router')
