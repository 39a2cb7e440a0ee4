// Worker threads and child processes of node.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { spawnSync } = require('child_process');
const zlib = require('zlib');
const crypto = require('crypto');

if (!isMainThread) {
  const data = Buffer.alloc(200000 + workerData, 'abc' + workerData);
  parentPort.postMessage(crypto.createHash('sha256').update(zlib.gunzipSync(zlib.gzipSync(data))).digest('hex'));
} else {
  const wait = (n) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: n });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  (async () => {
    for (let round = 0; round < 5; ++round) {
      console.log((await Promise.all([0, 1, 2, 3].map((n) => wait(round * 4 + n)))).join(' '));
      console.log(spawnSync('sort', ['-r'], { input: 'a\nb\nc\n' }).stdout.toString());
    }
  })();
}
