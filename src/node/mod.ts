export { containerdPid, isAlive, socketOf, startContainerd } from './containerd.ts'
export { hostResolver, NodeAgent, removeCgroups } from './node-agent.ts'
export { Runtime } from './runtime.ts'
export { PART_ANNOTATION, partSpec, type SystemPart, SystemParts } from './system-parts.ts'
