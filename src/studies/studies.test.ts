import { expect, test } from 'vitest'
import { parseNetwork } from '../models/index.ts'
import { budgets } from '../result/study.ts'
import { studies } from './index.ts'
import { keyOfCell } from './runner/store.ts'

test('ids are unique', () => {
  expect(new Set(studies.map(({ id }) => id)).size).toBe(studies.length)
})

for (const study of studies)
  test(`${study.id}: every cell of every grid is one of its own, and tables can be made of none`, async () => {
    for (const budget of budgets) {
      const grid = study.grid(budget)
      expect(grid.length).toBeGreaterThan(0)
      const keys = await Promise.all(grid.map((parameters) => keyOfCell(study, parameters, 'data')))
      expect(new Set(keys).size).toBe(grid.length)
      const { tables, figures, conclusions } = study.summarise(
        grid.map((parameters) => ({ parameters, outcome: undefined })),
        budget,
      )
      for (const { rows, columns } of tables) for (const row of rows) expect(row).toHaveLength(columns.length)
      expect(conclusions.every((line) => !/NaN|undefined/.test(line))).toBe(true)
      expect(figures.every(({ series }) => Array.isArray(series))).toBe(true)
      for (const { network, placement } of grid)
        if (typeof network === 'string' && /-\d/.test(network) && network !== 'conv-1d') {
          const { placements } = parseNetwork(network)
          if (placement !== 'none' && placement !== undefined) expect(placements).toContain(placement)
        }
    }
  })
