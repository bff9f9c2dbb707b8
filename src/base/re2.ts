// RE2's regular expressions: linear in the length of the text, whoever wrote the pattern.

import { RE2JS } from 're2js'

/** A compiled pattern. */
export interface Re2 {
  /** True when the whole text matches, as Envoy matches. */
  matches(text: string): boolean
  /** Replaces every match; `\1` in the substitution is the first group, `\0` all of the match. */
  replaceAll(text: string, substitution: string): string
}

/** Compiles a pattern in RE2's syntax. Throws an Error that says what is wrong with it. */
export function compileRe2(pattern: string): Re2 {
  const re = RE2JS.compile(pattern)
  return {
    matches: (text) => re.matches(text),
    replaceAll: (text, substitution) =>
      re.matcher(text).replaceAll(substitution.replaceAll('$', '\\$').replace(/\\(\d)/g, '$$$1')),
  }
}
