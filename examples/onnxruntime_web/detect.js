'use strict';

ort.env.wasm.wasmPaths = new URL('node_modules/onnxruntime-web/dist/', document.baseURI).href;
ort.env.wasm.numThreads = 1;  // more need a page served with cross-origin isolation

const say = text => { document.getElementById('status').textContent = text; };
const canvas = document.getElementById('canvas');

/** A session on the GPU where the browser offers one that takes the model, else on the CPU; the page says which. */
async function load(model) {
  const tell = text => { document.getElementById('provider').textContent = `Runs on ${text}.`; };
  let why = 'this browser has no WebGPU';
  try {
    if (await navigator.gpu?.requestAdapter()) {
      const session = await ort.InferenceSession.create(model, { executionProviders: ['webgpu', 'wasm'] });
      tell('the GPU, by WebGPU');
      return session;
    }
    why = navigator.gpu ? 'WebGPU finds no GPU here' : why;
  } catch (error) {
    why = `WebGPU does not take the model: ${error.message}`;
  }
  const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] });
  tell(`the CPU, by WebAssembly: ${why}`);
  return session;
}

const loading = Promise.all([
  load('model.onnx'),
  fetch('classes.json').then(response => response.json()),
]);

/** Instances in an image: [{name, score, box: [x1, y1, x2, y2], mask: Uint8Array or null}], best first. */
async function detect(image) {
  const [session] = await loading;
  const { width, height } = image;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    rgb.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  }
  const found = await session.run({ image: new ort.Tensor('uint8', rgb, [height, width, 3]) });
  const [, classes] = await loading;
  return Array.from(found.scores.data, (score, i) => ({
    name: classes[Number(found.labels.data[i])],
    score,
    box: Array.from(found.boxes.data.subarray(4 * i, 4 * i + 4)),
    mask: found.masks ? found.masks.data.subarray(i * width * height, (i + 1) * width * height) : null,
  }));
}

function draw(instances, least = 0.3) {
  const context = canvas.getContext('2d');
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  instances = instances.filter(one => one.score >= least);
  for (const { mask } of instances) {
    for (let i = 0; mask && i < mask.length; i++) {
      if (mask[i]) {
        pixels.data[4 * i] = 128 + pixels.data[4 * i] / 2;
      }
    }
  }
  context.putImageData(pixels, 0, 0);
  context.strokeStyle = context.fillStyle = 'red';
  for (const { box: [x1, y1, x2, y2], name, score } of instances) {
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillText(`${name} ${score.toFixed(2)}`, x1, Math.max(10, y1 - 2));
  }
}

async function show(blob) {
  try {
    const instances = await detect(await createImageBitmap(blob));
    draw(instances);
    say(`${instances.length} found`);
    return instances;
  } catch (error) {
    say(`error: ${error.message}`);
    throw error;
  }
}

document.getElementById('file').addEventListener('change', event => show(event.target.files[0]));
loading.then(() => say('Choose a photo.'), error => say(`error: ${error.message}`));
