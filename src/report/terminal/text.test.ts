import { describe, expect, it } from 'vitest'
import { bar, sparkline } from './chart.ts'
import { paintWith } from './paint.ts'
import { renderTable } from './table.ts'
import { pad, shorten, textWidth, wrap } from './text.ts'

describe('text', () => {
  it('counts columns, not code units', () => {
    expect(textWidth('bn1')).toBe(3)
    expect(textWidth('层')).toBe(2)
    expect(textWidth('e\u0301')).toBe(1)
    expect(textWidth('\u{1f600}')).toBe(2)
  })

  it('shortens in the middle and keeps more of the end', () => {
    expect(shorten('stage1.0.bn1', 12)).toBe('stage1.0.bn1')
    expect(shorten('features.denseblock1.norm', 12)).toBe('fea…ck1.norm')
    expect(textWidth(shorten('层标准化层标准化', 7))).toBeLessThanOrEqual(7)
    expect(shorten('abc', 1)).toBe('…')
    expect(shorten('abc', 0)).toBe('')
  })

  it('wraps at spaces and cuts what has none', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three'])
    expect(wrap('abcdefgh', 3)).toEqual(['abc', 'def', 'gh'])
    expect(pad('层', 4, 'right')).toBe('  层')
  })
})

describe('table', () => {
  const paint = paintWith(false)
  const columns = [
    { title: '#', align: 'right' as const },
    { title: 'name', flexible: true },
    { title: 'note', expendable: 1 },
    { title: 'empty' },
  ]

  it('leaves out empty columns, shortens the flexible one, then drops the expendable', () => {
    const rows = [['1', 'a-very-long-name-indeed', 'first', ''], { remark: '  ⋮ 3 layers' }]
    expect(renderTable(columns, rows, { width: 80, paint })).toEqual([
      '#  name                     note',
      '1  a-very-long-name-indeed  first',
      '  ⋮ 3 layers',
    ])
    expect(renderTable(columns, rows, { width: 28, paint })[1]).toBe('1  a-ver…-name-indeed  first')
    expect(renderTable(columns, rows, { width: 20, paint })[1]).toBe('1  a-ver…name-indeed')
  })
})

describe('charts', () => {
  it('draws bars by eighths', () => {
    expect(bar(0, 4)).toBe('')
    expect(bar(0.53, 4)).toBe('██▏')
    expect(bar(7, 4)).toBe('████')
  })

  it('shows the largest of each group', () => {
    expect(sparkline([0, 0.5, 1], 10)).toBe('▁▅█')
    expect(sparkline([0, 1, 0, 0], 2)).toBe('█▁')
  })
})
