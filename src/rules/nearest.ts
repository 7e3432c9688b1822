/** Edits beyond which two words are taken for different ones rather than for a slip. */
const slips = (word: string): number => Math.max(2, Math.floor(word.length / 3))

/** At most three of `candidates` that `word` may have been meant to be, the most likely first. */
export function nearest(word: string, candidates: readonly string[]): string[] {
  const wanted = bare(word)
  return candidates
    .map((candidate) => {
      const known = bare(candidate)
      const contained = wanted.length >= 3 && known.includes(wanted)
      return { candidate, distance: contained ? 1 : distance(wanted, known) }
    })
    .filter(({ distance }) => distance <= slips(word))
    .toSorted((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ candidate }) => candidate)
}

/** Letters and digits only: hyphens and capitals are what people forget. */
const bare = (word: string): string => word.toLowerCase().replace(/[^a-z\d]/g, '')

/** `; did you mean 'a' or 'b'?`, or nothing where no candidate is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const near = nearest(word, candidates).map((candidate) => `'${candidate}'`)
  if (near.length === 0) return ''
  const last = near.pop()
  return `; did you mean ${near.length > 0 ? `${near.join(', ')} or ` : ''}${last}?`
}

/** Insertions, removals, replacements and swaps of neighbours that make `b` of `a` (optimal string alignment). */
function distance(a: string, b: string): number {
  let [before, row] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min(row[j]! + 1, next[j - 1]! + 1, replaced)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, before[j - 2]! + 1)
      next.push(least)
    }
    ;[before, row] = [row, next]
  }
  return row[b.length]!
}
