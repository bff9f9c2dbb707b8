// A copy of the embedded store in one file, taken while it is in use, and put back.

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SampanError } from '#base'
import { StoreErrors } from './contract.ts'
import { type Change, putOf } from './journal.ts'
import { journalIn, parseJournal, readJournal, syncDirectory, writeJournal } from './log-journal.ts'

/** A backup ends with this and the SHA-256 of everything before it. */
const TRAILER = Buffer.from('\nsampan-backup-1\n')
const HASH = 32
/** Files that are kept with the store stand among its keys, below this. */
const FILES = '/sampan/files/'
/**
 * Revisions a restored store is ahead of its backup: clients that saw later ones must list again, not take
 * new changes for those they know (etcd's --bump-revision, as Kubernetes' documentation has it).
 */
const BUMP = 1_000_000_000

/** What a backup holds. */
export interface BackupSummary {
  readonly revision: number
  readonly keys: number
  readonly bytes: number
  /** Of the whole content, in hexadecimal. */
  readonly sha256: string
}

/**
 * Writes the state of the store in `directory` to `target`, which appears whole or not at all. The store may be
 * in use: what was acknowledged before the call is in it. `files` by name are kept with it.
 * Fails with Corrupt when the store is damaged.
 */
export async function writeBackup(
  directory: string,
  target: string,
  files: ReadonlyMap<string, Uint8Array> = new Map(),
): Promise<BackupSummary> {
  const { items, revision } = readJournal(journalIn(directory))
  const draft = `${target}.new`
  const changes = items.map(putOf)
  for (const [name, value] of files)
    changes.push({ type: 'put', revision, key: FILES + name, value, createRevision: revision })
  const { file } = await writeJournal(draft, revision, changes)
  await file.close()
  const content = readFileSync(draft)
  const hash = createHash('sha256').update(content).digest()
  const end = await open(draft, 'a')
  await end.write(Buffer.concat([TRAILER, hash]))
  await end.sync()
  await end.close()
  renameSync(draft, target)
  syncDirectory(dirname(target))
  return { revision, keys: items.length, bytes: content.length, sha256: hash.toString('hex') }
}

/**
 * Puts a backup in the place of the store in `directory`, which must not be in use; returns the files that were
 * kept with it. Fails with Corrupt when the backup is not whole; nothing is changed then.
 */
export async function restoreBackup(
  source: string,
  directory: string,
): Promise<BackupSummary & { files: Map<string, Uint8Array> }> {
  const data = readFileSync(source)
  const end = data.length - TRAILER.length - HASH
  const damaged = (why: string) => new SampanError(StoreErrors.corrupt, `Cannot restore ${source}: ${why}`)
  if (end < 0 || !data.subarray(end, end + TRAILER.length).equals(TRAILER))
    throw damaged('it is not a backup, or its end is missing')
  const hash = createHash('sha256').update(data.subarray(0, end)).digest()
  if (!hash.equals(data.subarray(end + TRAILER.length)))
    throw damaged('its content does not match its SHA-256; take another copy of it')
  const { items, revision } = parseJournal(data.subarray(0, end), source)
  const files = new Map<string, Uint8Array>()
  const changes: Change[] = []
  for (const kv of items)
    if (kv.key.startsWith(FILES)) files.set(kv.key.slice(FILES.length), kv.value)
    else changes.push(putOf(kv))
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = journalIn(directory)
  const { file } = await writeJournal(`${path}.new`, revision + BUMP, changes)
  await file.close()
  renameSync(`${path}.new`, path)
  syncDirectory(directory)
  return { revision, keys: changes.length, bytes: end, sha256: hash.toString('hex'), files }
}
