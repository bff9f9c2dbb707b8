// Fields that come from elsewhere than a message's head. Pure.

import { isFieldName, isFieldValue, utf8 } from '#wire'

/** Fields that somebody has told us as texts, without those that no message can bear; `pseudo`: ":path" and its like too. */
export function toldFields(told: readonly string[], pseudo = false): string[] {
  const fields: string[] = []
  for (let i = 0; i < told.length; i += 2) {
    const value = utf8(told[i + 1]!)
    const name = told[i]!
    if (isFieldName(pseudo ? name.replace(/^:/, '') : name) && isFieldValue(value)) fields.push(name, value)
  }
  return fields
}
