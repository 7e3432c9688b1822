import type { Measurement, Result } from '../../result/result.ts'
import { counted, integer, layerName, percent, percentInterval, ratio, ratioInterval } from '../format.ts'
import { type LayerRow, worstLayer } from '../layers.ts'
import { levelCounts, severityCounts, severityTally } from '../verdict.ts'
import { notesOf } from '../words.ts'
import { html, type Markup } from './markup.ts'
import type { Page } from './page.ts'

function fact(label: string, value: Markup | string, detail?: Markup | string): Markup {
  return html`<div><dt>${label}</dt><dd class="value">${value}</dd>${detail ? html`<dd class="detail">${detail}</dd>` : ''}</div>
`
}

function change(from: string, to: string): Markup {
  return html`<span class="from">${from}</span><span class="arrow" aria-label="to"> → </span><span class="to">${to}</span>`
}

export function factsOf({ result, rows }: Page): Markup[] {
  const { measurement, after, comparison, model } = result
  const facts: Markup[] = []
  if (!measurement) {
    const counts = severityCounts(result)
    const exposed = rows.filter(({ reach }) => reach === 'direct' || reach === 'linear')
    const worst = rows.reduce<LayerRow | undefined>(
      (a, b) => ((b.predicted ?? 0) > (a?.predicted ?? 0) ? b : a),
      undefined,
    )
    facts.push(
      fact(
        'Findings',
        integer(result.findings.length),
        (['error', 'warning', 'info'] as const)
          .filter((severity) => counts[severity] > 0)
          .map((severity) => severityTally(counts[severity], severity))
          .join(', ') || 'none',
      ),
      fact(
        'Exposed layers',
        `${integer(exposed.length)} of ${integer(model.norms)}`,
        'noise arrives directly or through linear nodes',
      ),
      ...(worst
        ? [fact('Largest predicted shift ratio', ratio(worst.predicted), layerName(worst.label))]
        : []),
      fact('Noises', integer(model.noises), [...new Set(result.noises.map(({ kind }) => kind))].join(', ')),
    )
    return facts
  }
  const worst = worstLayer(measurement.layers)
  const worstAfter = after && worstLayer(after.layers)
  if (worst)
    facts.push(
      worstAfter
        ? fact(
            'Largest shift ratio',
            change(ratio(worst.shiftRatio), ratio(worstAfter.shiftRatio)),
            layerName(worst.label),
          )
        : fact(
            'Largest shift ratio',
            ratio(worst.shiftRatio),
            `${layerName(worst.label)}, 95 %: ${ratioInterval(worst.shiftRatioInterval)}`,
          ),
    )
  const shifting = ({ layers }: Measurement) => {
    const { shifted, strong } = levelCounts({ layers } as Measurement)
    return integer(shifted + strong)
  }
  const unclear = levelCounts(after ?? measurement).unclear
  const among = `of ${counted(measurement.layers.length, 'layer')}${unclear > 0 ? `; ${integer(unclear)} unclear` : ''}`
  facts.push(
    fact(
      'Layers that shift',
      after ? change(shifting(measurement), shifting(after)) : shifting(measurement),
      `${among} (ratio 1.1 or more)`,
    ),
  )
  const score = measurement.modes.eval
  const scoreAfter = after?.modes.eval
  if (score.accuracy !== undefined)
    facts.push(
      scoreAfter?.accuracy === undefined
        ? fact(
            'Accuracy',
            percent(score.accuracy),
            score.accuracyInterval && `95 %: ${percentInterval(score.accuracyInterval)}`,
          )
        : fact(
            'Accuracy',
            change(percent(score.accuracy), percent(scoreAfter.accuracy)),
            scoreAfter.accuracyInterval && `95 %: ${percentInterval(scoreAfter.accuracyInterval)}`,
          ),
    )
  const agreement =
    comparison?.agreement ??
    measurement.modes.agreements.find(({ a, b }) => [a, b].includes('train') && [a, b].includes('eval'))
  if (agreement && !(after && !comparison))
    facts.push(
      fact(
        'Same answer',
        percent(agreement.top1),
        comparison ? 'in both models, eval mode' : 'in train and eval mode',
      ),
    )
  facts.push(fact('Samples', integer(measurement.data.samples), measurement.data.name))
  return facts
}

export function notesList(result: Result): Markup | undefined {
  const notes = notesOf(result)
  if (notes.length === 0) return undefined
  return html`<ul class="notes" aria-label="Notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>`
}
