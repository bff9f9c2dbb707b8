// The verbs on resources: what every client, in-process or over HTTPS, ends up calling.

import {
  applyDefaults,
  checkShape,
  errors,
  type FieldError,
  groupResource,
  groupVersion,
  isAlreadyExists,
  type Json,
  type KindRegistry,
  type KubeInput,
  type KubeObject,
  keyOf,
  pruneShape,
  qosClass,
  type ResourceKind,
  storedKind,
  trackUpdate,
  validate,
} from '#api'
import { type Clock, rfc3339 } from '#base'
import { CacheEntry } from './cache-entry.ts'
import { completeCustom, prunedCustom, validateCustom, validateDefinition } from './custom-resources.ts'
import { type DeleteOptions, deletionComplete, planDeletion } from './deletion.ts'
import { notesOn } from './http-io.ts'
import type { Admission, AdmissionRequest, RequestContext } from './identity.ts'
import { editable, type ObjectStore } from './object-store.ts'
import { checkIdentity, prepareCreate, prepareUpdate, unchanged, validateMetadata } from './strategy.ts'
import { fromVersion, versionViews } from './versions.ts'

export interface ResourcesOptions {
  store: ObjectStore
  registry: KindRegistry
  clock: Clock
  admission?: readonly Admission[]
}

/** Create, update and delete with everything Kubernetes does around them; reads go to the caches. */
export class Resources {
  readonly store: ObjectStore
  readonly registry: KindRegistry
  readonly clock: Clock
  readonly #admission: Admission[]

  constructor(options: ResourcesOptions) {
    this.store = options.store
    this.registry = options.registry
    this.clock = options.clock
    this.#admission = [...(options.admission ?? [])]
  }

  /** Adds a step of admission behind those that are there. */
  addAdmission(step: Admission): void {
    this.#admission.push(step)
  }

  /** Creates an object sent in the version `version`; returns what is stored. */
  async create(
    version: ResourceKind,
    namespace: string,
    body: KubeInput,
    context: RequestContext,
  ): Promise<CacheEntry> {
    checkIdentity(version, body, namespace, '')
    const kind = storedKind(version)
    const input = this.#stored(version, this.checkFields(version, body, context))
    if (input.metadata.resourceVersion)
      throw errors.badRequest('resourceVersion should not be set on objects to be created')
    for (let attempt = 0; ; attempt++) {
      const object = prepareCreate(kind, input, namespace, rfc3339(this.clock.now()))
      const request: AdmissionRequest = {
        kind,
        operation: 'CREATE',
        subresource: '',
        namespace,
        context,
        object: editable(object),
      }
      let stored = false
      try {
        await this.#admit(request)
        // Admission may have added containers.
        if (groupResource(kind) === 'pods') request.object.status.qosClass = qosClass(request.object.spec)
        this.#track(version, undefined, request.object, input, context, '')
        if (context.dryRun) {
          if ((await this.store.cache(kind)).entry(keyOf(request.object)))
            throw errors.alreadyExists(kind, request.object.metadata.name)
          return CacheEntry.unstored(request.object)
        }
        const entry = await this.store.create(kind, request.object)
        stored = true
        return entry
      } catch (error) {
        // A generated name that is taken is generated again.
        if (!isAlreadyExists(error) || input.metadata.name || attempt >= 7) throw error
      } finally {
        this.#settle(request, stored)
      }
    }
  }

  async get(kind: ResourceKind, namespace: string, name: string): Promise<KubeObject> {
    return (await this.store.get(kind, namespace, name)).object
  }

  /** Replaces an object (or its status). Without a resourceVersion the newest state is replaced. */
  async update(
    kind: ResourceKind,
    namespace: string,
    name: string,
    input: KubeInput,
    context: RequestContext,
    subresource = '',
  ): Promise<CacheEntry> {
    checkIdentity(kind, input, namespace, name)
    const known = this.checkFields(kind, input, context)
    return this.modify(kind, namespace, name, context, () => known, subresource)
  }

