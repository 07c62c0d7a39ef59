// Package configurator is the gateway side put together: it hears agents at
// Layer 2 and devices without one through the gateway, keeps the configuration
// information database, decides, writes the gateway, asks the agents, and looks
// whether it came true.
//
// One goroutine owns all state and is told of everything in order (loop.go).
// What takes time (looking at the gateway, probing addresses, writing) runs
// beside it and comes back as one more thing to be told. A device's whole way
// reads downward in story.go.
//
// What the home is survives its router: each agent keeps its own record, sealed
// (seal.go, keep.go), with the roster of all (roster.go), and a recovery file
// holds the home key (recovery.go, backup.go). Its format is our own, of scrypt and
// XChaCha20-Poly1305: age does the same, and adds 459 KB to the mipsle binary
// where this adds 21. A new home key is given out in rotate.go.
package configurator
