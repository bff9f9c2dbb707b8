// Objects of YAML files, with the lines they stand on.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LineCounter, parseAllDocuments } from 'yaml'
import type { KubeInput, KubeObject } from '#api'
import { SampanError } from '#base'

/** An object out of a file. */
export interface FileObject {
  readonly object: KubeObject
  readonly file: string
  /** The line of a field; of the object itself when the field is not there. */
  lineOf(path: readonly (string | number)[]): number
  /** The text of that line, without its indentation. */
  textOf(path: readonly (string | number)[]): string
}

/** A document that cannot be read. */
export interface FileProblem {
  readonly file: string
  readonly line: number
  readonly message: string
}

const YAML = /\.(ya?ml|json)$/

/** Files that paths stand for: "-" is the standard input; of folders their YAML and JSON. Fails with SampanError. */
export function filesOf(paths: readonly string[], recursive: boolean): string[] {
  return paths.flatMap((path) => {
    if (path === '-') return [path]
    let folder: boolean
    try {
      folder = statSync(path).isDirectory()
    } catch {
      throw new SampanError('NoSuchFile', `Cannot read ${path}: there is no such file or folder`)
    }
    if (!folder) return [path]
    return readdirSync(path, { withFileTypes: true, recursive })
      .filter((e) => e.isFile() && YAML.test(e.name))
      .map((e) => join(e.parentPath, e.name))
      .sort()
  })
}

/** The text of a file, or of the standard input. */
export const textOf = (file: string): string => readFileSync(file === '-' ? 0 : file, 'utf8')

/** The objects of a file; what has no namespace is in `namespace`. */
export function objectsOf(file: string, namespace: string): { objects: FileObject[]; problems: FileProblem[] } {
  const text = textOf(file)
  const lines = text.split('\n')
  const counter = new LineCounter()
  const objects: FileObject[] = []
  const problems: FileProblem[] = []
  for (const document of parseAllDocuments(text, { lineCounter: counter })) {
    if (!('errors' in document)) continue
    const [error] = document.errors
    if (error) {
      problems.push({ file, line: counter.linePos(error.pos[0]).line, message: error.message.split('\n')[0] ?? '' })
      continue
    }
    const start = counter.linePos(document.contents?.range?.[0] ?? 0).line
    const lineOf = (path: readonly (string | number)[]) => {
      for (let n = path.length; n > 0; n--) {
        const node = document.getIn(path.slice(0, n), true) as { range?: [number, number, number] } | undefined
        if (node?.range) return counter.linePos(node.range[0]).line
      }
      return start
    }
    const json = document.toJS() as KubeInput & { items?: KubeInput[] }
    const all = json?.kind === 'List' ? (json.items ?? []) : [json]
    for (const [i, o] of all.entries()) {
      if (!o?.kind || !o.metadata?.name) continue
      const at = (path: readonly (string | number)[]) => lineOf(json.kind === 'List' ? ['items', i, ...path] : path)
      objects.push({
        object: {
          ...o,
          apiVersion: o.apiVersion ?? '',
          kind: o.kind,
          metadata: {
            uid: '',
            resourceVersion: '',
            creationTimestamp: '',
            ...o.metadata,
            name: o.metadata.name,
            ...(CLUSTER_WIDE.has(o.kind) ? {} : { namespace: o.metadata.namespace ?? namespace }),
          },
        } as KubeObject,
        file,
        lineOf: at,
        textOf: (path) => (lines[at(path) - 1] ?? '').trim(),
      })
    }
  }
  return { objects, problems }
}

const CLUSTER_WIDE = new Set([
  'Namespace',
  'Node',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
  'GatewayClass',
])

/** The mesh's configuration out of a file, as the ConfigMap that a cluster has it in. Fails with SampanError. */
export const meshConfigMap = (file: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'istio', namespace: 'istio-system', uid: '', resourceVersion: '', creationTimestamp: '' },
  data: { mesh: filesOf([file], false).map(textOf).join('') },
})
