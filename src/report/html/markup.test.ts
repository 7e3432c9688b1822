import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { embeddedJson, html, trusted } from './markup.ts'

describe('html', () => {
  it('escapes values, joins lists and drops what is missing', () => {
    expect(String(html`<b title="${'"\'`&'}">${'<i>'}</b>${null}${undefined}${false}${0}`)).toBe(
      '<b title="&#34;&#39;&#96;&#38;">&#60;i&#62;</b>0',
    )
    expect(String(html`<ul>${['a', '<'].map((item) => html`<li>${item}</li>`)}</ul>`)).toBe(
      '<ul><li>a</li><li>&#60;</li></ul>',
    )
    expect(String(html`${trusted('<hr>')}`)).toBe('<hr>')
  })

  it('lets nothing out of text or a quoted attribute', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(String(html`${text}`)).not.toMatch(/[<>"'`]|&(?!#\d+;)/)
      }),
    )
  })
})

describe('embeddedJson', () => {
  it('cannot end its script and reads back as it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = String(embeddedJson(value))
        expect(text).not.toMatch(/[<>&\u2028\u2029]/)
        if (!/\d/.test(text)) expect(JSON.parse(text)).toEqual(value)
      }),
    )
    expect(String(embeddedJson('</script><!--'))).toBe('"\\u003c/script\\u003e\\u003c!--"')
  })

  it('keeps seven digits of what was measured and all of what was counted', () => {
    expect(String(embeddedJson([0.123456789, 1e-9 / 3, 123456789, Number.NaN]))).toBe(
      '[0.1234568,3.333333e-10,123456789,null]',
    )
  })
})
