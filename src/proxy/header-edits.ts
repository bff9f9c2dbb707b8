// Setting, adding and removing header fields. Pure.

import type { HeaderEdits } from './model.ts'

/** Fields after the edits: those to be removed go first, then values are set, then added. */
export function editFields(fields: readonly string[], edits: HeaderEdits): string[] {
  const gone = new Set([...edits.remove, ...edits.set.map(([name]) => name)])
  const result: string[] = []
  for (let i = 0; i < fields.length; i += 2) if (!gone.has(fields[i]!)) result.push(fields[i]!, fields[i + 1]!)
  for (const [name, value] of edits.set) result.push(name, value)
  for (const [name, value] of edits.add) result.push(name, value)
  return result
}
