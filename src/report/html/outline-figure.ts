import type { Outline, Result } from '../../result/result.ts'
import { counted, integer, layerName, predictedTimes, times } from '../format.ts'
import type { LayerRow } from '../layers.ts'
import { html, type Markup } from './markup.ts'
import { layoutOutline, type OutlineLayout } from './outline-layout.ts'
import { ratioClass, ratioClasses } from './scales.ts'

type OutlineNode = Outline['nodes'][number]

interface Drawing {
  readonly layout: OutlineLayout
  readonly nodes: readonly OutlineNode[]
  readonly rows: ReadonlyMap<string, LayerRow>
  readonly onPath: ReadonlySet<number>
}

/**
 * The graph as a strip that runs from input to output and continues line by line like text, with the ways from noises to
 * norms drawn over it. Undefined if the result has no outline or no noise.
 */
export function outlineFigure({ outline, findings }: Result, rows: readonly LayerRow[]): Markup | undefined {
  if (!outline || outline.nodes.length === 0) return undefined
  const { nodes, edges } = outline
  const byKey = new Map(nodes.map(({ key }, i) => [key, i]))
  const edgeNames = new Set(edges.map(([a, b]) => `${a} ${b}`))
  const marked = new Set<string>()
  const onPath = new Set<number>()
  for (const { path } of findings) {
    const steps = (path ?? []).flatMap(({ key }) => byKey.get(key) ?? [])
    steps.forEach((node, i) => {
      onPath.add(node)
      const edge = `${steps[i - 1]} ${node}`
      if (i > 0 && edgeNames.has(edge)) marked.add(edge)
    })
  }
  const interest = new Set(onPath)
  nodes.forEach(({ kind }, i) => {
    if (kind === 'noise') interest.add(i)
  })
  if (interest.size === 0) return undefined
  const drawing: Drawing = {
    layout: layoutOutline(outline, { interest, marked }),
    nodes,
    rows: new Map(rows.map((row) => [row.key, row])),
    onPath,
  }
  return html`${draw(drawing, { width: 1040, least: 12, most: 28 })}
${draw(drawing, { width: 380, least: 11.5, most: 20 })}`
}

interface Size {
  readonly width: number
  /** Bounds of a column's width, in pixels. */
  readonly least: number
  readonly most: number
}

function draw({ layout, nodes, rows, onPath }: Drawing, { width, least, most }: Size): Markup {
  const edge = 14
  const inner = width - 2 * edge
  // Three lines at most if the columns need not be too small for it.
  const wished = Math.min(most, Math.max(least, (3 * inner) / Math.max(1, layout.columns)))
  const perLine = Math.floor(inner / wished)
  const pitch = Math.min(most, inner / Math.min(perLine, Math.max(1, layout.columns)))
  const lines = Math.max(1, Math.ceil(layout.columns / perLine))
  const laneHeight = Math.min(20, Math.max(11, pitch * 0.95))
  const deepest = Array.from({ length: lines }, () => 0)
  const lineOf = (column: number) => Math.min(lines - 1, Math.floor(column / perLine))
  const deepen = (column: number, lane: number) => {
    deepest[lineOf(column)] = Math.max(deepest[lineOf(column)]!, lane)
  }
  for (const { column, lane } of layout.nodes) deepen(column, lane)
  for (const { from, to } of layout.segments)
    for (let at = lineOf(from[0]); at <= lineOf(to[0]); at++)
      deepest[at] = Math.max(deepest[at]!, from[1], at === lineOf(to[0]) ? to[1] : 0)
  const tops: number[] = []
  let height = 28
  for (const depth of deepest) {
    tops.push(height)
    height += depth * laneHeight + 36
  }
  const x = (column: number) => round(edge + (column - lineOf(column) * perLine + 0.5) * pitch)
  const y = (column: number, lane: number) => round(tops[lineOf(column)]! + lane * laneHeight)
  const radius = Math.min(6.5, pitch * 0.36)

  const piece = ({ from, to }: OutlineLayout['segments'][number]): string => {
    const [a, laneA] = from
    const [b, laneB] = to
    if (a === b && laneA === laneB) return ''
    if (lineOf(a) === lineOf(b)) return bend(x(a), y(a, laneA), x(b), y(b, laneB))
    // Over the end of a line: on at the same height in the next.
    let text = ''
    for (let at = lineOf(a); at <= lineOf(b); at++) {
      const height = round(tops[at]! + laneA * laneHeight)
      const start = at === lineOf(a) ? x(a) : 2
      if (at < lineOf(b)) text += `M${start} ${height}H${width - 2}`
      else text += bend(start, height, x(b), y(b, laneB))
    }
    return text
  }
  const path = (marked: boolean) =>
    layout.segments
      .filter((segment) => segment.marked === marked)
      .map(piece)
      .join('')

  return html`<svg class="outline ${width < 600 ? 'narrow' : 'wide'}" viewBox="0 0 ${width} ${round(height - 18)}" role="img" aria-label="Outline of the graph with the ways from noise to batch normalization">
<path class="edge" d="${path(false)}"/>
<path class="edge marked" d="${path(true)}"/>
${layout.gaps.map(({ column, hidden }) => html`<g class="gap"><rect x="${round(x(column) - pitch * 1.3)}" y="${y(column, 0) - 8}" width="${round(pitch * 2.6)}" height="16" rx="8"/><text x="${x(column)}" y="${y(column, 0) + 4}" text-anchor="middle">⋯<title>${counted(hidden, 'node')} left out</title></text></g>`)}
${layout.nodes.map(({ node, column, lane }) =>
  glyph(nodes[node]!, {
    x: x(column),
    y: y(column, lane),
    r: radius,
    row: rows.get(nodes[node]!.key),
    onPath: onPath.has(node),
    above: lane === 0,
  }),
)}
</svg>`
}

