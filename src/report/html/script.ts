/**
 * The only script of a report; everything can be read without it. It switches themes, sorts tables, shows the figures of a
 * layer under the pointer and opens what is folded before printing. It makes elements and sets text, never HTML.
 */
export const script = `
const root = document.documentElement
const make = (name, text, kind) => {
  const element = document.createElement(name)
  if (text !== undefined) element.textContent = text
  if (kind) element.className = kind
  return element
}

const theme = document.querySelector('button.theme')
const isDark = () => root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
const name = () => { theme.textContent = isDark() ? 'Light' : 'Dark' }
theme.hidden = false
name()
theme.addEventListener('click', () => { root.dataset.theme = isDark() ? 'light' : 'dark'; name() })

for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells]
  const body = table.tBodies[0]
  const original = [...body.rows]
  heads.forEach((head, column) => {
    const button = make('button', head.textContent)
    button.type = 'button'
    head.replaceChildren(button)
    button.addEventListener('click', () => {
      const now = head.getAttribute('aria-sort')
      const next = now === 'descending' ? 'ascending' : now === 'ascending' ? undefined : 'descending'
      for (const other of heads) other.removeAttribute('aria-sort')
      if (!next) return body.append(...original)
      head.setAttribute('aria-sort', next)
      const sign = next === 'ascending' ? 1 : -1
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent
      const compare = (a, b) => {
        const x = key(a), y = key(b)
        if (x === '' || y === '') return (x === '') - (y === '')
        const p = Number(x), q = Number(y)
        return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y, undefined, { numeric: true }) : p - q)
      }
      body.append(...[...original].sort(compare))
    })
  })
}

const tip = make('div', undefined, 'tip')
tip.hidden = true
tip.setAttribute('aria-hidden', 'true')
document.body.append(tip)
for (const figure of document.querySelectorAll('svg.figure')) {
  for (const title of figure.querySelectorAll('title')) if (title.parentNode !== figure) title.remove()
  const cursor = figure.querySelector('.cursor')
  const { left, step, count, width } = figure.dataset
  const hide = () => { tip.hidden = true; cursor.style.opacity = 0 }
  figure.addEventListener('pointerleave', hide)
  figure.addEventListener('pointermove', (event) => {
    const box = figure.getBoundingClientRect()
    const at = Math.floor((((event.clientX - box.left) / box.width) * width - left) / step)
    const row = at >= 0 && at < count ? document.getElementById('layer-' + at) : undefined
    if (!row) return hide()
    const x = Number(left) + (at + 0.5) * step
    cursor.setAttribute('x1', x)
    cursor.setAttribute('x2', x)
    cursor.style.opacity = 0.35
    const list = make('dl')
    for (const cell of row.cells)
      if (cell.dataset.tip && cell.textContent) list.append(make('dt', cell.dataset.tip), make('dd', cell.textContent))
    tip.replaceChildren(make('b', row.dataset.name), list)
    tip.hidden = false
    const room = tip.getBoundingClientRect()
    const line = box.left + (x / width) * box.width
    tip.style.left = Math.min(innerWidth - room.width - 8, Math.max(8, line + (line > innerWidth / 2 ? -room.width - 12 : 12))) + 'px'
    tip.style.top = Math.min(innerHeight - room.height - 8, Math.max(8, event.clientY + 16)) + 'px'
  })
}

addEventListener('beforeprint', () => { for (const details of document.querySelectorAll('details')) details.open = true })
`

/** SHA-256 of the script, for the content security policy of the page; a test compares the two. */
export const scriptHash = 'sha256-ozHPr+4lr4JZ5u+iXzu8cp79S5oSPXJC5NhNFvsE4BM='
