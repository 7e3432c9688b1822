import { describe, expect, it } from 'vitest'
import { longResult, results, rules } from '../../test/golden/results.ts'
import { artifactUri, renderSarif } from './sarif.ts'

/**
 * The rules of SARIF 2.1.0 that a log of ours can break, checked by code: which properties an object may and must have,
 * and what the prose of the standard asks beyond that (the section is named where a check stands for one).
 */
type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Check = (value: Json, at: string) => void

const fail = (at: string, why: string): never => {
  throw new Error(`${at}: ${why}`)
}

const text: Check = (value, at) => {
  if (typeof value !== 'string' || value === '') fail(at, 'expected a string that is not empty')
}
const whole: Check = (value, at) => {
  if (!Number.isInteger(value) || (value as number) < 0) fail(at, 'expected a whole number, 0 or more')
}
const flag: Check = (value, at) => {
  if (typeof value !== 'boolean') fail(at, 'expected true or false')
}
const anything: Check = (value, at) => {
  if (value === undefined) fail(at, 'missing')
}
const oneOf =
  (...values: Json[]): Check =>
  (value, at) => {
    if (!values.includes(value)) fail(at, `expected one of ${values.join(', ')}`)
  }
const list =
  (item: Check, { least = 0 } = {}): Check =>
  (value, at) => {
    if (!Array.isArray(value)) return fail(at, 'expected an array')
    if (value.length < least) fail(at, `expected at least ${least} items`)
    value.forEach((entry, i) => {
      item(entry, `${at}[${i}]`)
    })
  }
const mapOf =
  (entry: Check): Check =>
  (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return fail(at, 'expected an object')
    for (const [key, item] of Object.entries(value)) entry(item, `${at}.${key}`)
  }
const object =
  (required: Record<string, Check>, optional: Record<string, Check> = {}): Check =>
  (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return fail(at, 'expected an object')
    for (const key of Object.keys(required)) if (!(key in value)) fail(at, `${key} is missing`)
    for (const [key, entry] of Object.entries(value)) {
      const check = required[key] ?? optional[key] ?? fail(`${at}.${key}`, 'not a property of this object')
      check(entry, `${at}.${key}`)
    }
  }

const level = oneOf('none', 'note', 'warning', 'error')
/** 3.11.5: braces are doubled unless they hold the index of an argument; we pass no arguments. */
const plain: Check = (value, at) => {
  text(value, at)
  if (/[{}]/.test((value as string).replaceAll(/\{\{|\}\}/g, ''))) fail(at, 'a single brace')
  if (/\[[^\]]*\]\([^)]*\)/.test(value as string)) fail(at, 'an embedded link')
}
const message = object({ text: plain })
const multiformat = object({ text }, { markdown: text })
/** RFC 3986: what a URI reference may be written with; a relative one has no colon in its first segment. */
const uri: Check = (value, at) => {
  text(value, at)
  if (!/^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/.test(value as string))
    fail(at, 'not percent-encoded')
  if (!/^file:\/\/\/?/.test(value as string) && /^[^/]*:/.test(value as string)) fail(at, 'reads as a scheme')
}
const artifactLocation = object({ uri }, { index: whole })
const physicalLocation = object(
  { artifactLocation },
  { region: object({ byteOffset: whole }, { byteLength: whole }) },
)
const logicalLocation = object(
  { name: text, fullyQualifiedName: text, kind: oneOf('module', 'element') },
  { decoratedName: text },
)
const location = object({ physicalLocation }, { logicalLocations: list(logicalLocation), message })
const threadFlowLocation = object(
  { location },
  { executionOrder: whole, importance: oneOf('essential', 'important', 'unimportant') },
)
const codeFlow = object(
  { threadFlows: list(object({ locations: list(threadFlowLocation, { least: 1 }) }), { least: 1 }) },
  { message },
)
const result = object(
  {
    ruleId: text,
    ruleIndex: whole,
    level,
    message,
    locations: list(location),
    partialFingerprints: mapOf(text),
  },
  { codeFlows: list(codeFlow), properties: mapOf(anything) },
)
const rule = object(
  { id: text },
  {
    name: text,
    shortDescription: multiformat,
    fullDescription: multiformat,
    help: multiformat,
    defaultConfiguration: object({ level }),
  },
)
const run = object(
  {
    tool: object({
      driver: object({ name: text, version: text, rules: list(rule) }, { semanticVersion: text }),
    }),
    results: list(result),
    invocations: list(
      object(
        { executionSuccessful: flag },
        { toolExecutionNotifications: list(object({ message }, { level })) },
      ),
    ),
    artifacts: list(
      object(
        { location: object({ uri }), length: whole, roles: list(oneOf('analysisTarget')) },
        { hashes: mapOf(text) },
      ),
    ),
  },
  { automationDetails: object({ id: text }), properties: mapOf(anything) },
)
const log = object({ version: oneOf('2.1.0'), $schema: uriWithScheme, runs: list(run, { least: 1 }) })

