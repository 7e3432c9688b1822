import type { Result } from '../result/result.ts'
import { integer, printable } from './format.ts'
import { levelCounts } from './verdict.ts'

/** A command worth typing next, and why. */
export interface Step {
  readonly command: string
  readonly why: string
}

/** What to do about a result: at most three commands, the most useful first. */
export function nextSteps(result: Result): Step[] {
  const model = quoted(result.model.path)
  switch (result.command) {
    case 'check': {
      const rule = result.findings[0]?.rule
      const exposed = result.norms.some(({ exposures }) => exposures.length > 0)
      return [
        ...(exposed
          ? [
              {
                command: `varshift measure ${model} --data DATA`,
                why: 'see how far each layer really shifts',
              },
              {
                command: `varshift fix ${model} --data DATA -o FIXED`,
                why: 're-estimate the statistics with the noise off',
              },
            ]
          : []),
        ...(rule
          ? [
              {
                command: `varshift check --explain ${quoted(rule)}`,
                why: 'what the rule means and when to ignore it',
              },
            ]
          : []),
      ]
    }
    case 'measure': {
      if (!result.measurement) return []
      const { shifted, strong, unclear } = levelCounts(result.measurement)
      if (shifted + strong > 0)
        return [
          {
            command: `varshift fix ${model} --data DATA -o FIXED`,
            why: 're-estimate the statistics with the noise off',
          },
        ]
      const needed = Math.max(
        ...result.measurement.layers
          .filter(({ enoughSamples }) => !enoughSamples)
          .map(({ samplesNeeded }) => samplesNeeded ?? 0),
      )
      if (unclear === 0) return []
      const more = needed > 0 ? ` (about ${integer(needed)})` : ''
      return [{ command: `varshift measure ${model} --data DATA`, why: `again, with more samples${more}` }]
    }
    case 'fix': {
      const { outcome, output, noises } = result.repair ?? {}
      const isNoisy = result.model.format === 'onnx' && noises?.some(({ to }) => to !== null)
      if ((outcome === 'kept' || outcome === 'forced') && output)
        return [
          {
            command: `varshift compare ${model} ${quoted(output)} --data TEST`,
            why: 'judge it on data that it was not repaired with',
          },
          ...(isNoisy
            ? [
                {
                  command: `varshift fix ${quoted(output)} --repair eval-mode -o FIXED`,
                  why: 'for use: runtimes draw the new noise wherever the file has it switched on',
                },
              ]
            : []),
        ]
      if (outcome === 'rejected')
        return [
          { command: `varshift fix ${model} --data DATA -o FIXED --force`, why: 'write it all the same' },
        ]
      return []
    }
    case 'compare':
      return []
    case 'train': {
      const output = result.training?.output
      if (!output) return []
      const exposed = result.norms.some(({ exposures }) => exposures.length > 0)
      return exposed
        ? [
            {
              command: `varshift measure ${quoted(output)} --data DATA`,
              why: 'see how far each layer shifts between train and eval mode',
            },
          ]
        : []
    }
  }
}

/** A path as a shell takes it; what cannot be typed is made visible, so the line is safe to show. */
function quoted(path: string): string {
  const text = printable(path)
  return /^[\w./:@%+=,-]+$/.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", "'\\''")}'`
}
