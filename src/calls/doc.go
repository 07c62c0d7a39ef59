// Package calls has the one table of calls that people and scripts make of the
// two daemons, the results they get, and the unix socket that carries them.
//
// A request is one line of JSON, {"call":"device_show","args":{"id":"…"}}; the
// answer is one line, {"result":…} or {"error":{"code":"…","message":"…"}}.
// Keys of ours are snake_case; inside them stand model's structs as they are,
// with their TR-181 names. A connection carries any number of requests, one
// after the other.
package calls
