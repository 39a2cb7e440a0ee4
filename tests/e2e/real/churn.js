// Works for a while, keeps some of it, and pauses twice so that a snapshot can be taken.
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

if (!isMainThread) {
  const hash = crypto.createHash('sha256');
  for (let i = 0; i < 2000; ++i) hash.update(zlib.deflateSync(Buffer.alloc(5000, i % 251)));
  parentPort.postMessage(workerData + ' ' + hash.digest('hex'));
} else {
  const kept = [];
  const work = (rounds) => {
    for (let i = 0; i < rounds; ++i) {
      kept.push(Buffer.alloc(16384, i % 256));
      kept.push(JSON.parse(JSON.stringify({ id: i, tags: Array.from({ length: 40 }, (_, n) => 'tag-' + n) })));
    }
  };
  const worker = (name) => new Promise((done, failed) => {
    const thread = new Worker(__filename, { workerData: name });
    thread.on('message', done);
    thread.on('error', failed);
  });
  const pause = () => {
    console.log('READY');
    return new Promise((done) => process.stdin.once('data', done));
  };
  (async () => {
    work(500);
    console.log(await worker('one'));
    await pause();
    work(2000);
    console.log((await Promise.all(['two', 'three'].map(worker))).join('\n'));
    await pause();
    const hash = crypto.createHash('sha256');
    for (const thing of kept) hash.update(Buffer.isBuffer(thing) ? thing : JSON.stringify(thing));
    console.log(hash.digest('hex'), kept.length);
    process.exit(5);
  })();
}
