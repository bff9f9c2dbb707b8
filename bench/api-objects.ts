// The objects that the benches of the API server write.

export const MAPS = '/api/v1/namespaces/default/configmaps'
/** About 1.2 kB as JSON, as upstream was measured with. */
export const configMap = (i: number) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: `map-${i}`, labels: { app: 'bench', shard: String(i % 100) } },
  data: { text: 'x'.repeat(1000), number: String(i) },
})
