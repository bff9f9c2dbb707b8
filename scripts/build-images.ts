// Builds the images that come with the program, unless they are current.

import { buildBundledImages } from '../src/app/bundled-images.ts'

const begin = Date.now()
if (await buildBundledImages())
  process.stderr.write(`built the bundled images in ${((Date.now() - begin) / 1000).toFixed(1)} s\n`)
