// What JSON.parse does not tell of a text: fields that stand twice in an object, and how deep it nests.

const QUOTE = 34
const BACKSLASH = 92
const OPEN_LIST = 91
const CLOSE_LIST = 93
const OPEN_OBJECT = 123
const CLOSE_OBJECT = 125
const COMMA = 44

/** Objects and lists within each other at most. */
export const MAX_DEPTH = 1000

interface Level {
  /** Keys seen so far; undefined in a list. */
  readonly keys: string[] | undefined
  index: number
}

export interface JsonScan {
  /** Paths of fields that were given before in their object, in order: "spec.containers[0].image". */
  readonly duplicates: string[]
  readonly depth: number
}

/**
 * Walks over a valid JSON text once. `onField` is called with the path of every field, in order.
 * Stops early when the text is deeper than `MAX_DEPTH`.
 */
export function scanJson(text: string, onField?: (path: string) => void): JsonScan {
  const duplicates: string[] = []
  const levels: Level[] = []
  let depth = 0
  let keyExpected = false
  const pathOf = () => {
    let path = ''
    for (const level of levels)
      path += level.keys ? `${path ? '.' : ''}${level.keys[level.keys.length - 1]}` : `[${level.index}]`
    return path
  }
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const start = i + 1
        let plain = true
        for (i = start; i < text.length; i++) {
          const c = text.charCodeAt(i)
          if (c === QUOTE) break
          if (c === BACKSLASH) {
            plain = false
            i++
          }
        }
        if (!keyExpected) break
        keyExpected = false
        const key = plain ? text.slice(start, i) : (JSON.parse(text.slice(start - 1, i + 1)) as string)
        const { keys } = levels[levels.length - 1]!
        const again = keys!.includes(key)
        keys!.push(key)
        if (again) duplicates.push(pathOf())
        onField?.(pathOf())
        break
      }
      case OPEN_OBJECT:
      case OPEN_LIST: {
        const list = text.charCodeAt(i) === OPEN_LIST
        levels.push({ keys: list ? undefined : [], index: 0 })
        depth = Math.max(depth, levels.length)
        if (depth > MAX_DEPTH) return { duplicates, depth }
        keyExpected = !list
        break
      }
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        levels.pop()
        keyExpected = false
        break
      case COMMA: {
        const level = levels[levels.length - 1]
        if (!level) break
        if (level.keys) keyExpected = true
        else level.index++
      }
    }
  }
  return { duplicates, depth }
}