  /**
   * Read, change, write. `change` gets the stored object and returns what a client would PUT; it is
   * called again when somebody else was faster, unless it asked for a resourceVersion. What it
   * returns is in the version `version`.
   */
  async modify(
    version: ResourceKind,
    namespace: string,
    name: string,
    context: RequestContext,
    change: (current: KubeObject) => KubeInput | Promise<KubeInput>,
    subresource = '',
  ): Promise<CacheEntry> {
    const kind = storedKind(version)
    const resource = groupResource(kind)
    let preview: KubeObject | undefined
    const tries: AdmissionRequest[] = []
    let stored = false
    const next = async (current: KubeObject): Promise<KubeObject | undefined> => {
      const changed = await change(current)
      if (changed === current) return current
      const input = this.#stored(version, changed)
      const wanted = input.metadata.resourceVersion
      if (wanted && wanted !== current.metadata.resourceVersion)
        throw errors.conflict(
          kind,
          name,
          'the object has been modified; please apply your changes to the latest version and try again',
        )
      if (input.metadata.uid && input.metadata.uid !== current.metadata.uid)
        throw errors.conflict(
          kind,
          name,
          `Precondition failed: UID in precondition: ${input.metadata.uid}, UID in object meta: ${current.metadata.uid}`,
        )
      const object = editable(prepareUpdate(kind, current, input, subresource))
      const request: AdmissionRequest = {
        kind,
        operation: 'UPDATE',
        subresource,
        namespace,
        context,
        object,
        old: current,
      }
      tries.push(request)
      await this.#admit(request)
      const owned = this.#track(version, current, object, input, context, subresource)
      preview = object
      if (context.dryRun || (!owned && unchanged(current, object))) return current
      return deletionComplete(resource, object) ? undefined : object
    }
    try {
      const { entry } = await this.store.modify(kind, namespace, name, next)
      stored = !context.dryRun
      return context.dryRun && preview ? CacheEntry.unstored(preview) : entry
    } finally {
      const last = tries.pop()
      for (const request of tries) this.#settle(request, false)
      if (last) this.#settle(last, stored)
    }
  }

  /** Deletes; `removed` tells whether the object is gone already. */
  async delete(
    version: ResourceKind,
    namespace: string,
    name: string,
    options: DeleteOptions,
    context: RequestContext,
  ): Promise<{ entry: CacheEntry; removed: boolean }> {
    const kind = storedKind(version)
    const resource = groupResource(kind)
    if (resource === 'namespaces' && PROTECTED.has(name))
      throw errors.forbidden(kind, name, 'this namespace may not be deleted')
    return this.store.modify(kind, namespace, name, async (current) => {
      const { uid, resourceVersion } = options.preconditions ?? {}
      if (uid && uid !== current.metadata.uid)
        throw errors.conflict(
          kind,
          name,
          `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`,
        )
      if (resourceVersion && resourceVersion !== current.metadata.resourceVersion)
        throw errors.conflict(
          kind,
          name,
          `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${current.metadata.resourceVersion}`,
        )
      const next = planDeletion(resource, current, options, this.clock.now())
      return context.dryRun ? current : next
    })
  }

  /** Removes the server's own hold on a namespace; it goes away when nothing else holds it. */
  async finalizeNamespace(name: string): Promise<void> {
    const kind = this.registry.resource('', 'v1', 'namespaces')!
    await this.store.modify(kind, '', name, (current) => {
      const next = { ...current, spec: { ...current.spec, finalizers: [] } }
      return deletionComplete('namespaces', next) ? undefined : next
    })
  }

  /** Runs admission, defaults and validation on a write; fails with Invalid or what a step throws. */
  async #admit(request: AdmissionRequest): Promise<void> {
    const { kind, object, old } = request
    const resource = groupResource(kind)
    const main = request.subresource === ''
    const shaped = main || kind.custom !== undefined || VALIDATED_SUBRESOURCES.has(request.subresource)
    if (kind.custom) completeCustom(kind, object)
    if (shaped) applyDefaults(resource, object)
    for (const step of this.#admission) {
      const work = step.mutate?.(request)
      // Most steps have nothing to wait for.
      if (work) await work
    }
    if (shaped) applyDefaults(resource, object)
    const problems: FieldError[] = validateMetadata(kind, object)
    if (shaped)
      problems.push(
        ...(kind.custom
          ? validateCustom(kind, object)
          : validate(main ? resource : `${resource}/${request.subresource}`, object, old)),
        ...(resource === 'customresourcedefinitions.apiextensions.k8s.io' ? validateDefinition(object, old) : []),
      )
    for (const step of this.#admission) {
      const found = step.validate?.(request)
      if (found) problems.push(...(await found))
    }
    if (problems.length > 0) throw errors.invalid(kind.kind, kind.group, object.metadata.name, problems)
    for (const step of this.#admission) warnOf(request.context, step.warn?.(request))
  }

  #settle(request: AdmissionRequest, stored: boolean): void {
    for (const step of this.#admission) step.settle?.(request, stored)
  }

