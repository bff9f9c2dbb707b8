// Volumes: makes a pod's folders and files on the node, and takes them away.

import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Json, KubeObject } from '#api'
import { type Clock, exec, execOk, rfc3339 } from '#base'
import { type VolumeFile, writeAtomically } from './atomic-writer.ts'
import { ConfigError, podField } from './environment.ts'

/** What volumes are filled from. */
export interface VolumeSources {
  configMap(namespace: string, name: string): KubeObject | undefined
  secret(namespace: string, name: string): KubeObject | undefined
  token(pod: KubeObject, spec: Json): Promise<{ token: string; expiresAt: number }>
  podIp: string
  hostIp: string
  nodeName: string
}

interface IssuedToken {
  token: string
  /** Milliseconds; asked for anew once 80% of its life is over. */
  renewAt: number
}

/** Prepares the volumes of pods below one folder. */
export class Volumes {
  readonly #root: string
  readonly #clock: Clock
  readonly #tokens = new Map<string, IssuedToken>()

  constructor(root: string, clock: Clock) {
    this.#root = root
    this.#clock = clock
  }

  podDir(uid: string): string {
    return join(this.#root, uid)
  }

  volumePath(uid: string, volume: Json): string {
    return volume.hostPath ? volume.hostPath.path : join(this.podDir(uid), 'volumes', volume.name)
  }

  /** Makes and fills every volume; called again it brings them up to date. Fails with ConfigError. */
  async prepare(pod: KubeObject, sources: VolumeSources): Promise<void> {
    for (const volume of (pod.spec.volumes ?? []) as Json[]) {
      const path = this.volumePath(pod.metadata.uid, volume)
      if (volume.hostPath) prepareHostPath(volume.hostPath)
      else if (volume.emptyDir) await this.#emptyDir(pod, volume.emptyDir, path)
      else {
        const files = await this.#files(pod, volume, sources)
        if (!files)
          throw new ConfigError(
            `volume "${volume.name}": this kind of volume is not supported: ${Object.keys(volume)
              .filter((k) => k !== 'name')
              .join(', ')}; use emptyDir, hostPath, configMap, secret, downwardAPI or projected`,
          )
        writeAtomically(path, files, rfc3339(this.#clock.now()))
      }
    }
  }

  /** Unmounts and removes everything of a pod. */
  async remove(uid: string): Promise<void> {
    const directory = this.podDir(uid)
    for (const key of this.#tokens.keys()) if (key.startsWith(`${uid}/`)) this.#tokens.delete(key)
    if (!existsSync(directory)) return
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
      const point = line.split(' ')[4]
      if (point?.startsWith(`${directory}/`)) await exec('umount', ['-l', point])
    }
    rmSync(directory, { recursive: true, force: true })
    try {
      rmdirSync(directory)
    } catch {
      // Already gone.
    }
  }

  async #emptyDir(pod: KubeObject, source: Json, path: string): Promise<void> {
    if (existsSync(path)) return
    mkdirSync(path, { recursive: true })
    if (source.medium === 'Memory')
      await execOk('mount', [
        '-t',
        'tmpfs',
        '-o',
        source.sizeLimit
          ? `size=${Number.parseInt(source.sizeLimit, 10)}${/Mi$/.test(source.sizeLimit) ? 'm' : /Gi$/.test(source.sizeLimit) ? 'g' : ''}`
          : 'size=50%',
        'tmpfs',
        path,
      ])
    await execOk('chmod', ['0777', path])
    const group = pod.spec.securityContext?.fsGroup
    if (group !== undefined) await execOk('chown', [`:${group}`, path])
  }

  async #files(pod: KubeObject, volume: Json, sources: VolumeSources): Promise<Map<string, VolumeFile> | undefined> {
    const files = new Map<string, VolumeFile>()
    if (volume.configMap)
      addConfigMap(files, pod, volume.configMap, volume.configMap.name, volume.configMap.defaultMode, sources)
    else if (volume.secret)
      addSecret(files, pod, volume.secret, volume.secret.secretName, volume.secret.defaultMode, sources)
    else if (volume.downwardAPI) addDownward(files, pod, volume.downwardAPI, volume.downwardAPI.defaultMode, sources)
    else if (volume.projected)
      for (const source of volume.projected.sources ?? []) {
        const mode = volume.projected.defaultMode
        if (source.configMap) addConfigMap(files, pod, source.configMap, source.configMap.name, mode, sources)
        if (source.secret) addSecret(files, pod, source.secret, source.secret.name, mode, sources)
        if (source.downwardAPI) addDownward(files, pod, source.downwardAPI, mode, sources)
        if (source.serviceAccountToken) {
          const token = await this.#token(pod, volume.name, source.serviceAccountToken, sources)
          // Readable by whoever the container runs as: the folder is the pod's own.
          files.set(source.serviceAccountToken.path, { data: Buffer.from(token), mode: 0o644 })
        }
      }
    else return undefined
    return files
  }

  async #token(pod: KubeObject, volume: string, spec: Json, sources: VolumeSources): Promise<string> {
    const key = `${pod.metadata.uid}/${volume}/${spec.path}`
    const known = this.#tokens.get(key)
    const now = this.#clock.now()
    if (known && known.renewAt > now) return known.token
    const { token, expiresAt } = await sources.token(pod, spec)
    this.#tokens.set(key, { token, renewAt: now + (expiresAt - now) * 0.8 })
    return token
  }
}

