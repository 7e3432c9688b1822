import { scaleLinear, scaleLog } from 'd3-scale'
import { area, line } from 'd3-shape'
import type { StudyFigure } from '../../result/study.ts'
import { html, type Markup } from '../html/markup.ts'
import { figureText } from './words.ts'

type Point = StudyFigure['series'][number]['points'][number]

/** Colours of series, told apart by colour-blind readers too (Okabe and Ito), with a dash pattern and a mark each. */
const colours = ['#0b6aa8', '#c2480c', '#1a7a46', '#8b4a9e', '#8f5600', '#3d5a80', '#a0305a'] as const
const darkColours = ['#5cb3ea', '#f08c4e', '#5fc08a', '#c99ae0', '#e0ac4e', '#9db8dd', '#ee8fb4'] as const

export const studyStyle = `
${colours.map((colour, i) => `.s${i}{--s:${colour}}`).join('')}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){${darkColours.map((colour, i) => `& .s${i}{--s:${colour}}`).join('')}}}
:root[data-theme=dark]{${darkColours.map((colour, i) => `& .s${i}{--s:${colour}}`).join('')}}
.curve{fill:none;stroke:var(--s);stroke-width:2}.curve.dashed{stroke-dasharray:5 4;stroke-width:1.5}
.band{fill:var(--s);opacity:.14}.mark{fill:var(--s)}.mark.dashed{fill:var(--panel);stroke:var(--s)}
section.long thead th{white-space:normal;min-width:4em}section.long :is(th,td){padding:5px 8px}section.long tr>:first-child{padding-left:0}
.pictures{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:7px 14px;align-items:center;margin:10px 0 0;font-size:13px}
.pictures dd{display:flex;flex-wrap:wrap;gap:3px;margin:0}.pictures img{image-rendering:pixelated;width:46px;height:auto}
@media (max-width:640px){.pictures{grid-template-columns:1fr}}
.key{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:6px 0 0;padding:0;font-size:13px}
.key li{display:flex;align-items:center}.key svg{width:26px;height:10px;margin-right:6px}
section>ul{margin:6px 0 10px;padding-left:20px;max-width:82ch}.note{color:var(--soft);font-size:13.5px;max-width:92ch;overflow-wrap:anywhere}
`

/** Colour of each series: those that are named alike up to a comma share theirs. */
function coloursOf(series: StudyFigure['series']): number[] {
  const heads = series.map(({ name }) => name.split(',')[0]!)
  const distinct = [...new Set(heads)]
  return heads.map((head) => distinct.indexOf(head) % colours.length)
}

/** Curves with their bands; drawn twice, wide and narrow, of which the style sheet shows one. */
export function studyFigure(figure: StudyFigure): Markup {
  const colour = coloursOf(figure.series)
  return html`${drawing(figure, false)}${drawing(figure, true)}
<ul class="key">${figure.series.map(
    ({ name, dashed }, i) =>
      html`<li class="s${colour[i]!}"><svg viewBox="0 0 26 10" aria-hidden="true"><path class="curve ${dashed ? 'dashed' : ''}" d="M0 5H26"/></svg>${name}</li>`,
  )}</ul>`
}