  /** What a client sent in a version, as it is stored. What a conversion made must have the stored version's shape. */
  #stored(version: ResourceKind, sent: KubeInput): KubeInput {
    const input = fromVersion(version, sent)
    const stored = storedKind(version)
    if (input === sent || !stored.model || version.model === stored.model) return input
    const { types } = checkShape(input, stored.model)
    if (types.length > 0)
      throw errors.badRequest(
        `${version.kind} in version "${version.version}" cannot be handled as a ${stored.kind} of ${groupVersion(stored)}: json: ${types[0]}`,
      )
    return input
  }

  /** Writes down who owns the fields that a write changed; true when it knows that there are some. */
  #track(
    version: ResourceKind,
    before: KubeObject | undefined,
    after: KubeObject,
    input: KubeInput,
    context: RequestContext,
    subresource: string,
  ): boolean {
    const given = input.metadata.managedFields
    if (context.operation === 'Apply') {
      if (given) after.metadata.managedFields = given
      return false
    }
    if (!context.fieldManager) {
      // The program's own parts own nothing and leave the record as it is.
      if (!before) delete after.metadata.managedFields
      return false
    }
    const manager = {
      name: context.fieldManager,
      operation: context.operation,
      apiVersion: groupVersion(version),
      subresource,
      time: rfc3339(this.clock.now()),
    }
    const owners = trackUpdate(
      before,
      before
        ? { ...after, metadata: { ...after.metadata, ...(given ? { managedFields: given as unknown[] } : {}) } }
        : after,
      manager,
      versionViews(storedKind(version), this.registry),
    )
    if (owners.length > 0) after.metadata.managedFields = owners
    else delete after.metadata.managedFields
    // The record is the same one when nothing anybody owns has changed.
    return owners !== given && owners !== before?.metadata.managedFields
  }

  /**
   * Checks the shape of what a client sent, as strictly as it asked for, and returns it without the fields
   * its kind does not know. `sent` is the body it came in, a patch perhaps.
   */
  checkFields<T extends object>(kind: ResourceKind, input: T, context: RequestContext, sent: object = input): T {
    const { object, unknown } = kind.custom ? prunedCustom(kind, input) : this.#prunedBuiltIn(kind, input)
    if (context.fieldValidation === 'Ignore') return object as T
    const about = notesOn(sent)
    const within = (path: string) => unknown.some((u: string) => path === u || path.startsWith(`${u}.`))
    const twice = (about?.duplicates ?? []).filter((path) => kind.custom || !within(path))
    if (unknown.length === 0 && twice.length === 0) return object as T
    const say = (path: string) =>
      twice.includes(path)
        ? path.startsWith('line ')
          ? `yaml: unmarshal errors:\n  ${path}`
          : `duplicate field "${path}"`
        : `unknown field "${path}"`
    // Custom resources are read whole before they are compared with their schema.
    const paths = kind.custom
      ? [...twice, ...unknown]
      : ((about?.inOrder([...unknown, ...twice]) ?? unknown) as string[])
    const texts = [...new Set(paths)].map(say)
    if (context.fieldValidation === 'Strict')
      throw errors.badRequest(
        `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${texts.join(', ')}`,
      )
    warnOf(context, texts)
    return object as T
  }

  /** Fields of an object that its kind does not declare, as paths. */
  unknownFields(kind: ResourceKind, input: Json): string[] {
    return (kind.custom ? prunedCustom(kind, input) : this.#prunedBuiltIn(kind, input)).unknown
  }

  #prunedBuiltIn(kind: ResourceKind, input: Json): { object: Json; unknown: string[] } {
    if (!kind.model) return { object: input, unknown: [] }
    const { unknown, types } = checkShape(input, kind.model)
    if (types.length > 0)
      throw errors.badRequest(
        `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: ${decodeProblem(types[0]!, kind.kind)}`,
      )
    if (unknown.length === 0) return { object: input, unknown }
    const object = structuredClone(input)
    pruneShape(object, kind.model)
    return { object, unknown }
  }
}

/** A wrong type in the words of Go's decoder, which names the struct. */
function decodeProblem(text: string, kind: string): string {
  return text.startsWith('cannot unmarshal') ? `json: ${text.replace('field ', `field ${kind}.`)}` : text
}

/** A change that is tried again is warned of once. */
function warnOf({ warnings }: RequestContext, texts: readonly string[] = []): void {
  for (const text of texts) if (!warnings.includes(text)) warnings.push(text)
}

/** Subresources that change a spec, and so are defaulted and validated. */
const VALIDATED_SUBRESOURCES = new Set(['ephemeralcontainers', 'resize', 'approval'])
const PROTECTED = new Set(['default', 'kube-system', 'kube-public'])