function prepareHostPath(source: Json): void {
  const exists = existsSync(source.path)
  if (source.type === 'DirectoryOrCreate' && !exists) mkdirSync(source.path, { recursive: true })
  else if (source.type === 'Directory' && !(exists && statSync(source.path).isDirectory()))
    throw new ConfigError(`hostPath type check failed: ${source.path} is not a directory`)
  else if (source.type === 'File' && !(exists && statSync(source.path).isFile()))
    throw new ConfigError(`hostPath type check failed: ${source.path} is not a file`)
}

function select(
  items: Json[] | undefined,
  keys: readonly string[],
  mode: number,
  add: (key: string, path: string, mode: number) => void,
): void {
  if (!items) for (const key of keys) add(key, key, mode)
  else for (const item of items) add(item.key, item.path, item.mode ?? mode)
}

function addConfigMap(
  files: Map<string, VolumeFile>,
  pod: KubeObject,
  source: Json,
  name: string,
  mode: number,
  sources: VolumeSources,
): void {
  const object = sources.configMap(pod.metadata.namespace ?? '', name)
  if (!object) {
    if (source.optional) return
    throw new ConfigError(`configmap "${name}" not found`)
  }
  const keys = [...Object.keys(object.data ?? {}), ...Object.keys(object.binaryData ?? {})]
  select(source.items, keys, mode, (key, path, m) => {
    const text = object.data?.[key]
    const binary = object.binaryData?.[key]
    if (text === undefined && binary === undefined) {
      if (source.optional) return
      throw new ConfigError(`configmap references non-existent config key: ${key}`)
    }
    files.set(path, { data: text === undefined ? Buffer.from(binary, 'base64') : Buffer.from(text), mode: m })
  })
}

function addSecret(
  files: Map<string, VolumeFile>,
  pod: KubeObject,
  source: Json,
  name: string,
  mode: number,
  sources: VolumeSources,
): void {
  const object = sources.secret(pod.metadata.namespace ?? '', name)
  if (!object) {
    if (source.optional) return
    throw new ConfigError(`secret "${name}" not found`)
  }
  select(source.items, Object.keys(object.data ?? {}), mode, (key, path, m) => {
    if (object.data?.[key] === undefined) {
      if (source.optional) return
      throw new ConfigError(`references non-existent secret key: ${key}`)
    }
    files.set(path, { data: Buffer.from(object.data[key], 'base64'), mode: m })
  })
}

function addDownward(
  files: Map<string, VolumeFile>,
  pod: KubeObject,
  source: Json,
  mode: number,
  sources: VolumeSources,
): void {
  for (const item of (source.items ?? []) as Json[])
    if (item.fieldRef)
      files.set(item.path, {
        data: Buffer.from(podField(pod, item.fieldRef.fieldPath, sources)),
        mode: item.mode ?? mode,
      })
}
