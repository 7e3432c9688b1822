import type { Facts } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import { outlineOf } from '../analysis/outline.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { opsetOf } from '../ir/model.ts'
import type { ModelInfo, NoiseInfo, NormInfo, Result } from '../result/result.ts'
import { resultVersion } from '../result/version.ts'
import { version } from '../version.ts'

/** The parts of a result that hold for every command: what the file is and what its graph says. */
export function describe(
  file: ModelFile,
  command: Result['command'],
  facts: Facts = factsOf(file.model),
): Pick<Result, 'version' | 'command' | 'tool' | 'model' | 'noises' | 'norms' | 'outline'> {
  return {
    version: resultVersion,
    command,
    tool: { name: 'varshift', version },
    model: describeModel(file),
    noises: facts.noises.map(
      (noise): NoiseInfo => ({
        label: noise.label,
        key: noise.key,
        kind: noise.kind,
        parameter: noise.parameter.name,
        value: noise.parameter.value ?? null,
        relativeVariance: noise.relativeVariance ?? null,
        sharing: noise.sharing,
      }),
    ),
    norms: describeNorms(facts),
    outline: outlineOf(file.model, facts),
  }
}

export function describeModel(file: ModelFile): ModelInfo {
  const { model, path, sizeBytes, sha256, notes = [], withoutGraph } = file
  const all = [...(withoutGraph ? [withoutGraph] : []), ...notes]
  const facts = factsOf(model)
  return {
    path,
    format: model.format,
    sizeBytes,
    ...(sha256 ? { sha256 } : {}),
    opset: opsetOf(model),
    irVersion: model.irVersion,
    producer: model.producer,
    nodes: model.graph.nodes.length,
    norms: facts.norms.length,
    noises: facts.noises.length,
    ...(all.length > 0 ? { notes: all } : {}),
  }
}

function describeNorms(facts: Facts): NormInfo[] {
  return facts.norms.map((norm, index) => {
    const prediction = facts.predictions.get(norm.key)
    return {
      label: norm.label,
      key: norm.key,
      opType: norm.node.opType,
      ...(norm.node.origin?.byteOffset === undefined ? {} : { byteOffset: norm.node.origin.byteOffset }),
      index,
      channels: (norm.mean ?? norm.scale)?.length ?? 0,
      epsilon: norm.epsilon,
      exposures: (facts.pathsTo.get(norm.key) ?? []).map(({ noise, through }) => ({
        noise: noise.key,
        through,
      })),
      ...(prediction && 'layerRatio' in prediction && Number.isFinite(prediction.layerRatio)
        ? {
            prediction: {
              layerRatio: prediction.layerRatio,
              ...(prediction.isRough ? { interval: [...prediction.layerInterval] } : {}),
              channelRatio: [...prediction.channelRatio],
              assumptions: [...prediction.assumptions],
            },
          }
        : prediction
          ? {
              unpredicted:
                'reason' in prediction ? prediction.reason : 'the statistics that it stores are no variances',
            }
          : {}),
    }
  })
}
