import { UserError } from '../ir/errors.ts'
import type { Result } from '../result/result.ts'
import type { Console } from './console.ts'
import type { Settings } from './settings.ts'

export type Form = Settings['format']

const endings: Readonly<Record<string, Form>> = {
  '.json': 'json',
  '.sarif': 'sarif',
  '.html': 'html',
  '.htm': 'html',
  '.txt': 'terminal',
}

/** The form that a file's name asks for. Throws a UserError if its ending tells none. */
export function formOf(path: string): Form {
  const ending = /\.[^./\\]+$/.exec(path)?.[0].toLowerCase() ?? ''
  const form = path.toLowerCase().endsWith('.sarif.json') ? 'sarif' : endings[ending]
  if (form) return form
  throw new UserError(
    `cannot tell from the name '${path}' what to write; let it end in ${Object.keys(endings).join(', ')}`,
  )
}

/** Results as text: those of several models as a JSON array, as runs of one SARIF log, or one below the other. */
export async function render(
  results: readonly Result[],
  form: Form,
  console: Pick<Console, 'color' | 'width' | 'verbose'>,
): Promise<string> {
  switch (form) {
    case 'json':
      return `${JSON.stringify(results.length === 1 ? results[0] : results, undefined, 2)}\n`
    case 'terminal': {
      const { renderTerminal } = await import('../report/terminal.ts')
      const { color, width, verbose } = console
      const rules = await summaries()
      return results.map((result) => renderTerminal(result, { color, width, verbose, rules })).join('\n')
    }
    case 'sarif': {
      const { renderSarif } = await import('../report/sarif.ts')
      const rules = await summaries()
      const logs = results.map((result) => JSON.parse(renderSarif(result, rules)) as { runs: unknown[] })
      const runs = logs.flatMap((log) => log.runs)
      return `${JSON.stringify({ ...logs[0], runs }, undefined, 2)}\n`
    }
    case 'html': {
      const [result, ...others] = results
      if (!result || others.length > 0)
        throw new UserError(`an HTML report shows one model, got ${results.length}; run once for each`)
      const { renderHtml } = await import('../report/html.ts')
      return renderHtml(result, { rules: await summaries() })
    }
  }
}

async function summaries() {
  const [{ rules }, { summaryOf }] = await Promise.all([
    import('../rules/index.ts'),
    import('../rules/document.ts'),
  ])
  return rules.map(summaryOf)
}
