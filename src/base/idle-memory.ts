// A process at rest gives memory back: garbage, what the allocator keeps of it, and the program's pages that only
// its start or its work has used.

import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const MADV_DONTNEED = 4
/** A mapping of /proc/self/smaps: private, of a file, not writable. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +\/\S+$/m

/** Ranges of files that are in memory as they are on disk: nothing of them has been written to. */
function cleanRanges(smaps: string): [from: bigint, to: bigint][] {
  return smaps.split(/(?=^[0-9a-f]+-[0-9a-f]+ )/m).flatMap((entry): [bigint, bigint][] => {
    const m = MAPPING.exec(entry)
    const untouched = /^Anonymous: +0 kB$/m.test(entry) && /^Private_Dirty: +0 kB$/m.test(entry)
    return m && untouched ? [[BigInt(`0x${m[1]}`), BigInt(`0x${m[2]}`)]] : []
  })
}

const LOOK_MS = 2500
/** After this much work memory goes back as soon as there is none for the time of a look. */
const MUCH = 1000
/** After less it goes back this often at most, milliseconds: it costs more than such work does. */
const SELDOM_MS = 30_000

/**
 * Looks now and then whether work was done since; when there was some and none now, memory goes back: the first time at
 * once, for a start needs much that is never needed again, later when there was no work for `rest` milliseconds. What
 * comes next pays for it, some 10 ms once.
 */
export function giveBackMemoryAtRest(workDone: () => number, rest = LOOK_MS): void {
  let last = -1
  let since = 0
  let given = -1
  let next = 0
  const look = () => {
    const now = workDone()
    const time = performance.now()
    if (now !== last) {
      last = now
      since = time
      return
    }
    const quiet = given < 0 || time - since >= rest - LOOK_MS
    // Something was done since memory was given back.
    if (quiet && now !== given && (now - given >= MUCH || time >= next)) {
      given = now
      next = time + SELDOM_MS
      void giveBack()
    }
  }
  setInterval(look, LOOK_MS).unref()
}

/**
 * Collects garbage and drops the program's unchanged pages; what is still used comes back from the file by itself
 * (madvise(2), MADV_DONTNEED on private file mappings). Does nothing where that cannot be done.
 */
async function giveBack(): Promise<void> {
  try {
    setFlagsFromString('--expose-gc')
    ;(runInNewContext('gc') as () => void)()
    const koffi = (await import('koffi')).default
    const libc = koffi.load('libc.so.6')
    libc.func('int malloc_trim(size_t pad)')(0)
    const madvise = libc.func('int madvise(uintptr_t at, size_t length, int advice)')
    for (const [from, to] of cleanRanges(readFileSync('/proc/self/smaps', 'utf8')))
      madvise(from, to - from, MADV_DONTNEED)
  } catch {
    // Memory is all that is lost.
  }
}
