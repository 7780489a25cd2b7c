// SPDX-License-Identifier: Apache-2.0
//
// Three layers stepped by Layerwise from Node: `node train.js [path of layerwise.node]`.
"use strict";
const path = require("path");
const lw = require(path.resolve(process.argv[2] || "layerwise.node"));

const optimizer = lw.create("lamb", { lr: 0.1, weight_decay: 0.01, clip_global_norm: 1.0 });
lw.setPolicy(optimizer, "layer_decay", { decay: 0.5 });

const [rows, columns] = [8, 4];
const layers = ["embed", "body", "head"].map((name, index) => {
  const weights = new Float32Array(rows * columns);
  const gradients = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      weights[columns * row + column] = 1 + ((row + 3 * column + index) % 5);
    }
  }
  lw.addLayer(optimizer, name, weights, gradients, [rows, columns]);
  return { weights, gradients };
});

for (let step = 0; step < 20; step++) {
  for (const { weights, gradients } of layers) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = columns * row + column;
        gradients[at] = weights[at] - (row - column);
      }
    }
  }
  lw.step(optimizer);
}

process.stdout.write(lw.explain(optimizer));
for (const { weights } of layers) {
  const bits = new Uint32Array(weights.buffer);
  for (let row = 0; row < rows; row++) {
    const words = Array.from(bits.subarray(columns * row, columns * (row + 1)));
    console.log(words.map((word) => word.toString(16).padStart(8, "0")).join(" "));
  }
}

// A refused call throws; its code is the name of the error in layerwise.h.
try {
  lw.addLayer(optimizer, "head", new Float32Array(1), new Float32Array(1), [1]);
  process.exitCode = 1;
} catch (error) {
  console.log(`${error.code}: ${error.message}`);
}
