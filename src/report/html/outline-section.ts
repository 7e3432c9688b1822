import { html } from './markup.ts'
import { outlineFigure, outlineLegend } from './outline-figure.ts'
import type { Page, Section } from './page.ts'

export function outlineSection({ result, rows }: Page): Section | undefined {
  const figure = outlineFigure(result, rows)
  if (!figure) return undefined
  return {
    id: 'outline',
    title: 'Where the noise goes',
    body: html`<p class="lead">The graph from input to output, line by line; numbers are those of the figure and the table. Nodes that only move elements are left out, and so are long stretches that noise does not enter (⋯).</p>
${outlineLegend()}
${figure}`,
  }
}