function uriWithScheme(value: Json, at: string): void {
  if (typeof value !== 'string' || !value.startsWith('https://')) fail(at, 'expected an absolute URI')
}

interface Log {
  runs: {
    tool: { driver: { rules: { id: string; defaultConfiguration?: { level: string } }[] } }
    artifacts: { location: { uri: string }; length: number }[]
    results: {
      ruleId: string
      ruleIndex: number
      level: string
      message: { text: string }
      locations: {
        physicalLocation: {
          artifactLocation: { uri: string; index: number }
          region?: { byteOffset: number }
        }
      }[]
      codeFlows?: { threadFlows: { locations: { executionOrder: number }[] }[] }[]
      partialFingerprints: Record<string, string>
    }[]
  }[]
}

describe.each([...Object.entries(results), ['long', longResult('check')] as const])('%s', (_, source) => {
  const written = renderSarif(source, rules)
  const { runs } = JSON.parse(written) as Log

  it('is a SARIF log', () => {
    log(JSON.parse(written) as Json, 'log')
    expect(written.indexOf('"version"')).toBeLessThan(written.indexOf('"runs"'))
  })

  it('keeps its indices together', () => {
    const { tool, results: found, artifacts } = runs[0]!
    const ids = tool.driver.rules.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { ruleId, ruleIndex, locations, codeFlows } of found) {
      expect(ids[ruleIndex]).toBe(ruleId)
      for (const { physicalLocation: place } of locations) {
        expect(artifacts[place.artifactLocation.index]!.location.uri).toBe(place.artifactLocation.uri)
        // 3.30.12: a region lies inside its artifact.
        if (place.region) expect(place.region.byteOffset).toBeLessThanOrEqual(artifacts[0]!.length)
      }
      for (const { threadFlows } of codeFlows ?? [])
        for (const { locations: steps } of threadFlows)
          expect(steps.map(({ executionOrder }) => executionOrder)).toEqual(steps.map((_step, i) => i + 1))
    }
  })

  it('has a result for every finding', () => {
    expect(runs[0]!.results.map(({ partialFingerprints }) => Object.values(partialFingerprints)[0])).toEqual(
      source.findings.map(({ fingerprint }) => fingerprint),
    )
  })
})

it('maps severities to levels', () => {
  const { runs } = JSON.parse(renderSarif(results.check, rules)) as Log
  expect(runs[0]!.results.map(({ level: given }) => given)).toEqual([
    'error',
    ...Array(7).fill('warning'),
    'note',
  ])
  expect(runs[0]!.tool.driver.rules.map(({ defaultConfiguration }) => defaultConfiguration?.level)).toEqual([
    'warning',
    'note',
    'error',
    'warning',
  ])
})

it('lists rules that it was not told of', () => {
  const { runs } = JSON.parse(renderSarif(results.hostile, [])) as Log
  expect(runs[0]!.tool.driver.rules).toEqual([
    { id: 'dropout-before-batch-norm' },
    { id: 'folded-or-stripped' },
  ])
  expect(runs[0]!.results[0]!.message.text).toContain('{{0}} [link] (https')
})

it.each([
  ['model.onnx', 'model.onnx'],
  ['./a b/ä%.onnx', 'a%20b/%C3%A4%25.onnx'],
  ['nets\\small.onnx', 'nets/small.onnx'],
  ['c:d.onnx', 'c%3Ad.onnx'],
  ['/tmp/m#1?.onnx', 'file:///tmp/m%231%3F.onnx'],
  ['C:\\nets\\m.onnx', 'file:///C:/nets/m.onnx'],
  ['\\\\server\\share\\m.onnx', 'file://server/share/m.onnx'],
  ['../m.onnx', '../m.onnx'],
])('writes %s as %s', (path, uriOfPath) => {
  expect(artifactUri(path)).toBe(uriOfPath)
})
