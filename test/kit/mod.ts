export * from './api.ts'
export { type Answer, call } from './call.ts'
export * from './cluster.ts'
