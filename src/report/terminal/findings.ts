import type { Finding, Place, Result } from '../../result/result.ts'
import { findingGroups } from '../findings.ts'
import { integer, layerName, printable } from '../format.ts'
import { type Page, severityMarks, severityPaint } from './page.ts'
import { shorten, textWidth, wrap, wrapWords } from './text.ts'

/** Findings of one rule shown before the rest is summed up. */
const findingsShown = 5

export function findings(result: Result, page: Page): string[][] {
  const { paint, width, verbose, rules } = page
  return findingGroups(result).map(({ rule, severity, findings: group }) => {
    const style = severityPaint(paint, severity)
    const name = shorten(printable(rule), width - 24)
    const tally = group.length > 1 ? `${integer(group.length)} × ${severity}` : severity
    const space = ' '.repeat(Math.max(1, width - 2 - textWidth(name) - textWidth(tally)))
    const summary = rules.get(rule)?.summary
    const shown = verbose || group.length <= findingsShown + 1 ? group : group.slice(0, findingsShown)
    const rest = group.length - shown.length
    return [
      `${style(severityMarks[severity])} ${paint.bold(name)}${space}${style(tally)}`,
      ...(summary ? wrap(summary, width - 2).map((line) => `  ${paint.dim(line)}`) : []),
      ...shown.flatMap((finding) => findingLines(finding, page)),
      ...(rest > 0
        ? wrap(`… and ${integer(rest)} more (--verbose)`, width - 2).map((line) => `  ${paint.dim(line)}`)
        : []),
    ]
  })
}

function findingLines({ message, at, path }: Finding, { paint, width, verbose }: Page): string[] {
  const inner = width - 4
  const place = at ? layerName(at.label) : '(the file)'
  const offset = at?.byteOffset === undefined ? '' : `byte ${integer(at.byteOffset)}`
  const detail = [at?.opType && printable(at.opType), offset].filter(Boolean).join(', ')
  const name = shorten(place, inner)
  const room = inner - textWidth(name)
  return [
    '',
    `  ${paint.bold(name)}${detail && room > 8 ? `  ${paint.dim(shorten(detail, room))}` : ''}`,
    ...wrap(printable(message), inner).map((line) => `    ${line}`),
    ...(path && path.length > 0
      ? pathLines(path, inner, verbose).map((line) => `    ${paint.cyan(line)}`)
      : []),
  ]
}

/** Steps of a path shown at either end of one that is too long. */
const stepsShown = 4

function pathLines(path: readonly Place[], width: number, verbose: boolean): string[] {
  const step = ({ label, opType }: Place) => {
    const name = layerName(label)
    return shorten(
      opType === '' || name.includes(opType) ? name : `${name} (${printable(opType)})`,
      width - 2,
    )
  }
  const long = !verbose && path.length > 2 * stepsShown + 1
  const steps = long
    ? [
        ...path.slice(0, stepsShown).map(step),
        `… ${integer(path.length - 2 * stepsShown)} more …`,
        ...path.slice(-stepsShown).map(step),
      ]
    : path.map(step)
  return wrapWords(
    steps.map((text, i) => (i === 0 ? text : `→ ${text}`)),
    width,
  )
}
