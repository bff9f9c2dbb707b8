// Images: present, pulled by policy, or honestly not to be had.

import { type Json, type KubeObject, resources } from '#api'
import { type Clock, type Log, messageOf, SampanError } from '#base'
import type { Client, EventRecorder } from '#client'
import type { ImageInfo, Runtime } from './runtime.ts'

/** An image that cannot be had now; `code` is the reason a container's status shows. */
export class ImageError extends SampanError {}

const BACKOFF_FIRST = 10_000
const BACKOFF_MAX = 300_000

interface Failure {
  message: string
  count: number
  retryAt: number
}

export interface ImageManagerOptions {
  runtime: Runtime
  client: Client
  clock: Clock
  log: Log
  events: EventRecorder
  /** Resolves when the images that come with the program have been imported. */
  bundled: Promise<void>
  /** Names of the images that come with the program, as manifests write them. */
  isBundled: (image: string) => boolean
}

export class ImageManager {
  readonly #options: ImageManagerOptions
  readonly #failures = new Map<string, Failure>()
  readonly #pulling = new Map<string, Promise<void>>()

  constructor(options: ImageManagerOptions) {
    this.#options = options
  }

  /** Resolves once the images that come with the program are here; the sandbox's image is one of them. */
  bundled(): Promise<void> {
    return this.#options.bundled
  }

  /** Makes sure a container's image is there. Fails with ImageError. */
  async ensure(pod: KubeObject, container: Json): Promise<ImageInfo> {
    const { events, clock, bundled, isBundled } = this.#options
    const name: string = container.image
    const at = `spec.containers{${container.name}}`
    if (isBundled(name)) await bundled
    const present = await this.#present(name)
    const policy = container.imagePullPolicy ?? 'IfNotPresent'
    // An image that came with the program is newer than anything a registry has under its name.
    if (present && (policy !== 'Always' || isBundled(name))) {
      events.normal(pod, 'Pulled', `Container image "${name}" already present on machine`, at)
      return present
    }
    if (policy === 'Never') {
      events.warning(pod, 'ErrImageNeverPull', `Container image "${name}" is not present with pull policy of Never`, at)
      throw new ImageError('ErrImageNeverPull', `Container image "${name}" is not present with pull policy of Never`)
    }
    const failure = this.#failures.get(name)
    if (failure && failure.retryAt > clock.now()) {
      events.normal(pod, 'BackOff', `Back-off pulling image "${name}"`, at)
      events.warning(pod, 'Failed', 'Error: ImagePullBackOff', at)
      throw new ImageError('ImagePullBackOff', `Back-off pulling image "${name}": ${failure.message}`)
    }
    events.normal(pod, 'Pulling', `Pulling image "${name}"`, at)
    const started = clock.now()
    try {
      await this.#pull(name, pod)
    } catch (error) {
      if (present) return present
      const message = reasonOf(name, error)
      const count = (failure?.count ?? 0) + 1
      this.#failures.set(name, {
        message,
        count,
        retryAt: clock.now() + Math.min(BACKOFF_FIRST * 2 ** (count - 1), BACKOFF_MAX),
      })
      events.warning(pod, 'Failed', `Failed to pull image "${name}": ${message}`, at)
      events.warning(pod, 'Failed', 'Error: ErrImagePull', at)
      throw new ImageError('ErrImagePull', message)
    }
    this.#failures.delete(name)
    const image = await this.#present(name)
    if (!image) throw new ImageError('ErrImagePull', `image "${name}" was pulled but is not there`)
    events.normal(
      pod,
      'Pulled',
      `Successfully pulled image "${name}" in ${((clock.now() - started) / 1000).toFixed(3)}s. Image size: ${image.size} bytes.`,
      at,
    )
    return image
  }

  /** When a failed image may be tried again, in milliseconds from now. */
  retryIn(name: string): number {
    const failure = this.#failures.get(name)
    return failure ? Math.max(1000, failure.retryAt - this.#options.clock.now()) : 1000
  }

  async #present(name: string): Promise<ImageInfo | undefined> {
    try {
      return await this.#options.runtime.image(name)
    } catch (error) {
      throw new ImageError(
        'InvalidImageName',
        `Failed to apply default image tag "${name}": couldn't parse image name "${name}": ${messageOf(error)}`,
      )
    }
  }

  #pull(name: string, pod: KubeObject): Promise<void> {
    let pull = this.#pulling.get(name)
    if (!pull) {
      pull = this.#credentials(name, pod)
        .then((auth) => this.#options.runtime.pullImage(name, auth))
        .finally(() => this.#pulling.delete(name))
      this.#pulling.set(name, pull)
    }
    return pull
  }

  /** Credentials for an image's registry from the pod's pull secrets. */
  async #credentials(name: string, pod: KubeObject): Promise<{ username: string; password: string } | undefined> {
    const registry = registryOf(name)
    for (const ref of (pod.spec.imagePullSecrets ?? []) as Json[]) {
      try {
        const secret = await this.#options.client.get(resources.secrets, pod.metadata.namespace ?? '', ref.name)
        const text = secret.data?.['.dockerconfigjson']
        if (!text) continue
        const auths: Json = JSON.parse(Buffer.from(text, 'base64').toString()).auths ?? {}
        for (const [host, auth] of Object.entries<Json>(auths)) {
          if (host.replace(/^https?:\/\//, '').split('/')[0] !== registry) continue
          const [username = '', ...rest] = Buffer.from(auth.auth ?? '', 'base64')
            .toString()
            .split(':')
          return { username: auth.username ?? username, password: auth.password ?? rest.join(':') }
        }
      } catch (error) {
        this.#options.log.warn('pull secret not usable', { secret: ref.name, error: messageOf(error) })
      }
    }
    return undefined
  }
}

function registryOf(image: string): string {
  const first = image.split('/')[0]!
  if (!image.includes('/') || (!first.includes('.') && !first.includes(':') && first !== 'localhost'))
    return 'index.docker.io'
  return first
}

/** The cause of a failed pull without the wrapping of every layer that passed it on. */
function reasonOf(name: string, error: unknown): string {
  const text = messageOf(error)
  if (/not found|does not exist|pull access denied/i.test(text))
    return `${text}; check the name, or load it with "sampan image load FILE"`
  if (/dial tcp|no such host|i\/o timeout|connection refused|lookup /i.test(text))
    return `cannot reach the registry of ${name}: ${text}; load the image with "sampan image load FILE"`
  return text
}