function bend(x1: number, y1: number, x2: number, y2: number): string {
  if (y1 === y2) return `M${x1} ${y1}H${x2}`
  const middle = round((x1 + x2) / 2)
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`
}

interface Place {
  readonly x: number
  readonly y: number
  readonly r: number
  readonly row: LayerRow | undefined
  readonly onPath: boolean
  /** Where to write the number of a norm: above the trunk, below elsewhere, so that it is clear of the edges. */
  readonly above: boolean
}

function glyph({ kind, label, opType }: OutlineNode, { x, y, r, row, onPath, above }: Place): Markup {
  const title = html`<title>${layerName(label)}${opType && ` (${opType})`}${row && ratioWords(row)}</title>`
  const s = (value: number) => round(value)
  const state = onPath ? ' on' : ''
  switch (kind) {
    case 'noise':
      return html`<path class="n-noise${state}" d="M${x} ${s(y - r * 1.25)}l${s(r * 1.25)} ${s(r * 1.25)}l${s(-r * 1.25)} ${s(r * 1.25)}l${s(-r * 1.25)} ${s(-r * 1.25)}z">${title}</path>`
    case 'norm':
      return html`<rect class="n-norm ${colourOf(row)}${state}" x="${s(x - r)}" y="${s(y - r)}" width="${s(2 * r)}" height="${s(2 * r)}" rx="1">${title}</rect>${row && html`<text class="n-index" x="${x}" y="${s(above ? y - r - 4 : y + r + 10)}" text-anchor="middle">${row.index}</text>`}`
    case 'weight':
      return html`<circle class="n-weight${state}" cx="${x}" cy="${y}" r="${s(r * 0.8)}">${title}</circle>`
    case 'merge':
      return html`<g class="n-merge${state}"><circle cx="${x}" cy="${y}" r="${s(r * 0.8)}">${title}</circle><path d="M${s(x - r * 0.4)} ${y}h${s(r * 0.8)}M${x} ${s(y - r * 0.4)}v${s(r * 0.8)}"/></g>`
    case 'pool':
      return html`<path class="n-pool${state}" d="M${s(x - r * 0.8)} ${s(y - r * 0.7)}h${s(r * 1.6)}l${s(-r * 0.8)} ${s(r * 1.4)}z">${title}</path>`
    case 'input':
    case 'output':
      return html`<rect class="n-end" x="${s(x - 1.5)}" y="${s(y - r * 1.3)}" width="3" height="${s(r * 2.6)}">${title}</rect><text class="n-name" x="${x}" y="${s(y + r * 1.3 + 12)}" text-anchor="${x < 40 ? 'start' : 'end'}">${kind}</text>`
    default:
      return html`<circle class="n-small${state}" cx="${x}" cy="${y}" r="${s(Math.max(1.8, r * 0.36))}">${title}</circle>`
  }
}

function ratioWords({ index, before, predicted, norm }: LayerRow): string {
  if (before) return `, number ${integer(index)}: real / stored variance ${times(before.realOverStored)}`
  return predicted === undefined
    ? `, number ${integer(index)}`
    : `, number ${integer(index)}: predicted ${predictedTimes(norm?.prediction)}`
}

function colourOf(row: LayerRow | undefined): string {
  if (!row?.before && !row?.norm?.prediction) return 'hn'
  return `h${ratioClass(row.before?.realOverStored ?? row.norm?.prediction?.layerRatio) ?? 'x'}`
}

export function outlineLegend(): Markup {
  const key = (mark: Markup, text: string) =>
    html`<li><svg class="key" viewBox="0 0 22 14" aria-hidden="true" focusable="false">${mark}</svg>${text}</li>`
  return html`<ul class="legend">${key(html`<path class="n-noise" d="M11 1l6 6l-6 6l-6 -6z"/>`, 'noise')}${key(html`<rect class="n-norm h${(ratioClasses - 1) / 2 - 3}" x="6" y="2" width="10" height="10" rx="1"/>`, 'batch normalization, coloured by its ratio, with its number')}${key(html`<circle class="n-weight" cx="11" cy="7" r="4.4"/>`, 'convolution, dense')}${key(html`<g class="n-merge"><circle cx="11" cy="7" r="4.8"/><path d="M8.6 7h4.8M11 4.6v4.8"/></g>`, 'add, concatenate')}${key(html`<path class="n-pool" d="M6.5 3.5h9l-4.5 7.5z"/>`, 'pool')}${key(html`<circle class="n-small" cx="11" cy="7" r="2.2"/>`, 'activation, other')}${key(html`<path class="edge marked" d="M1 7H21"/>`, 'way from noise to normalization')}</ul>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
