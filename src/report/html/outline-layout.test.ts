import { describe, expect, it } from 'vitest'
import { longResult, results } from '../../../test/golden/results.ts'
import type { Outline } from '../../result/result.ts'
import { layoutOutline } from './outline-layout.ts'

const none = { interest: new Set<number>(), marked: new Set<string>() }

/** `chain` nodes in a row, and further edges between them. */
function outlineOf(chain: number, further: [number, number][] = []): Outline {
  return {
    nodes: Array.from({ length: chain }, (_, i) => ({
      label: `n${i}`,
      key: `n${i}`,
      opType: 'Conv',
      kind: 'weight' as const,
      rank: i,
    })),
    edges: [...Array.from({ length: chain - 1 }, (_, i): [number, number] => [i, i + 1]), ...further],
  }
}

describe('layoutOutline', () => {
  it('puts a chain on the trunk', () => {
    const { nodes, segments, columns, gaps } = layoutOutline(outlineOf(4), none)
    expect(nodes.map(({ column, lane }) => [column, lane])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
    ])
    expect(segments).toHaveLength(3)
    expect([columns, gaps]).toEqual([4, []])
  })

  it('leads a skip connection along the nearest free lane, and the next one after it along the same', () => {
    const { segments } = layoutOutline(
      outlineOf(9, [
        [0, 4],
        [4, 8],
        [1, 3],
      ]),
      none,
    )
    const lanes = segments
      .filter(({ from, to }) => from[1] === to[1] && from[1] > 0)
      .map(({ from, to }) => [from[0], to[0], from[1]])
    expect(lanes).toEqual([
      [2, 2, 1],
      [1, 3, 2],
      [5, 7, 1],
    ])
  })

  it('gives every node of a real net a place of its own and crosses none with an edge', () => {
    for (const result of [results.check, longResult('check')]) {
      const outline = result.outline!
      const interest = new Set(outline.nodes.flatMap(({ kind }, i) => (kind === 'noise' ? [i] : [])))
      const { nodes, segments } = layoutOutline(outline, { interest, marked: new Set() })
      expect(nodes).toHaveLength(outline.nodes.length)
      const taken = new Set(nodes.map(({ column, lane }) => `${column} ${lane}`))
      expect(taken.size).toBe(nodes.length)
      for (const { from, to } of segments)
        for (let column = from[0] + 1; column < to[0]; column++)
          expect(taken).not.toContain(`${column} ${from[1]}`)
    }
  })

  it('leaves out long stretches far from anything of interest', () => {
    const { nodes, gaps, columns } = layoutOutline(outlineOf(300, [[10, 290]]), {
      interest: new Set([100, 104]),
      marked: new Set(['100 101']),
    })
    expect(nodes.map(({ node }) => node)).toEqual(Array.from({ length: 13 }, (_, i) => 96 + i))
    expect(gaps).toEqual([
      { column: 1, hidden: 96 },
      { column: 17, hidden: 191 },
    ])
    expect(columns).toBe(19)
  })

  it('marks the edges of paths', () => {
    const { segments } = layoutOutline(outlineOf(4), { interest: new Set([1]), marked: new Set(['1 2']) })
    expect(segments.filter(({ marked }) => marked)).toEqual([{ from: [1, 0], to: [2, 0], marked: true }])
  })

  it('survives nonsense: no nodes, edges to nowhere or backwards, many parallel branches', () => {
    expect(layoutOutline({ nodes: [], edges: [] }, none)).toEqual({
      columns: 0,
      nodes: [],
      segments: [],
      gaps: [],
    })
    expect(
      layoutOutline(
        outlineOf(2, [
          [0, 7],
          [1, 0],
          [1, 1],
        ]),
        none,
      ).segments,
    ).toHaveLength(1)
    const wide: Outline = {
      nodes: Array.from({ length: 42 }, (_, i) => ({
        label: '',
        key: `${i}`,
        opType: '',
        kind: 'other' as const,
        rank: i === 0 ? 0 : i === 41 ? 2 : 1,
      })),
      edges: Array.from({ length: 40 }, (_, i): [number, number][] => [
        [0, i + 1],
        [i + 1, 41],
      ]).flat(),
    }
    const { nodes } = layoutOutline(wide, none)
    expect(Math.max(...nodes.map(({ lane }) => lane))).toBe(6)
  })
})
