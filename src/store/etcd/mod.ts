export type { EtcdTarget } from './client.ts'
export { type EtcdStoreOptions, openEtcdStore } from './etcd-store.ts'
export { etcdVersionProblem } from './version.ts'
