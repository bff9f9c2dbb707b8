// `sampan mesh inject`: the objects of a file with sidecars in their pods.

import { parseAllDocuments, stringify } from 'yaml'
import { messageOf, SampanError } from '#base'
import { injectObject, type MeshConfig, meshConfig } from '#mesh'
import { PROXY_IMAGE } from './bundled-images.ts'
import { filesOf, meshConfigMap, textOf } from './mesh-files.ts'

/** The documents of a YAML file, or of those in a folder, injected. Fails with SampanError naming the document that cannot be read. */
export function injectFile(file: string, namespace: string, meshConfigFile: string | undefined): string {
  const { config, problem } = meshConfig(meshConfigFile ? meshConfigMap(meshConfigFile) : undefined)
  if (problem) throw new SampanError('BadMeshConfig', problem)
  return filesOf([file], false)
    .map((one) => injectOne(one, namespace, config))
    .join('')
}

function injectOne(file: string, namespace: string, mesh: MeshConfig): string {
  const documents = parseAllDocuments(textOf(file))
  if (!Array.isArray(documents)) return ''
  return documents
    .map((document, i) => {
      const [error] = document.errors
      if (error) throw new SampanError('BadYaml', `Cannot read document ${i + 1} of ${file}: ${error.message}`)
      const object = document.toJS()
      if (!object) return ''
      const config = { proxyImage: PROXY_IMAGE, excludeCidrs: [], mesh }
      try {
        return `${stringify(injectObject(object, namespace, config), { lineWidth: 0 })}---\n`
      } catch (cause) {
        const what = `${object.kind} ${object.metadata?.name ?? ''} of ${file}`
        throw new SampanError('CannotInject', `Cannot inject ${what}: ${messageOf(cause)}`, { cause })
      }
    })
    .join('')
}
