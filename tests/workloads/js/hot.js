// Spends its CPU time in one function that V8 compiles, for as many seconds as it is told.
function hotLoop(x) {
  for (let i = 0; i < 100000; i++) x = (x * 31 + i) % 1000003;
  return x;
}
let sink = 1;
const end = Date.now() + Number(process.argv[2] || 5) * 1000;
while (Date.now() < end) sink = hotLoop(sink);
console.log(sink);
