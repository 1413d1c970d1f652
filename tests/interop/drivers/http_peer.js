// Node's own HTTP stack as a peer. `server DIR`: prints two ports, HTTP/2 only and HTTP/1.1, and answers what it got.
// `client DIR PORT`: asks an HTTP/2 server 120 things at once over one connection and prints what came back.
const http2 = require('http2'), https = require('https'), fs = require('fs'), path = require('path');
const [role, folder, port] = process.argv.slice(2);
const file = (name) => fs.readFileSync(path.join(folder, name));

function answer(request, response) {
  let bytes = 0;
  request.on('data', (data) => { bytes += data.length; });
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.end(request.url === '/big' ? Buffer.alloc(5000000) : `${request.method} ${request.url} ${bytes}`);
  });
}

function serve() {
  const identity = { key: file('key.pem'), cert: file('cert.pem') };
  const second = http2.createSecureServer({ ...identity, allowHTTP1: false }, answer).listen(0, '127.0.0.1', () => {
    const first = https.createServer(identity, answer).listen(0, '127.0.0.1', () => {
      console.log(second.address().port, first.address().port);
    });
  });
}

function ask() {
  const session = http2.connect(`https://127.0.0.1:${port}`, { ca: file('ca.pem') });
  const statuses = {};
  let left = 120, bytes = 0;
  for (let number = 0; number < 120; number++) {
    const big = number % 6 === 0;
    const request = session.request({ ':path': big ? '/chunked' : `/${number}`, ':method': big ? 'GET' : 'POST' });
    request.on('response', (head) => { statuses[head[':status']] = (statuses[head[':status']] || 0) + 1; });
    request.on('data', (data) => { bytes += data.length; });
    request.on('end', () => { if (--left === 0) { console.log(JSON.stringify({ statuses, bytes })); session.close(); } });
    request.end(big ? undefined : 'x'.repeat(1000));
    if (number % 10 === 0) session.ping(() => {});
  }
}

if (role === 'server') serve(); else ask();
