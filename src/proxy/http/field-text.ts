// Texts that come from elsewhere than a message's head, as values of fields. Pure.

import { isFieldName, isFieldValue } from '#wire'

/** A text's bytes in UTF-8, a character each: what is written as latin1 is then the text. */
export const utf8 = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what is not ASCII.
  /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')

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
