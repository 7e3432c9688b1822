const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█']
const levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']

/** A horizontal bar of `share` (0 to 1) of `width` columns, in steps of an eighth. */
export function bar(share: number, width: number): string {
  const steps = Math.round(Math.min(1, Math.max(0, share)) * width * 8)
  return '█'.repeat(Math.floor(steps / 8)) + eighths[steps % 8]
}

/** One mark per value, each 0 to 1; with more values than `width`, a mark shows the largest of its group. */
export function sparkline(shares: readonly number[], width: number): string {
  const marks = Math.min(shares.length, Math.max(1, width))
  let line = ''
  for (let i = 0; i < marks; i++) {
    const group = shares.slice(
      Math.floor((i * shares.length) / marks),
      Math.floor(((i + 1) * shares.length) / marks),
    )
    const share = Math.min(1, Math.max(0, ...group))
    line += levels[Math.min(levels.length - 1, Math.floor(share * levels.length))]
  }
  return line
}
