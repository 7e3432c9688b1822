import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fuzzTargets, tryFile } from './fuzz.ts'

/** Of memory that the whole process may take more for files below a megabyte, most of it the libraries'. */
const maxGrowthBytes = 500e6
const peakBytes = () => process.resourceUsage().maxRSS * 1024

test.each(['keras', 'keras-h5', 'tfjs', 'pt2', 'state-dict'])(
  'damaged files of the format %s are read or refused in one line',
  async (name) => {
    const target = fuzzTargets[name]!
    const before = peakBytes()
    let read = 0
    let files = 0
    await fc.assert(
      fc.asyncProperty(target.bytes, async (bytes) => {
        files++
        if (await tryFile(target, bytes)) read++
      }),
      { seed: 3, numRuns: 60 },
    )
    // Neither did all of them come to nothing, nor was none damaged.
    expect(read).toBeGreaterThan(0)
    expect(read).toBeLessThan(files)
    expect(peakBytes() - before).toBeLessThan(maxGrowthBytes)
  },
  240_000,
)
