import { unzipSync, zipSync } from 'fflate'
import { expect, test } from 'vitest'
import { Archive } from './archive.ts'
import { memoryParts } from './parts.ts'

const text = (value: string) => new TextEncoder().encode(value)
const whole = (chunks: readonly Uint8Array[]) => Uint8Array.from(Buffer.concat(chunks))
const members = { 'a.json': text('{"a": 1}'), 'data/w': text('weights'), 'z.txt': text('z'.repeat(300)) }

test.each([0, 9] as const)('members are read and replaced at level %d, the others stay', async (level) => {
  const zip = zipSync(members, { level })
  const archive = await Archive.open(memoryParts(zip), 'a.zip')
  expect(archive.text('a.json')).toBe('{"a": 1}')
  expect(whole(archive.write(new Map()))).toEqual(zip)
  for (const content of ['WEIGHTS', 'longer weights than before', '']) {
    const written = whole(archive.write(new Map([['data/w', text(content)]])))
    expect(unzipSync(written)).toEqual({ ...members, 'data/w': text(content) })
    const again = await Archive.open(memoryParts(written), 'b.zip')
    for (const name of ['a.json', 'z.txt']) expect(again.read(name)).toEqual(members[name as 'a.json'])
    expect(again.text('data/w')).toBe(content)
    expect((again.entries.get('z.txt')!.offset - archive.entries.get('z.txt')!.offset) % 64).toBe(0)
    if (content.length === 7) expect(written.length).toBe(zip.length)
  }
})

test('what is missing, damaged or hostile is refused with a reason', async () => {
  const zip = zipSync(members)
  const archive = await Archive.open(memoryParts(zip), 'a.zip')
  expect(() => archive.read('b')).toThrow("a.zip: member 'b' is missing")
  await expect(Archive.open(memoryParts(zip.subarray(0, 200)), 'a.zip')).rejects.toThrow('cut short')
  for (const name of ['../evil', '/etc/passwd', 'a/../../b', 'C:\\x', 'a\\..\\b'])
    await expect(Archive.open(memoryParts(zipSync({ [name]: text('x') })), 'a.zip')).rejects.toThrow(
      'leads out of the archive',
    )
  const bomb = await Archive.open(
    memoryParts(zipSync({ zeros: new Uint8Array(1e7) }, { level: 9 })),
    'bomb.zip',
  )
  expect(() => bomb.read('zeros')).toThrow('more than a model file unpacks to')
  const damaged = zipSync(members, { level: 0 })
  damaged[36]! ^= 1
  expect((await Archive.open(memoryParts(damaged), 'a.zip')).entries.size).toBe(3)
  await expect(Archive.open(memoryParts(damaged), 'a.zip').then((a) => a.text('a.json'))).rejects.toThrow(
    'checksum',
  )
})
