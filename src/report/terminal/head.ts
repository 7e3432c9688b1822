import type { Result } from '../../result/result.ts'
import { bytes, counted, printable } from '../format.ts'
import type { Page } from './page.ts'
import { shorten, textWidth, wrapWords } from './text.ts'

export function head({ command, model, other, measurement }: Result, { paint, width }: Page): string[] {
  const title = `varshift ${command}`
  const paths = command === 'compare' && other ? [`A ${model.path}`, `B ${other.path}`] : [model.path]
  const room = Math.floor((width - textWidth(title) - 2 * paths.length) / paths.length)
  const names = paths.map((path) => paint.bold(shorten(printable(path), room)))
  const facts = [
    `${printable(model.format).toUpperCase()} opset ${model.opset}`,
    printable(model.producer),
    bytes(model.sizeBytes),
    counted(model.norms, 'batch normalization'),
    counted(model.noises, 'noise'),
    ...(measurement
      ? [`${counted(measurement.data.samples, 'sample')} of ${printable(measurement.data.name)}`]
      : []),
  ].filter((fact) => fact !== '')
  const joined = facts.map((fact, i) => shorten(i < facts.length - 1 ? `${fact} ·` : fact, width))
  return [`${paint.dim(title)}  ${names.join('  ')}`, ...wrapWords(joined, width).map(paint.dim)]
}
