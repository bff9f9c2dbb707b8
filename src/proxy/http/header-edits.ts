// Setting, adding and removing header fields as routes say.

import { isFieldValue } from '#wire'
import type { HeaderEdits } from '../config/model.ts'
import type { StreamInfo } from '../telemetry/stream-info.ts'
import { dropField, fieldOf, setField } from './request.ts'

/** Edits fields in place: those to be removed go first. */
export function editFields(fields: string[], { remove, edits }: HeaderEdits, info: StreamInfo): void {
  // All values are of what came, before any of it is changed.
  const values = edits.map(({ value }) => value(info, ''))
  for (const name of remove) dropField(fields, name)
  for (const [i, { name, action, keepEmpty }] of edits.entries()) {
    const text = values[i]!
    if (text === '' && !keepEmpty) continue
    // A line break in a value would end it.
    if (!isFieldValue(text)) continue
    if (action === 'append') fields.push(name, text)
    else if (action === 'set') setField(fields, name, text)
    else if ((fieldOf(fields, name) === undefined) === (action === 'addIfAbsent')) setField(fields, name, text)
  }
}
