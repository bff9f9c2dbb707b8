// What a scheduling plugin is: a rule that excludes nodes, or one that prefers some.

import type { KubeObject } from '#api'

/** A node with the pods on it. */
export interface NodeInfo {
  readonly node: KubeObject
  readonly pods: readonly KubeObject[]
}

/** A rule with a name. `filter` returns why a node will not do; `score` prefers nodes, 0 to 100. */
export interface Plugin {
  readonly name: string
  filter?(pod: KubeObject, info: NodeInfo): string | undefined
  score?(pod: KubeObject, info: NodeInfo): number
}
