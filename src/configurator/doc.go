// Package configurator is the gateway side put together: it hears agents at
// Layer 2 and devices without one through the gateway, keeps the configuration
// information database, decides, writes the gateway, asks the agents, and looks
// whether it came true.
//
// One goroutine owns all state and is told of everything in order (loop.go).
// What takes time (looking at the gateway, probing addresses, writing) runs
// beside it and comes back as one more thing to be told. A device's whole way
// reads downward in story.go.
package configurator