function drawing({ title, x, y, series }: StudyFigure, narrow: boolean): Markup {
  const [width, height] = narrow ? [380, 260] : [1040, 360]
  const [left, right, top, bottom] = [narrow ? 44 : 64, 14, 26, 44]
  const colour = coloursOf(series)
  const points = series.flatMap((one) => one.points)
  const xs = points.map((point) => point.x)
  const ys = points
    .flatMap(({ y, low, high }) => [y, low, high])
    .filter((v): v is number => typeof v === 'number' && Number.isFinite(v))
  const toX = scaleOf(x.scale, xs, [left, width - right], 0.02)
  const toY = scaleOf(y.scale, ys, [height - bottom, top], 0.06)
  const curve = line<Point>()
    .defined(({ y }) => isShown(y))
    .x((point) => toX(point.x))
    .y((point) => toY(point.y!))
    .digits(1)
  const band = area<Point>()
    .defined(({ low, high }) => isShown(low) && isShown(high))
    .x((point) => toX(point.x))
    .y0((point) => toY(point.low!))
    .y1((point) => toY(point.high!))
    .digits(1)
  const yTicks = apart(toY.ticks(narrow ? 4 : 6), toY, 15)
  return html`<svg class="figure ${narrow ? 'narrow' : 'wide'}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">
<g class="grid">${yTicks.map(
    (tick) =>
      html`<line x1="${left}" x2="${width - right}" y1="${round(toY(tick))}" y2="${round(toY(tick))}"/><text x="${left - 8}" y="${round(toY(tick) + 4)}" text-anchor="end">${figureText(tick)}</text>`,
  )}</g>
<text class="axis-title" x="4" y="14">${y.label}</text>
<g class="axis">${ticksOf(toX, x.scale, xs, narrow).map(
    (tick) =>
      html`<text x="${round(toX(tick))}" y="${height - bottom + 16}" text-anchor="middle">${figureText(tick)}</text>`,
  )}<text class="axis-title" x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">${x.label}</text></g>
${series.map(
  ({ points: own, dashed, name }, i) =>
    html`<g class="s${colour[i]!}"><path class="band" d="${band(own) ?? ''}"/><path class="curve ${dashed ? 'dashed' : ''}" d="${curve(own) ?? ''}"/>${own.map(
      (point) =>
        isShown(point.y)
          ? html`<circle class="mark ${dashed ? 'dashed' : ''}" cx="${round(toX(point.x))}" cy="${round(toY(point.y))}" r="${narrow ? 2.4 : 3.2}"><title>${name}: ${figureText(point.x)}, ${figureText(point.y)}</title></circle>`
          : '',
    )}</g>
`,
)}</svg>`
}

const isShown = (value: number | null | undefined): value is number =>
  typeof value === 'number' && Number.isFinite(value)

function scaleOf(kind: 'linear' | 'log', values: readonly number[], range: [number, number], margin: number) {
  const shown = values.filter((v) => kind === 'linear' || v > 0)
  const low = Math.min(...shown)
  const high = Math.max(...shown)
  if (shown.length === 0) return scaleLinear().domain([0, 1]).range(range)
  if (kind === 'log') {
    const spread = (high / low) ** margin || 1
    return scaleLog()
      .domain(low === high ? [low / 2, high * 2] : [low / spread, high * spread])
      .range(range)
  }
  const spread = (high - low) * margin || Math.abs(high) || 1
  return scaleLinear()
    .domain([low - spread, high + spread])
    .range(range)
}

/** The places that were tried, if they fit; else round numbers. */
function ticksOf(
  scale: ReturnType<typeof scaleOf>,
  kind: 'linear' | 'log',
  xs: readonly number[],
  narrow: boolean,
): number[] {
  const distinct = [...new Set(xs)].sort((a, b) => a - b)
  if (kind === 'log' || distinct.length <= 8) return apart(distinct, scale, narrow ? 26 : 34)
  return scale.ticks(narrow ? 5 : 9)
}

/** Ticks of which no two lie nearer than `gap` pixels; powers of ten go first. */
function apart(ticks: readonly number[], scale: ReturnType<typeof scaleOf>, gap: number): number[] {
  const kept: number[] = []
  for (const tick of ticks.toSorted((a, b) => Number(isPower(b)) - Number(isPower(a))))
    if (kept.every((other) => Math.abs(scale(other) - scale(tick)) >= gap)) kept.push(tick)
  return kept
}

const isPower = (value: number) => value > 0 && Math.abs(Math.log10(value) % 1) < 1e-9

const round = (value: number) => Math.round(value * 10) / 10
