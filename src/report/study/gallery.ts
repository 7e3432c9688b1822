import type { StudyGallery } from '../../result/study.ts'
import { html, type Markup } from '../html/markup.ts'

/** Rows of small pictures, each row with its name. */
export function gallery({ rows, width, height }: StudyGallery): Markup {
  return html`<dl class="pictures">${rows.map(
    ({ name, images }) =>
      html`<dt>${name}</dt><dd>${images.map((image, i) => html`<img src="${bitmap(image, width, height)}" width="${width}" height="${height}" alt="${name}, ${i + 1}">`)}</dd>
`,
  )}</dl>`
}

/** A data URI of a BMP file, the one format of pictures that needs no packing: 24 bits, rows from the top. */
function bitmap(image: string, width: number, height: number): string {
  const pixels = Uint8Array.from(atob(image), (character) => character.charCodeAt(0))
  const header = 54
  const stride = Math.ceil((3 * width) / 4) * 4
  const file = new Uint8Array(header + stride * height)
  const view = new DataView(file.buffer)
  file.set([0x42, 0x4d])
  view.setUint32(2, file.length, true)
  view.setUint32(10, header, true)
  view.setUint32(14, 40, true)
  view.setInt32(18, width, true)
  view.setInt32(22, -height, true)
  view.setUint16(26, 1, true)
  view.setUint16(28, 24, true)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        file[header + y * stride + 3 * x + 2 - channel] = pixels[3 * (y * width + x) + channel] ?? 0
  return `data:image/bmp;base64,${btoa(String.fromCharCode(...file))}`
}
