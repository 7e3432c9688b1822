import { createInterface } from 'node:readline'

/** Answers bench/train.ts: a line of readiness (or why not), then for every line of stdin milliseconds and MiB. */
export async function serve(prepare) {
  const cannot = (error) => {
    console.log('cannot', String(error?.message ?? error).replace(/\s+/g, ' '))
    process.exit(0)
  }
  const { release, step } = await prepare().catch(cannot)
  console.log('ready', release)
  for await (const _ of createInterface({ input: process.stdin })) {
    const started = performance.now()
    await Promise.resolve().then(step).catch(cannot)
    console.log(performance.now() - started, process.resourceUsage().maxRSS / 1024)
  }
  process.exit(0)
}

/** Numbers between -bound and bound, the same in each run. */
export function uniform(count, bound) {
  let state = 1
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state / 2 ** 31 - 1) * bound
  })
}
