// Rules of VirtualServices that follow one which takes everything, and conditions said twice (IST0130, IST0131).

import { unreachableRules } from '../validation/reachability.ts'
import type { World } from './world.ts'

/** Reports rules nobody reaches and conditions that have no effect. */
export function unreachable(world: World): void {
  for (const vs of world.of('VirtualService'))
    unreachableRules(vs.spec ?? {}, {
      unused: (rule, why, path) =>
        world.report('UNREACHABLE', vs, `VirtualService rule ${rule} not used (${why}).`, path),
      ineffective: (rule, match, other, path) =>
        world.report(
          'INEFFECTIVE_MATCH',
          vs,
          `VirtualService rule ${rule} match ${match} is not used (duplicate/overlapping match in rule ${other}).`,
          path,
        ),
    })
}
