"""A trained network as ONNX, with the manifest that the sensor wants beside it."""

import hashlib
import json
import warnings

import numpy as np
import onnx
import torch


def write(model, data, path, about):
    """Writes `path`.onnx and `path`.json."""
    steps, n_columns = data.values.shape[1:]
    example = torch.from_numpy(data.values[:2].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            f"{path}.onnx",
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["x"],
            output_names=["y"],
            verbose=False,
        )
    file = onnx.load(f"{path}.onnx")
    strip(file)
    onnx.save(file, f"{path}.onnx")
    with open(f"{path}.onnx", "rb") as written:
        digest = hashlib.sha256(written.read()).hexdigest()
    # A sequence that no capture holds, made from the seed of the training.
    random = np.random.default_rng(about["seed"])
    test = np.abs(random.normal(2.0, 1.5, (steps, n_columns))).astype(np.float32).round(3)
    with torch.no_grad():
        answer = float(model(torch.from_numpy(test[None]))[0])
    manifest = {
        "format": "sensor-model",
        "version": 1,
        "kind": data.kind,
        "schema": data.schema,
        "columns": data.columns,
        "input": [steps, n_columns],
        "sha256": digest,
        "scaling": {
            "in_graph": True,
            "mean": mean_of(model),
            "deviation": (1.0 / model.scale).tolist(),
        },
        "self_test": {"input": test.flatten().tolist(), "answer": answer},
        **about,
    }
    with open(f"{path}.json", "w", encoding="utf-8") as out:
        json.dump(manifest, out, indent=1)
        out.write("\n")
    return manifest


def mean_of(model):
    return (-model.shift / model.scale).tolist()


def strip(file):
    """Takes away what the exporter tells of the machine it ran on: paths in stack traces."""
    graph = file.graph
    for part in [file, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
